"""What is seen of a query: predictions, out of fold on the train split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routing_gym.benchmark.runs import Splits
from routing_gym.benchmark.scenario_predictions import predicted_splits
from routing_gym.envs.data import RoutingData
from tests.benchmark.scenarios import splits


def rewards(data: RoutingData) -> np.ndarray:
    return data.rewards


def noise(data: RoutingData) -> np.ndarray:
    """Nothing that an embedding could tell."""
    return np.random.default_rng(len(data)).random(data.rewards.shape)


def test_predictions_take_the_place_of_embeddings() -> None:
    found = predicted_splits(splits(), targets=[rewards, noise])
    for name in ("train", "validation", "test"):
        before, after = getattr(splits(), name), getattr(found, name)
        assert after.observations.shape == (len(before), 8)
        assert after.observations.dtype == np.float32
        np.testing.assert_array_equal(after.rewards, before.rewards)
        # the identity problem is predictable
        best = after.observations[:, :4].argmax(axis=1)
        assert (best == before.rewards.argmax(axis=1)).mean() > 0.95


def test_a_query_has_no_part_in_its_own_prediction() -> None:
    """A regression on noise knows its own rows by heart, and out of fold it does not."""
    found = predicted_splits(splits(), targets=[noise]).train
    target = noise(splits().train)
    correlation = np.corrcoef(found.observations.ravel(), target.ravel())[0, 1]
    assert abs(correlation) < 0.2
    # what a query is worth changes the predictions of other folds, never its own
    changed = np.array(target)
    changed[0] += 0.5
    again = predicted_splits(splits(), targets=[lambda d: changed if len(d) == 72 else noise(d)])
    assert len(splits().train) == 72
    same = (again.train.observations == found.observations).all(axis=1)
    assert not same.all()
    np.testing.assert_allclose(again.train.observations[0], found.observations[0], atol=0.05)


def test_predictions_stay_in_the_range_of_the_train_split() -> None:
    far = replace(splits().test, observations=splits().test.observations * 100)
    found = predicted_splits(
        Splits(train=splits().train, validation=splits().validation, test=far), targets=[rewards]
    )
    low, high = splits().train.rewards.min(axis=0), splits().train.rewards.max(axis=0)
    assert (found.test.observations >= low - 1e-6).all()
    assert (found.test.observations <= high + 1e-6).all()


def test_the_seed_determines_the_folds() -> None:
    first, second, other = (
        predicted_splits(splits(), targets=[rewards], seed=seed).train.observations
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_refuses_impossible_folds() -> None:
    with pytest.raises(ValueError, match="give at least one target and 2 to 72 folds"):
        predicted_splits(splits(), targets=[])
    for folds in (1, 73):
        with pytest.raises(ValueError, match=f"folds={folds}"):
            predicted_splits(splits(), targets=[rewards], folds=folds)
