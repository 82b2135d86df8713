from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from routing_gym.rewards.calibration import TemperatureScaling
from routing_gym.rewards.quality_training import (
    QualityConfig,
    TrainedQuality,
    choose_calibration,
    cross_fit,
    query_folds,
    train_quality,
)
from tests.rewards.quality_problem import QUICK, verified


@pytest.fixture(scope="module")
def trained() -> TrainedQuality:
    return train_quality(verified(), verified(60, seed=1), config=QUICK, seed=0, encoder="hash")


def test_learns(trained: TrainedQuality) -> None:
    new = verified(200, seed=2)
    chances = trained.model.predict(trained.model.feature_map.apply(new.inputs))
    assert roc_auc_score(new.labels, chances) > 0.9
    assert chances.mean() == pytest.approx(new.labels.mean(), abs=0.08)  # calibrated
    assert roc_auc_score(verified().labels, trained.cross_fitted) > 0.88


def test_remembers_how_it_was_made(trained: TrainedQuality) -> None:
    record = trained.model.record
    assert record["seed"] == 0
    assert 1 <= record["epochs"] <= QUICK.epochs
    assert record["config"]["members"] == trained.model.num_members == 3
    assert set(record["calibration_log_loss"]) == {
        "temperature",
        "temperature_and_bias",
        "isotonic",
    }
    assert trained.model.encoder == "hash"


def test_deterministic_in_the_seed() -> None:
    train, validation = verified(40), verified(30, seed=1)
    config = dataclasses.replace(QUICK, epochs=3)
    one, two, other = (
        train_quality(train, validation, config=config, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.cross_fitted, two.cross_fitted)
    assert (one.cross_fitted != other.cross_fitted).any()


def test_cross_fitting_never_reads_the_verdicts_of_the_query_it_predicts() -> None:
    answers = verified(40)
    folds = query_folds(answers.queries, QUICK.folds, rng=np.random.default_rng(7))
    inside = folds == folds[0]
    flipped = dataclasses.replace(
        answers, labels=np.where(inside, 1 - answers.labels, answers.labels)
    )
    before, after = (cross_fit(a, config=QUICK, seed=7, epochs=2) for a in (answers, flipped))
    np.testing.assert_array_equal(before[inside], after[inside])
    assert (before[~inside] != after[~inside]).all()


def test_folds_keep_queries_together() -> None:
    queries = np.repeat(np.arange(23), 5)
    folds = query_folds(queries, 4, rng=np.random.default_rng(0))
    assert all(len(set(folds[queries == q])) == 1 for q in range(23))
    assert set(np.bincount(folds) // 5) == {5, 6}
    with pytest.raises(ValueError, match="folds=4 need as many queries, there are 2"):
        query_folds(np.array([1, 2]), 4, rng=np.random.default_rng(0))


def test_the_better_calibration_is_chosen() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=2000)
    folds = np.arange(2000) % 5
    labels = (rng.random(2000) < 1 / (1 + np.exp(-logits / 2))).astype(np.float64)
    calibration, losses = choose_calibration(logits, labels, folds=folds)
    assert isinstance(calibration, TemperatureScaling)
    assert calibration.temperature == pytest.approx(2, rel=0.15)
    steps = (rng.random(2000) < np.where(logits > 0, 0.9, 0.6)).astype(np.float64)
    calibration, losses = choose_calibration(logits, steps, folds=folds)
    assert calibration.to_json()["method"] == "isotonic"
    assert losses["isotonic"] == min(losses.values())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="is in train and validation"):
        train_quality(verified(20), verified(20), config=QUICK, seed=0)
    answers = verified(20)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 1\]"):
        dataclasses.replace(answers, labels=answers.labels + 1)
    with pytest.raises(ValueError, match="must be as many"):
        dataclasses.replace(answers, queries=answers.queries[1:])
    with pytest.raises(ValueError, match="folds=1"):
        QualityConfig(folds=1)
    with pytest.raises(ValueError, match="query_axes=0"):
        QualityConfig(query_axes=0)
