from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.off_policy import direct_method, doubly_robust, ips
from routing_gym.benchmark.off_policy_shrinkage import (
    SHRINKAGES,
    clipped_ips,
    dros,
    switch_dr,
    tune,
    tuning_grid,
)

WEIGHTS = np.array([2.0, 0.5])
REWARDS = np.array([1.0, 0.4])
MODEL = {"predicted": np.array([0.6, 0.5]), "expected": np.array([0.7, 0.3])}


def test_estimates_by_hand() -> None:
    assert float(clipped_ips(WEIGHTS, REWARDS, clip=1.5).value) == pytest.approx((1.5 + 0.2) / 2)
    # the first weight exceeds 1: its term is the model's 0.7; the second is 0.25
    assert float(switch_dr(WEIGHTS, REWARDS, threshold=1.0, **MODEL).value) == pytest.approx(0.475)
    # lambda 4: 8 / 8 = 1 and 2 / 4.25; terms 0.7 + 0.4 and 0.3 - 0.1 * 2 / 4.25
    expected = (1.1 + 0.3 - 0.2 / 4.25) / 2
    assert float(dros(WEIGHTS, REWARDS, shrinkage=4.0, **MODEL).value) == pytest.approx(expected)


def test_the_ends_of_every_shrinkage() -> None:
    model = float(direct_method(MODEL["expected"]).value)
    robust = float(doubly_robust(WEIGHTS, REWARDS, **MODEL).value)
    assert float(dros(WEIGHTS, REWARDS, shrinkage=0.0, **MODEL).value) == pytest.approx(model)
    assert float(dros(WEIGHTS, REWARDS, shrinkage=np.inf, **MODEL).value) == pytest.approx(robust)
    assert float(switch_dr(WEIGHTS, REWARDS, threshold=0.0, **MODEL).value) == pytest.approx(model)
    assert float(switch_dr(WEIGHTS, REWARDS, threshold=2.0, **MODEL).value) == pytest.approx(robust)
    plain = float(ips(WEIGHTS, REWARDS).value)
    assert float(clipped_ips(WEIGHTS, REWARDS, clip=2.0).value) == pytest.approx(plain)


@pytest.mark.parametrize("kind", list(SHRINKAGES))
def test_grids_rise_and_end_without_shrinkage(kind: str) -> None:
    weights = np.random.default_rng(0).exponential(size=(3, 40))
    grid = tuning_grid(kind, weights)
    assert grid.shape == (8, 3)
    assert (np.diff(grid, axis=0) > 0).all()
    np.testing.assert_allclose(SHRINKAGES[kind](weights, grid[-1]), weights)


def test_a_perfect_model_is_trusted_and_a_wrong_one_is_not() -> None:
    rng = np.random.default_rng(0)
    weights = rng.choice([0.1, 30.0], p=[0.97, 0.03], size=400)
    rewards = rng.random(400)
    noisy = rewards + rng.normal(
        scale=0.3, size=400
    )  # residuals are noise: shrinking costs nothing
    trusted = tune("optimistic", weights, rewards, predicted=noisy, expected=np.full(400, 0.5))
    assert np.isfinite(trusted)
    off = tune("optimistic", weights, rewards + 5, predicted=rewards, expected=np.full(400, 0.5))
    assert off > trusted


def test_a_bound_of_the_bias_shrinks_less_than_its_estimate() -> None:
    rng = np.random.default_rng(3)
    weights = rng.choice([0.1, 30.0], p=[0.97, 0.03], size=(50, 400))
    rewards, predicted = rng.random((2, 50, 400))
    model = {"predicted": predicted, "expected": np.full((50, 400), 0.5)}
    estimated = tune("optimistic", weights, rewards, **model)
    bounded = tune("optimistic", weights, rewards, delta=0.05, **model)
    assert (bounded >= estimated).all()
    assert (bounded > estimated).any()


def test_many_logs_are_tuned_one_by_one() -> None:
    rng = np.random.default_rng(2)
    weights, rewards = rng.exponential(size=(4, 60)) ** 2, rng.random((4, 60))
    together = tune("switch", weights, rewards)
    alone = [float(tune("switch", weights[i], rewards[i])) for i in range(4)]
    np.testing.assert_allclose(together, alone)


def test_an_unknown_shrinkage_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='clipp' is unknown: choose one of clip, switch"):
        tune("clipp", WEIGHTS, REWARDS)
