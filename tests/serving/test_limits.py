from __future__ import annotations

import asyncio

import pytest

from routing_gym.serving.errors import Overloaded
from routing_gym.serving.limits import Gate


def test_so_many_work_and_so_many_wait_in_order() -> None:
    async def run() -> list[int]:
        gate, order = Gate(concurrency=2, queue_size=3), []

        async def one(number: int) -> None:
            with gate.enter() as ticket:
                await ticket.turn()
                order.append(number)
                assert gate.in_flight <= 2
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert (gate.in_flight, gate.waiting) == (2, 3)
        with pytest.raises(Overloaded, match="writes 2 answers and 3 requests wait") as refused:
            gate.enter()
        assert int(refused.value.headers["retry-after"]) >= 1
        await asyncio.gather(*tasks)
        assert (gate.in_flight, gate.waiting) == (0, 0)
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_who_leaves_the_queue_frees_a_place_and_loses_no_turn() -> None:
    async def run() -> None:
        gate = Gate(concurrency=1, queue_size=2)
        first = gate.enter()

        async def wait() -> None:
            with gate.enter() as ticket:
                await ticket.turn()

        waiting = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert gate.waiting == 1
        first.leave()
        first.leave()
        await waiting[1]
        assert (gate.in_flight, gate.waiting) == (0, 0)

    asyncio.run(run())


def test_a_turn_that_comes_while_its_owner_is_cancelled_is_passed_on() -> None:
    async def run() -> None:
        gate = Gate(concurrency=1, queue_size=2)
        first = gate.enter()

        async def wait() -> None:
            with gate.enter() as ticket:
                await ticket.turn()

        tasks = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        first.leave()  # grants the turn to the first task
        tasks[0].cancel()
        await asyncio.wait_for(tasks[1], 1)
        assert gate.in_flight == 0

    asyncio.run(run())


@pytest.mark.parametrize(("concurrency", "queue_size"), [(0, 1), (1, -1)])
def test_bad_sizes_are_refused(concurrency: int, queue_size: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        Gate(concurrency=concurrency, queue_size=queue_size)
