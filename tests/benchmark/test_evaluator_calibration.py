from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.evaluator_calibration import (
    calibrate,
    calibration_error,
    log_odds,
    risk_curve,
    set_coverage,
    set_figures,
    uncertainty,
    uncertainty_figures,
)
from routing_gym.benchmark.statistics import PairedBootstrap


def sample(n: int, *, seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities and truths that fit them."""
    rng = np.random.default_rng(seed)
    claims = rng.uniform(0.02, 0.98, size=(n, k))
    return claims, (rng.random((n, k)) < claims).astype(np.float64)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_overconfidence_is_found_and_mended() -> None:
    (claims, truth), (held, held_truth) = sample(600, seed=1), sample(400, seed=2)
    loud = [1 / (1 + np.exp(-3 * log_odds(values))) for values in (claims, held)]
    result = calibrate(
        loud[0],
        truth,
        validation=loud[1],
        validation_truth=held_truth,
        rng=rng(),
        resamples=200,
    )
    assert result.errors["before"].value > 0.1
    for name in ("temperature", "sigmoid", "isotonic"):
        assert result.errors[name].value < 0.04
        assert result.errors[name].high < result.errors["before"].low
        assert result.curves[name].count.sum() == truth.size
    # a temperature of 3 undoes the tripled log-odds
    quiet = calibration_error(claims, truth, rng=rng(), resamples=200).value
    assert result.errors["temperature"].value == pytest.approx(quiet, abs=0.015)


def test_scores_of_zero_and_one_have_finite_log_odds() -> None:
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_equal_answers_to_a_query_do_not_narrow_the_interval() -> None:
    claims, truth = sample(100, seed=3, k=1)
    one = calibration_error(claims, truth, rng=rng(), resamples=300)
    ten = calibration_error(
        np.repeat(claims, 10, 1), np.repeat(truth, 10, 1), rng=rng(), resamples=300
    )
    assert (ten.value, ten.low, ten.high) == pytest.approx((one.value, one.low, one.high))


def test_risk_curve_by_hand() -> None:
    doubts, errors = np.array([0.1, 0.4, 0.2, 0.3]), np.array([False, True, False, True])
    np.testing.assert_allclose(risk_curve(doubts, errors), [0, 0, 1 / 3, 1 / 2])
    # two ties, one of them wrong: each holds half an error
    ties = risk_curve(np.array([0.1, 0.1, 0.9]), np.array([True, False, False]))
    np.testing.assert_allclose(ties, [0.5, 0.5, 1 / 3])


def test_uncertainty_that_knows_and_one_that_does_not() -> None:
    generator = rng()
    errors = generator.random((80, 3)) < 0.3
    methods = {
        "mc_dropout": errors + generator.uniform(0, 0.5, errors.shape),
        "ensemble": generator.uniform(size=errors.shape),
        "token_entropy": np.full(errors.shape, 0.4),
    }
    bootstrap = PairedBootstrap(80, rng=generator, resamples=200)
    found = uncertainty(methods, errors, bootstrap=bootstrap)
    area = found["mc_dropout"].error_auroc
    assert (area.value, area.low, area.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found["mc_dropout"].area < found["ensemble"].area
    assert found["mc_dropout"].risk_at(1 - errors.mean()) == pytest.approx(0.0, abs=0.01)
    assert found["token_entropy"].error_auroc.value == 0.5
    assert found["token_entropy"].risk_at(0.1) == pytest.approx(errors.mean())
    figures = uncertainty_figures(found)
    assert figures["error_auroc"] == found["ensemble"].error_auroc  # the lower of the two
    assert figures["error_auroc_token_entropy"] == found["token_entropy"].error_auroc


def test_sets_by_hand() -> None:
    accuracy = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], dtype=np.float64)
    sets = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1], [1, 0, 0]], dtype=np.bool_)
    domains = np.array(["code", "code", "code", "creative"])
    bootstrap = PairedBootstrap(4, rng=rng(), resamples=100)
    found = set_coverage(sets, accuracy, domains, level=0.9, bootstrap=bootstrap)
    # the third query, which nobody solves, does not count
    assert found.coverage["all"].value == pytest.approx(2 / 3)
    assert found.coverage["code"].value == 1.0
    assert found.coverage["creative"].value == 0.0
    assert found.mean_size["all"].value == pytest.approx(4 / 3)
    assert found.mean_size_everywhere.value == pytest.approx(7 / 4)
    np.testing.assert_allclose(found.sizes["all"], [0, 2 / 3, 1 / 3, 0])
    assert set_figures(found)["conformal_coverage"] == found.coverage["all"]
