from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routing_gym.rewards import DEFAULT_METRICS
from routing_gym.rewards.metric import Direction
from routing_gym.rewards.reward import DEFAULT_REWARD, PLAIN_REWARD, RewardFunction

DIRECTIONS: dict[str, Direction] = {"completeness": "higher", "tokens": "lower"}
SCORES = {"completeness": np.array([[1.0, 0.0]]), "tokens": np.array([[0.5, 0.2]])}


def test_weighted_mean_of_oriented_scores() -> None:
    reward = RewardFunction({"completeness": 3, "tokens": 1})
    np.testing.assert_allclose(reward(SCORES, DIRECTIONS), [[3.5 / 4, 0.8 / 4]])


def test_only_proportions_count() -> None:
    small, large = (RewardFunction({"completeness": w, "tokens": w}) for w in (1e-3, 7))
    np.testing.assert_allclose(small(SCORES, DIRECTIONS), large(SCORES, DIRECTIONS))


def test_accuracy_is_another_column() -> None:
    accuracy = np.array([0.0, 1.0], dtype=np.float32)
    reward = RewardFunction({"accuracy": 2.0})({"accuracy": accuracy}, {"accuracy": "higher"})
    assert reward.dtype == np.float64
    assert reward.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("reward", [DEFAULT_REWARD, PLAIN_REWARD])
def test_weights_are_of_default_metrics(reward: RewardFunction) -> None:
    assert set(reward.weights) <= set(DEFAULT_METRICS)


def test_default_reward_is_quality_less_costs() -> None:
    scores = {"quality": np.array([0.8]), "tokens": np.array([0.5]), "seconds": np.array([0.1])}
    directions: dict[str, Direction] = {"quality": "higher", "tokens": "lower", "seconds": "lower"}
    expected = (9 * 0.8 + 0.5 * 0.5 + 0.5 * 0.9) / 10
    np.testing.assert_allclose(DEFAULT_REWARD(scores, directions), [expected])


def test_weights_are_a_copy() -> None:
    weights = {"tokens": 1.0}
    reward = RewardFunction(weights)
    weights["tokens"] = 5.0
    assert reward.weights == {"tokens": 1.0}


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({}, "must map"),
        ([1.0], "must map"),
        ({"tokens": -1.0}, "-1.0 of 'tokens'"),
        ({"tokens": float("nan")}, "nan of 'tokens'"),
        ({"tokens": float("inf")}, "inf of 'tokens'"),
        ({"tokens": "much"}, "'much' of 'tokens'"),
        ({"tokens": True}, "True of 'tokens'"),
        ({"tokens": 0, "safety": 0.0}, "all 0"),
    ],
)
def test_wrong_weights(weights: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        RewardFunction(weights)


def test_unknown_metric_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'token'.*completeness, tokens; did you mean 'tokens'"):
        RewardFunction({"token": 1.0})(SCORES, DIRECTIONS)


def test_missing_direction() -> None:
    with pytest.raises(ValueError, match="direction None of 'tokens'"):
        RewardFunction({"tokens": 1.0})(SCORES, {})


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5, np.inf])
def test_bad_scores_are_named(value: float) -> None:
    scores = {"tokens": np.array([[0.0, 0.1], [0.2, value]])}
    with pytest.raises(ValueError, match=r"'tokens' at index \(1, 1\)"):
        RewardFunction({"tokens": 1.0})(scores, DIRECTIONS)


@pytest.mark.parametrize("text", ["tokens: 2\n", "steps: 3\nreward:\n  tokens: 2.0\n"])
def test_from_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reward.yaml"
    path.write_text(text)
    assert RewardFunction.from_yaml(path).weights == {"tokens": 2.0}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "does not exist"),
        ("- 1\n", "metric: weight"),
        ("tokens: [\n", "not valid YAML"),
        ("tokens: much\n", "'much' of 'tokens'"),
        ("", "metric: weight"),
    ],
)
def test_wrong_yaml(tmp_path: Path, text: str | None, match: str) -> None:
    path = tmp_path / "reward.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=match):
        RewardFunction.from_yaml(path)
