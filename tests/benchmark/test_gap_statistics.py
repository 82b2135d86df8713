from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from routing_gym.benchmark.gap_statistics import (
    calibration_p_value,
    calibration_scale,
    calibration_variance,
    larger_than_rest,
    mean_variances,
    q_values,
    shrink,
)


def test_shrinkage_by_hand() -> None:
    found = shrink(np.array([0.0, 2.0]), np.array([1.0, 1.0]), spreads=[1.0])
    # One spread of 1 beside an error of 1: half way to the centre, which is known to 2 / 2.
    assert found.centre == pytest.approx(1.0)
    assert found.weights == pytest.approx([0.5, 0.5])
    assert found.means == pytest.approx([0.5, 1.5])
    assert found.errors**2 == pytest.approx([0.5 + 0.25, 0.5 + 0.25])


def test_unequal_errors_by_hand() -> None:
    found = shrink(np.array([0.0, 3.0]), np.array([1.0, 3.0]), spreads=[1.0])
    # Precisions 1/2 and 1/4: the centre is (3 / 4) / (3 / 4) = 1.
    assert found.centre == pytest.approx(1.0)
    assert found.weights == pytest.approx([0.5, 0.75])
    assert found.means == pytest.approx([0.5, 1.5])


def test_small_groups_are_drawn_further() -> None:
    means = np.array([0.9, 0.9, 0.2, 0.3, 0.25, 0.35])
    found = shrink(means, 0.2 / np.array([200, 5, 100, 100, 100, 100]))
    assert found.means[1] < found.means[0] <= 0.9
    assert found.errors[1] > found.errors[0]
    assert found.weights[1] > found.weights[0]


def test_chance_is_shrunken_to_the_centre() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(0.5, 0.1, 300)
    found = shrink(means, np.full(300, 0.01))
    assert np.abs(found.means - 0.5).max() < 0.06
    assert np.abs(means - 0.5).max() > 0.2


def test_few_large_gaps_are_kept_among_many_of_none() -> None:
    rng = np.random.default_rng(1)
    truth = np.where(np.arange(100) < 5, 0.5, 0.0)
    found = shrink(truth + rng.normal(0, 0.05, 100), np.full(100, 0.05**2))
    assert np.abs(found.means - truth)[:5].max() < 0.12
    assert np.abs(found.means - truth)[5:].mean() < 0.02


@pytest.mark.parametrize("groups", [6, 25, 80])
def test_intervals_cover(groups: int) -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(600 // groups):
        truth = rng.normal(0.4, 0.2, groups)
        variances = rng.uniform(0.001, 0.04, groups)
        found = shrink(rng.normal(truth, np.sqrt(variances)), variances)
        covered.append(np.abs(found.means - truth) <= found.reach(0.95))
    assert 0.89 < np.mean(covered) <= 1


def test_one_group_is_kept() -> None:
    found = shrink(np.array([0.7]), np.array([0.04]))
    assert (found.means[0], found.errors[0]) == pytest.approx((0.7, 0.2))


@pytest.mark.parametrize(
    ("means", "variances", "match"),
    [
        ([0.1, 0.2], [0.1], r"must be \(G,\) both"),
        ([], [], r"must be \(G,\) both"),
        ([0.1, 0.2], [0.1, 0.0], "every one must be above 0"),
    ],
)
def test_what_cannot_be_shrunken(means: list[float], variances: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        shrink(np.array(means), np.array(variances))


def test_variances_by_hand() -> None:
    found = mean_variances([np.array([0.0, 1.0]), np.array([1.0, 1.0, 1.0])])
    common = 0.5 / 3
    assert found[0] == pytest.approx((0.5 + 10 * common) / 11 / 2)
    assert found[1] == pytest.approx((0.0 + 10 * common) / 12 / 3)


def test_two_values_are_tested_exactly() -> None:
    values = np.array([1.0, 1, 1, 0, 0, 0, 0, 0])
    found = larger_than_rest(values, [np.arange(3), np.arange(3, 6)], rng=np.random.default_rng(0))
    assert found == pytest.approx([1 / 56, 1.0])  # one of 8 over 3 draws


def test_permutations_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(60)
    groups = [np.argsort(-values)[3:60:step][:size] for size, step in ((4, 9), (10, 4), (25, 2))]
    found = larger_than_rest(values, groups, rng=rng, permutations=4999)
    for rows, p_value in zip(groups, found, strict=True):
        known = stats.permutation_test(
            (values[rows], np.delete(values, rows)),
            lambda own, rest: own.mean() - rest.mean(),
            alternative="greater",
            n_resamples=4999,
        )
        assert p_value == pytest.approx(known.pvalue, abs=0.05)


def test_equal_values_prove_nothing() -> None:
    assert larger_than_rest(np.ones(9), [np.arange(4)], rng=np.random.default_rng(0)) == [1.0]


def test_calibration_by_hand() -> None:
    assert calibration_p_value(np.array([0.5, 0.5]), np.array([1.0, 1.0])) == pytest.approx(0.5)
    assert calibration_p_value(np.full(10, 0.1), np.ones(10)) == pytest.approx(2e-10)
    binomial = stats.binomtest(3, 20, 0.4).pvalue
    assert calibration_p_value(np.full(20, 0.4), np.repeat([1.0, 0.0], [3, 17])) == pytest.approx(
        2 * stats.binom.cdf(3, 20, 0.4)
    )
    assert binomial < 0.05


def test_many_answers_are_taken_as_normal() -> None:
    truth = np.repeat([1.0, 0.0], [80, 120])
    exact = 2 * stats.binom.sf(79, 200, 0.3)
    assert calibration_p_value(np.full(200, 0.3), truth) == pytest.approx(exact, rel=0.25)


def test_errors_of_scores_are_never_certain() -> None:
    assert calibration_scale(np.full(4, 0.5)) == pytest.approx(0.5)
    assert calibration_scale(np.zeros(4)) == pytest.approx(0.05)
    assert calibration_variance(np.full(4, 0.5), np.ones(4)) == pytest.approx(0.25 / 4)


def test_q_values_by_hand() -> None:
    assert q_values(np.array([0.01, 0.02, 0.9])) == pytest.approx([0.03, 0.03, 0.9])
    assert (q_values(np.array([0.01, 0.02, 0.9]), method="by") >= 0.03).all()
    assert len(q_values(np.zeros(0))) == 0
