from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_evaluation import evaluate_log
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_report import (
    evaluation_figures,
    evaluation_json,
    evaluation_markdown,
)
from routing_gym.benchmark.off_policy_result import OffPolicyEvaluation, OffPolicySettings
from tests.agents.problems import identity
from tests.benchmark.off_policy_logs import logged

QUICK = OffPolicySettings(resamples=200, folds=3)
DATA = identity("train")
K = DATA.num_adapters


def oracle(log: DecisionLog) -> np.ndarray:
    """The best adapter of each logged query: always the direction of its embedding."""
    assert log.observations is not None
    return np.eye(K)[log.observations[:, :K].argmax(axis=1)]


def evaluated(log: DecisionLog, target: np.ndarray) -> OffPolicyEvaluation:
    return evaluate_log(log, target, name="oracle", settings=QUICK)


@pytest.fixture(scope="module")
def log() -> DecisionLog:
    return logged(DATA, decisions=1200)


@pytest.fixture(scope="module")
def evaluation(log: DecisionLog) -> OffPolicyEvaluation:
    return evaluated(log, oracle(log))


def test_the_value_of_the_oracle_is_found(evaluation: OffPolicyEvaluation) -> None:
    truth = float(DATA.rewards.max(axis=1).mean())
    assert evaluation.refusals == ()
    assert evaluation.model == "ridge"
    for estimate in evaluation.estimates:
        if not estimate.biased:
            assert estimate.normal.low <= truth <= estimate.normal.high
            assert estimate.bootstrap.low <= estimate.value <= estimate.bootstrap.high
    assert abs(evaluation.best.value - truth) < 0.02


def test_the_model_makes_the_estimate_more_precise(log: DecisionLog) -> None:
    always = np.eye(K)[np.zeros(len(log), dtype=int)]  # right on a quarter of the queries
    found = evaluated(log, always)
    errors = {estimate.estimator: estimate.error for estimate in found.estimates}
    assert errors["dr"] < errors["snips"] < errors["ips"]
    assert found.recommended == "sndr"
    assert found.best.normal.low <= DATA.rewards[:, 0].mean() <= found.best.normal.high


def test_the_gain_is_against_the_logged_policy(evaluation: OffPolicyEvaluation) -> None:
    gain = evaluation.best.gain
    assert gain.value == pytest.approx(evaluation.best.value - evaluation.logged.value)
    assert gain.low > 0


def test_only_plain_means_have_bernstein_intervals(evaluation: OffPolicyEvaluation) -> None:
    known = [e.estimator for e in evaluation.estimates if e.bernstein is not None]
    assert known == ["ips", "dr"]
    for estimate in evaluation.estimates:
        if estimate.bernstein is not None:
            assert estimate.bernstein.low < estimate.normal.low


def test_without_contexts_the_means_are_the_model(log: DecisionLog) -> None:
    bare = dataclasses.replace(log, observations=None, all_propensities=None)
    found = evaluated(bare, oracle(log))
    assert found.model == "mean"
    assert found.overlap.unsupported is None
    assert any("go unnoticed" in caution for caution in found.cautions)
    assert found.best.normal.low <= DATA.rewards.max(axis=1).mean() <= found.best.normal.high


def test_fallbacks_and_missing_rewards_are_left_out(log: DecisionLog) -> None:
    fallbacks = np.arange(len(log)) % 10 == 0
    rewards = np.where(np.arange(len(log)) % 10 == 1, np.nan, log.rewards)
    rewards[fallbacks] = 0.0  # would pull every estimate down
    found = evaluated(dataclasses.replace(log, fallbacks=fallbacks, rewards=rewards), oracle(log))
    assert (found.decisions, found.fallbacks, found.unrewarded) == (960, 120, 120)
    assert abs(found.best.value - DATA.rewards.max(axis=1).mean()) < 0.03


def test_evaluating_the_logged_policy_gives_its_mean(log: DecisionLog) -> None:
    assert log.all_propensities is not None
    found = evaluated(log, log.all_propensities)
    values = {estimate.estimator: estimate.value for estimate in found.estimates}
    assert values["snips"] == pytest.approx(found.logged.value)
    assert found.overlap.effective == pytest.approx(len(log))


def test_little_overlap_is_refused_with_diagnostics() -> None:
    greedy = np.tile([1.0 - 3e-3, 1e-3, 1e-3, 1e-3], (len(DATA), 1))
    log = logged(DATA, greedy, decisions=2000)
    found = evaluated(log, oracle(log))
    assert found.estimates == ()
    assert found.recommended == ""
    assert "effective sample size" in found.refusals[0]
    with pytest.raises(ValueError, match="the log was refused: the effective"):
        _ = found.best
    assert "**Refused**" in evaluation_markdown(found, max_weight="5")
    assert evaluation_figures(found)["refused"] == 1.0


def test_mass_without_support_is_refused() -> None:
    policy = np.tile([0.5, 0.5, 0.0, 0.0], (len(DATA), 1))
    log = logged(DATA, policy, decisions=1000)
    found = evaluated(log, oracle(log))
    assert found.overlap.unsupported == pytest.approx(0.5, abs=0.05)
    assert "never plays adapters" in found.refusals[0]


def test_reports_hold_every_estimate(evaluation: OffPolicyEvaluation) -> None:
    text = evaluation_markdown(evaluation, max_weight="5")
    content = json.loads(evaluation_json(evaluation))
    for estimate in evaluation.estimates:
        assert estimate.estimator in text
    assert content["estimates"][0]["estimator"] == "ips"
    assert content["recommended"] == evaluation.recommended
    assert content["overlap"]["quantiles"]["1"] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full((3, K), 1 / K), r"target has shape \(3, 4\), not \(N, K\) = \(1200, 4\)"),
        (np.full((1200, K), 0.3), r"target\[0\] = .* is no distribution"),
    ],
)
def test_wrong_targets_are_refused(log: DecisionLog, target: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(log, target)


def test_one_adapter_only_is_refused() -> None:
    log = logged(DATA, np.tile([0.0, 1.0, 0.0, 0.0], (len(DATA), 1)), decisions=50)
    with pytest.raises(ValueError, match="the log holds one adapter only"):
        evaluated(log, oracle(log))


def test_rewards_outside_their_range_are_refused(log: DecisionLog) -> None:
    scaled = dataclasses.replace(log, rewards=log.rewards * 10)
    with pytest.raises(ValueError, match=r"outside reward_low=0\.0, reward_high=1\.0"):
        evaluated(scaled, oracle(log))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "rigde"}, "model='rigde' is unknown"),
        ({"reward_low": 2.0}, "reward_low=2.0 must be below"),
        ({"folds": 1}, "folds=1 must be at least"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OffPolicySettings(**options)  # type: ignore[arg-type]
