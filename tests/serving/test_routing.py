from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from routing_gym.serving.errors import ApiError, Overloaded
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.routing import Router
from tests.serving.stand_ins import ADAPTERS, EVEN, StandInBundle

T = TypeVar("T")


def with_router(use: Callable[[Router], Awaitable[T]], *bundles: Any, **settings: Any) -> T:
    async def run() -> T:
        found = {bundle.name: bundle for bundle in bundles or (StandInBundle(),)}
        router = Router(found, **{"seed": 0, **settings})
        router.start()
        try:
            return await use(router)
        finally:
            await router.close()

    return asyncio.run(run())


def test_a_decision_has_its_embedding_its_exact_propensity_and_its_timings() -> None:
    async def use(router: Router) -> None:
        routed = await router.decide("ppo", ["one", "two"])
        assert routed.embeddings.shape == (2, 8)
        np.testing.assert_allclose(routed.decision.probabilities, [EVEN, EVEN])
        assert routed.encoder_seconds > 0 < routed.policy_seconds
        assert router.pending == 0

    with_router(use)


def test_what_queues_while_a_batch_runs_is_decided_together() -> None:
    bundle = StandInBundle(seconds=0.05)

    async def use(router: Router) -> None:
        start = time.perf_counter()
        first = asyncio.create_task(router.decide("ppo", ["alone"]))
        await asyncio.sleep(0.02)
        others = [asyncio.create_task(router.decide("ppo", [f"text {i}"])) for i in range(20)]
        routed = await asyncio.gather(first, *others)
        assert bundle.batches == [1, 20]
        assert time.perf_counter() - start < 0.15
        for number, one in enumerate(routed[1:]):
            np.testing.assert_array_equal(one.embeddings, bundle.encode([f"text {number}"]))

    with_router(use, bundle)


def test_a_batch_ends_when_it_is_large_enough() -> None:
    bundle = StandInBundle(seconds=0.02)

    async def use(router: Router) -> None:
        await asyncio.gather(*(router.decide("ppo", [str(i)]) for i in range(9)))
        assert max(bundle.batches) <= 4
        await router.decide("ppo", ["one request"] * 7)
        assert bundle.batches[-1] == 7

    with_router(use, bundle, max_batch=4)


def test_policies_share_the_thread_and_nothing_else() -> None:
    async def use(router: Router) -> None:
        one, other = await asyncio.gather(
            router.decide("ppo", ["a"]), router.decide("sure", ["a", "b"])
        )
        assert len(one.decision) == 1
        assert other.decision.names == ("code", "code")

    with_router(use, StandInBundle(), StandInBundle("sure", probabilities=(0, 1, 0)))


def test_only_what_the_back_end_has_is_drawn() -> None:
    async def use(router: Router) -> None:
        router.allow(("creative", "base", "another"))
        assert router.eligible("ppo") == (True, False, True)
        routed = await router.decide("ppo", ["text"] * 50)
        assert set(routed.decision.names) == {"base", "creative"}
        np.testing.assert_allclose(routed.decision.probabilities[0], [5 / 7, 0, 2 / 7])
        with pytest.raises(ValueError, match="serve the pool that the policy was trained for"):
            router.allow(("another",))

    with_router(use)


def test_the_exploration_can_be_overridden() -> None:
    async def use(router: Router) -> None:
        routed = await router.decide("ppo", ["text"])
        np.testing.assert_allclose(routed.decision.probabilities, [[0.9, 0.05, 0.05]])

    with_router(use, exploration=Exploration("epsilon", epsilon=0.15))


def test_logged_propensities_are_frequencies() -> None:
    async def use(router: Router) -> np.ndarray:
        routed = await router.decide("ppo", ["text"] * 6000)
        return np.bincount(routed.decision.actions, minlength=len(ADAPTERS)) / 6000

    shares = with_router(use, queue_size=6000)
    np.testing.assert_allclose(shares, EVEN, atol=0.025)


def test_too_many_texts_are_refused_at_once() -> None:
    async def use(router: Router) -> None:
        waiting = [asyncio.create_task(router.decide("ppo", ["x"] * 4)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 texts wait"):
            await router.decide("ppo", ["y"])
        await asyncio.gather(*waiting)
        await router.decide("ppo", ["y"])

    with_router(use, StandInBundle(seconds=0.02), queue_size=8)


def test_a_late_decision_is_given_up() -> None:
    bundle = StandInBundle(seconds=0.2)

    async def use(router: Router) -> None:
        running = asyncio.create_task(router.decide("ppo", ["runs"]))
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match=r"within 0\.05 s") as caught:
            await router.decide("ppo", ["waits"])
        assert caught.value.status == 504
        with pytest.raises(ApiError):
            await running
        assert router.pending == 0

    with_router(use, bundle, timeout=0.05)
    assert bundle.batches == [1]  # the one that was given up was not decided


def test_one_bad_text_does_not_spoil_the_batch() -> None:
    async def use(router: Router) -> None:
        tasks = [router.decide("ppo", [text]) for text in ("warm up", "good", "<fail>", "fine")]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, RuntimeError) for outcome in outcomes] == [0, 0, 1, 0]

    with_router(use, StandInBundle(seconds=0.01))


def test_a_lone_decision_costs_little() -> None:
    async def use(router: Router) -> float:
        seconds = []
        for _ in range(200):
            start = time.perf_counter()
            await router.decide("ppo", ["text"])
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds))

    assert with_router(use) < 0.002


def test_it_decides_only_once_started() -> None:
    router = Router({"ppo": StandInBundle()})  # type: ignore[dict-item]
    with pytest.raises(RuntimeError, match="between start"):
        asyncio.run(router.decide("ppo", ["text"]))
