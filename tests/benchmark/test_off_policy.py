from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.off_policy import (
    Terms,
    check_distributions,
    direct_method,
    doubly_robust,
    importance_weights,
    ips,
    self_normalised_dr,
    snips,
)

# two decisions: weights 0.5 / 0.25 = 2 and 0.2 / 0.4 = 0.5
WEIGHTS = np.array([2.0, 0.5])
REWARDS = np.array([1.0, 0.4])
MODEL = {"predicted": np.array([0.6, 0.5]), "expected": np.array([0.7, 0.3])}


def test_weights_by_hand() -> None:
    target = np.array([[0.5, 0.5], [0.8, 0.2]])
    weights = importance_weights(target, np.array([0, 1]), np.array([0.25, 0.4]))
    np.testing.assert_allclose(weights, WEIGHTS)


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        (ips(WEIGHTS, REWARDS), (2.0 + 0.2) / 2),
        (snips(WEIGHTS, REWARDS), 2.2 / 2.5),
        (direct_method(MODEL["expected"]), 0.5),
        # 0.7 + 2 (1 - 0.6) = 1.5 and 0.3 + 0.5 (0.4 - 0.5) = 0.25
        (doubly_robust(WEIGHTS, REWARDS, **MODEL), 0.875),
        (self_normalised_dr(WEIGHTS, REWARDS, **MODEL), 0.5 + (0.8 - 0.05) / 2.5),
    ],
)
def test_estimates_by_hand(terms: Terms, value: float) -> None:
    assert float(terms.value) == pytest.approx(value)


def test_on_policy_all_but_the_model_give_the_mean() -> None:
    ones = np.ones(2)
    for terms in (ips(ones, REWARDS), snips(ones, REWARDS)):
        assert float(terms.value) == pytest.approx(REWARDS.mean())


def test_a_constant_reward_is_found_by_the_self_normalised() -> None:
    assert float(snips(WEIGHTS, np.full(2, 0.3)).value) == pytest.approx(0.3)
    assert float(ips(WEIGHTS, np.full(2, 0.3)).value) != pytest.approx(0.3)


def test_many_logs_at_once_are_each_log_alone() -> None:
    rng = np.random.default_rng(0)
    weights, rewards = rng.exponential(size=(3, 50)), rng.random((3, 50))
    model = {"predicted": rng.random((3, 50)), "expected": rng.random((3, 50))}
    together = self_normalised_dr(weights, rewards, **model).value
    for log in range(3):
        own = {name: values[log] for name, values in model.items()}
        alone = self_normalised_dr(weights[log], rewards[log], **own).value
        assert together[log] == pytest.approx(float(alone))


@pytest.mark.parametrize("name", ["ips", "snips", "sndr"])
def test_leave_one_out_and_resamples_against_brute_force(name: str) -> None:
    rng = np.random.default_rng(1)
    weights, rewards, predicted, expected = rng.random((4, 12))

    def estimate(rows: np.ndarray) -> Terms:
        w, r, q, v = (part[rows] for part in (weights, rewards, predicted, expected))
        if name == "sndr":
            return self_normalised_dr(w, r, predicted=q, expected=v)
        return ips(w, r) if name == "ips" else snips(w, r)

    terms = estimate(np.arange(12))
    without = [float(estimate(np.delete(np.arange(12), i)).value) for i in range(12)]
    np.testing.assert_allclose(terms.leave_one_out, without)
    drawn = rng.integers(12, size=(5, 12))
    shares = np.stack([np.bincount(rows, minlength=12) / 12 for rows in drawn])
    np.testing.assert_allclose(
        terms.weighted(shares), [float(estimate(rows).value) for rows in drawn]
    )


def test_difference_to_the_logged_policy_is_paired() -> None:
    terms = snips(WEIGHTS, REWARDS)
    assert float(terms.minus(REWARDS).value) == pytest.approx(2.2 / 2.5 - 0.7)


def test_no_weight_at_all_is_undefined_not_zero() -> None:
    assert np.isnan(snips(np.zeros(2), REWARDS).value)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.2, np.nan])
def test_impossible_propensities_are_refused(propensity: float) -> None:
    target = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match=r"propensities\[1\] = .* is not in \(0, 1\]"):
        importance_weights(target, np.array([0, 1]), np.array([0.5, propensity]))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one entry per row of target"):
        importance_weights(np.full((2, 2), 0.5), np.array([0]), np.array([0.5]))
    with pytest.raises(ValueError, match="belong together"):
        Terms(WEIGHTS, correction=WEIGHTS)
    with pytest.raises(ValueError, match="normaliser has shape"):
        Terms(WEIGHTS, WEIGHTS, np.ones(3))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.4]], r"target\[0\] = \[0.5, 0.4\] is no distribution"),
        ([[0.5, 0.5], [1.5, -0.5]], r"target\[1\]"),
        ([[np.nan, 1.0]], "no distribution"),
        ([[1.0]], "K of at least 2"),
    ],
)
def test_what_is_no_distribution_is_refused(rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_distributions(np.array(rows), name="target")
