from __future__ import annotations

import json

import numpy as np
import pytest

from routing_gym.benchmark.off_policy import Terms, snips
from routing_gym.benchmark.off_policy_comparison import PolicyComparison, compare_policies
from routing_gym.benchmark.off_policy_intervals import bootstrap_draws
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_ranking import (
    answer,
    figure_name,
    ranking_figures,
    ranking_json,
    ranking_markdown,
    ranking_table,
)
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from tests.benchmark.off_policy_logs import logged
from tests.synthetic import identity_table

SETTINGS = OffPolicySettings(resamples=400, model="mean")
DATA = identity_table(n=300).data("test")
LOG = logged(DATA, decisions=900)
ROWS = {name: row for row, name in enumerate(DATA.query_ids)}


def right() -> np.ndarray:
    """The best adapter on every logged query."""
    assert LOG.query_ids is not None
    best = DATA.rewards.argmax(axis=1)[[ROWS[name] for name in LOG.query_ids]]
    return np.eye(4)[best]


def always(adapter: int) -> np.ndarray:
    """One adapter for all."""
    return np.eye(4)[np.full(len(LOG), adapter)]


def wrong() -> np.ndarray:
    """Any adapter but the best one."""
    return (1 - right()) / 3


def compared(log: DecisionLog = LOG, **targets: np.ndarray) -> PolicyComparison:
    """Compare with few resamples."""
    return compare_policies(log, targets, settings=SETTINGS)


def test_the_better_policy_is_found() -> None:
    found = compared(wrong=wrong(), second=always(1), right=right())
    assert [policy.name for policy in found.policies] == ["right", "second", "wrong"]
    assert [policy.judgement for policy in found.policies] == ["better", "cannot tell", "worse"]
    favourite = found.favourite
    assert favourite is not None
    assert favourite.gain is not None
    assert favourite.name == "right"
    truth = DATA.rewards.max(axis=1).mean() - DATA.rewards.mean()
    assert favourite.gain.low < truth < favourite.gain.high
    text = answer(found)
    assert text.startswith("**right would have been better than the logged policy**, by +0.")
    assert "It would also have been better than second and wrong." in text
    assert "Worse than the logged policy: wrong (-0." in text


def test_the_logged_policy_stands_in_the_ranking() -> None:
    table = ranking_table(compared(wrong=wrong(), right=right())).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "**right**",
        "logged policy",
        "wrong",
    ]


def test_a_log_that_cannot_tell_says_so() -> None:
    text = answer(compared(second=always(1), mixed=0.5 * always(1) + 0.5 * always(3)))
    assert "**The log cannot tell whether another policy would have been better" in text
    assert "holds 0 for second (" in text or "holds 0 for mixed (" in text
    assert "log longer, or explore more." in text


def test_the_logged_policy_may_be_the_best() -> None:
    text = answer(compared(wrong=wrong()))
    assert text.startswith("**The logged policy was the best**: even wrong would have been worse")


def test_refused_policies_are_named_with_the_reason() -> None:
    played = np.flatnonzero(LOG.actions != 3)
    log = LOG.subset(played)
    assert log.all_propensities is not None
    log.all_propensities[:] = [1 / 3, 1 / 3, 1 / 3, 0]
    log.propensities[:] = 1 / 3
    found = compared(log, never=always(3)[played], second=always(1)[played])
    assert [policy.judgement for policy in found.policies] == ["cannot tell", "refused"]
    assert "Refused: never: the logging policy never plays adapters" in answer(found)
    alone = compared(log, never=always(3)[played])
    assert alone.estimated == ()
    assert alone.favourite is None
    assert "cannot tell which policy" in answer(alone)
    assert ranking_figures(alone)["never_refused"] == 1.0


def test_two_that_are_close_are_not_told_apart() -> None:
    nearly = 0.97 * right() + 0.01
    nearly /= nearly.sum(axis=1, keepdims=True)
    text = answer(compared(right=right(), also_right=right(), nearly=0.5 * right() + 0.5 * nearly))
    assert "The log cannot tell it from " in text


def test_differences_are_paired() -> None:
    assert LOG.all_propensities is not None
    found = compared(same=LOG.all_propensities)
    gain = found.policies[0].gain
    assert gain is not None
    assert max(abs(gain.value), abs(gain.low), abs(gain.high)) < 1e-12
    twins = compared(one=right(), two=right()).policies[1].minus_favourite
    assert twins is not None
    assert (twins.value, twins.low, twins.high) == (0, 0, 0)


def test_with_more_policies_a_claim_needs_more() -> None:
    alone = compared(one=always(1)).policies[0].gain
    assert alone is not None
    many = compared(one=always(1), two=always(2), three=always(3), zero=always(0))
    gain = next(policy.gain for policy in many.policies if policy.name == "one")
    assert gain is not None
    assert gain.value == alone.value
    assert gain.high - gain.low > 1.15 * (alone.high - alone.low)


def test_policies_that_are_no_better_are_rarely_called_better() -> None:
    """Three policies of the logged one's value, 20 logs: at most 5 % false claims, and noise."""
    wrongly = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])  # not the stream that draws the log
        log = logged(DATA, decisions=240, seed=seed)
        log.rewards[:] = rng.random(240) < 0.4
        targets = {f"p{k}": np.eye(4)[np.full(240, k)] for k in range(3)}
        settings = OffPolicySettings(resamples=100, model="mean")
        found = compare_policies(log, targets, settings=settings)
        wrongly += any(policy.judgement in ("better", "worse") for policy in found.policies)
    assert wrongly <= 4  # 1 expected; more than 4 in 0.3 % of the cases


def test_reports() -> None:
    found = compared(**{"knn (greedy)": right(), "wrong": wrong()})
    figures = ranking_figures(found)
    assert {"logged_reward", "knn_greedy", "knn_greedy_minus_logged", "wrong_refused"} <= set(
        figures
    )
    assert figures["better"] == 1.0
    content = json.loads(ranking_json(found))
    assert content["favourite"] == "knn (greedy)"
    assert content["policies"][0]["judgement"] == "better"
    assert content["policies"][0]["minus_favourite"] is None
    assert "terms" not in content["policies"][0]["estimates"][0]
    page = ranking_markdown(found, max_weight="4")
    assert page.startswith("# Which policy would have been better\n\n**knn (greedy) would have")
    assert "\n## Off-policy evaluation of wrong\n" in page
    assert figure_name("PPO (sampled) of runs/ppo") == "ppo_sampled_of_runs_ppo"


def test_draws_share_their_resamples() -> None:
    rng = np.random.default_rng(0)
    weights, rewards = rng.random(50) * 2, rng.random(50)
    plain = Terms(rewards)
    draws = bootstrap_draws(
        [plain, Terms(rewards + 0.5), snips(weights, rewards)], rng=rng, resamples=100
    )
    assert draws.shape == (3, 100)
    np.testing.assert_allclose(draws[1] - draws[0], 0.5)
    with pytest.raises(ValueError, match=r"policies hold \[49, 50\] decisions"):
        bootstrap_draws([plain, Terms(rewards[1:])], rng=rng)
    with pytest.raises(ValueError, match="resamples=99 must be at least 100"):
        bootstrap_draws([plain], rng=rng, resamples=99)


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="targets is empty"):
        compared()
