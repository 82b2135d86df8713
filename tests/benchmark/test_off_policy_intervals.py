from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from routing_gym.benchmark.off_policy import Terms, ips, snips
from routing_gym.benchmark.off_policy_intervals import (
    bernstein_interval,
    bootstrap_interval,
    normal_interval,
    standard_error,
    weighted_range,
)

RNG = np.random.default_rng


def test_the_error_of_a_plain_mean_is_the_usual_one() -> None:
    values = RNG(0).random((3, 50))
    expected = values.std(axis=-1, ddof=1) / math.sqrt(50)
    np.testing.assert_allclose(standard_error(Terms(values)), expected)


def test_the_error_of_a_ratio_is_the_jackknife_by_hand() -> None:
    weights, rewards = np.array([2.0, 1.0, 1.0]), np.array([1.0, 0.0, 0.5])
    without = np.array([0.5 / 2, 2.5 / 3, 2.0 / 3])
    expected = math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert float(standard_error(snips(weights, rewards))) == pytest.approx(expected)


def test_without_skewness_the_quantile_is_students() -> None:
    values = np.array([-1.0, 1.0] * 100)  # skewness 0, excess kurtosis -2
    low, high = normal_interval(Terms(values))
    quantile = float(high - low) / 2 / float(standard_error(Terms(values)))
    assert quantile == pytest.approx(stats.t(199).ppf(0.975), abs=2e-3)


def test_skewness_widens_the_interval() -> None:
    rare = np.where(np.arange(200) < 6, 1.0, 0.0)
    low, high = normal_interval(Terms(rare))
    quantile = float(high - low) / 2 / float(standard_error(Terms(rare)))
    skew, kurtosis = stats.skew(rare), stats.kurtosis(rare)
    z = stats.norm.ppf(0.975)
    shape = (z**4 + 2 * z**2 - 3) / 18 * skew**2 - (z**2 - 3) / 12 * kurtosis
    assert quantile == pytest.approx(z + z / 200 * (shape + (z**2 + 1) / 4))
    assert quantile > 2.2


def test_a_constant_has_no_width() -> None:
    low, high = normal_interval(Terms(np.full(10, 0.4)))
    assert float(low) == pytest.approx(0.4)
    assert float(high) == pytest.approx(0.4)


def test_bernstein_by_hand() -> None:
    values = np.array([0.0, 1.0, 2.0, 1.0])
    level = math.log(4 / 0.05)
    half = math.sqrt(2 * values.var(ddof=1) * level / 4) + 7 * 2 * level / (3 * 3)
    low, high = bernstein_interval(values, low=0.0, high=2.0)
    assert float(low) == pytest.approx(1 - half)
    assert float(high) == pytest.approx(1 + half)


def test_ranges_of_terms() -> None:
    assert weighted_range(5.0, modelled=False) == (0.0, 5.0)
    assert weighted_range(5.0, modelled=True) == (-5.0, 6.0)
    assert weighted_range(2.0, low=-1.0, high=1.0, modelled=False) == (-2.0, 2.0)


def test_the_bootstrap_resamples_the_ratio() -> None:
    rng = RNG(0)
    weights, rewards = rng.exponential(size=300), rng.random(300)
    low, high = bootstrap_interval(snips(weights, rewards), rng=RNG(1), resamples=4000)
    near = normal_interval(snips(weights, rewards))
    assert float(low) == pytest.approx(float(near[0]), abs=0.01)
    assert float(high) == pytest.approx(float(near[1]), abs=0.01)
    constant = bootstrap_interval(snips(weights, np.full(300, 0.3)), rng=RNG(1))
    np.testing.assert_allclose(constant, 0.3)


def test_equal_generators_give_equal_intervals() -> None:
    terms = ips(RNG(0).exponential(size=60), RNG(1).random(60))
    assert bootstrap_interval(terms, rng=RNG(2)) == bootstrap_interval(terms, rng=RNG(2))


def test_intervals_cover_what_they_say() -> None:
    values = RNG(5).random((4000, 30)) ** 3  # mean 1/4, skewed
    low, high = normal_interval(Terms(values))
    assert ((low <= 0.25) & (high >= 0.25)).mean() == pytest.approx(0.95, abs=0.015)
    low, high = bernstein_interval(values, low=0.0, high=1.0)
    assert ((low <= 0.25) & (high >= 0.25)).mean() > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: normal_interval(t, confidence=95), "confidence=95 must be between 0 and 1"),
        (lambda t: standard_error(Terms(np.ones(1))), "an error needs at least 2"),
        (lambda t: bootstrap_interval(t, rng=RNG(0), resamples=10), "at least 100"),
        (lambda t: bernstein_interval(t.direct, low=0.0, high=0.5), "outside low=0.0, high=0.5"),
        (lambda t: bernstein_interval(np.ones(1), low=0.0, high=1.0), "needs at least 2"),
    ],
)
def test_what_cannot_be_an_interval_is_refused(call: object, message: str) -> None:
    terms = Terms(np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match=message):
        call(terms)  # type: ignore[operator]
