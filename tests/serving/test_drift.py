from __future__ import annotations

import numpy as np
import pytest

from routing_gym.serving.drift import Drift, RecentMean


def test_the_recent_mean_is_exact() -> None:
    mean = RecentMean(1, half_life=1)
    mean.update(np.array([[1.0], [0.0]]))
    mean.update(np.array([[4.0]]))
    assert mean.value == pytest.approx((0.25 * 1 + 4) / 1.75)
    assert mean.chance == pytest.approx((0.0625 + 0.25 + 1) / 1.75**2)


def test_batches_change_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 3))
    one, many = RecentMean(3, half_life=5), RecentMean(3, half_life=5)
    one.update(rows)
    for row in rows:
        many.update(row[None])
    np.testing.assert_allclose(one.value, many.value)
    assert one.chance == pytest.approx(many.chance)


def make(half_life: float = 200) -> Drift:
    return Drift(np.zeros(4), 2.0, (0.7, 0.2, 0.1), half_life=half_life)


def test_a_server_that_has_just_started_does_not_alarm() -> None:
    drift = make()
    assert (drift.embedding, drift.arm_share) == (0.0, 0.0)
    drift.update(np.ones((1, 4)), np.array([0]))
    assert drift.embedding < 0.1
    assert drift.arm_share < 0.1


def test_the_training_distribution_is_no_drift_and_another_is() -> None:
    rng, drift = np.random.default_rng(0), make()
    drift.update(rng.normal(size=(3000, 4)), rng.choice(3, 3000, p=[0.7, 0.2, 0.1]))
    assert drift.embedding < 0.05
    assert drift.arm_share < 0.05
    drift.update(rng.normal(loc=2.0, size=(3000, 4)), rng.choice(3, 3000, p=[0.2, 0.2, 0.6]))
    assert drift.embedding == pytest.approx(2.0, abs=0.1)  # |(2, 2, 2, 2)| / 2
    assert drift.arm_share == pytest.approx(0.5, abs=0.08)


def test_a_half_life_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="half_life"):
        RecentMean(2, half_life=0.5)
