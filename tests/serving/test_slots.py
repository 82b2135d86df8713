"""Places that are never lost."""

from __future__ import annotations

import asyncio

import pytest

from routing_gym.serving.slots import Slots


def test_places_are_given_in_the_order_of_arrival() -> None:
    async def run() -> list[str]:
        slots, order = Slots(1), []
        await slots.acquire(1)

        async def wait(name: str) -> None:
            await slots.acquire(1)
            order.append(name)
            slots.release()

        waiting = [asyncio.ensure_future(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
        slots.release()
        await asyncio.gather(*waiting)
        assert slots.free == 1
        return order

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_patience_ends() -> None:
    async def run() -> None:
        slots = Slots(1)
        await slots.acquire(0.01)
        with pytest.raises(TimeoutError, match=r"no place within 0\.01 s"):
            await slots.acquire(0.01)
        slots.release()
        assert slots.free == 1

    asyncio.run(run())


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_cancellation_as_the_place_comes_is_kept(others: int, steps: int) -> None:
    async def run() -> None:
        slots = Slots(1)
        await slots.acquire(1)
        leaving = asyncio.ensure_future(slots.acquire(1))
        staying = [asyncio.ensure_future(slots.acquire(1)) for _ in range(others)]
        await asyncio.sleep(0.01)
        slots.release()
        for _ in range(steps):  # 0: it has not run since; later it may have the place
            await asyncio.sleep(0)
        if leaving.cancel():
            with pytest.raises(asyncio.CancelledError):
                await leaving
        else:
            await leaving
            slots.release()
        for other in staying:
            await other
            slots.release()
        assert slots.free == 1

    asyncio.run(run())


def test_who_leaves_the_queue_is_passed_over() -> None:
    async def run() -> None:
        slots = Slots(1)
        await slots.acquire(1)
        leaving = asyncio.ensure_future(slots.acquire(1))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        slots.release()
        assert slots.free == 1

    asyncio.run(run())
