from __future__ import annotations

import math

import numpy as np
import pytest

from routing_gym.benchmark.statistics import (
    Interval,
    PairedBootstrap,
    finite_figures,
    interquartile_mean,
    jeffreys_interval,
    resample_weights,
    stratified_bootstrap,
    wilson_interval,
)


def bootstrap(n: int, seed: int = 0, **options: object) -> PairedBootstrap:
    return PairedBootstrap(n, rng=np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_interquartile_mean_cuts_a_quarter_at_each_end() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 3.0, 100.0])) == 2.0
    assert interquartile_mean(np.array([8.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 99.0])) == 3.5
    assert interquartile_mean(np.array([0.0, 1.0, 8.0])) == 3.0
    both = interquartile_mean(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [90.0, 91.0]]))
    np.testing.assert_allclose(both, [3.0, 4.0])


def test_weights_are_counts_of_a_resample_over_n() -> None:
    weights = resample_weights(5, resamples=50, rng=np.random.default_rng(0))
    assert weights.shape == (50, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights * 5, np.round(weights * 5), atol=1e-12)


def test_strata_keep_their_share_of_every_resample() -> None:
    strata = np.array(["a", "b", "a", "b", "b"])
    weights = resample_weights(5, resamples=50, rng=np.random.default_rng(0), strata=strata)
    np.testing.assert_allclose(weights[:, strata == "a"].sum(axis=1), 0.4)


def test_intervals_of_constants_have_no_width() -> None:
    assert bootstrap(4).mean(np.full((3, 4), 0.5)) == Interval(0.5, 0.5, 0.5)
    assert bootstrap(4).iqm(np.full((3, 4), 0.5)) == Interval(0.5, 0.5, 0.5)


def test_a_paired_difference_ignores_what_both_share() -> None:
    noise = np.random.default_rng(1).normal(size=50)
    difference = bootstrap(50).difference(noise + 0.1, noise)
    assert difference.value == pytest.approx(0.1)
    assert difference.high - difference.low < 1e-9


def test_interval_of_a_mean_matches_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(size=400)
    interval = bootstrap(400, resamples=4000).mean(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)


def test_seeds_are_resampled_too() -> None:
    per_seed = np.repeat([[0.0], [1.0]], 10, axis=1)  # queries agree, seeds do not
    interval = bootstrap(10).mean(per_seed)
    assert interval == Interval(0.5, 0.0, 1.0)


def test_equal_generators_give_equal_intervals() -> None:
    values = np.random.default_rng(3).random((2, 30))
    assert bootstrap(30).mean(values) == bootstrap(30).mean(values)
    assert bootstrap(30).mean(values) != bootstrap(30, seed=1).mean(values)


def test_ratio_and_gap_by_hand() -> None:
    ones, single, best = np.full(4, 0.8), np.full(4, 0.5), np.full(4, 0.9)
    assert bootstrap(4).ratio(ones, single).value == pytest.approx(1.6)
    gap = bootstrap(4).gap_closed(ones, best_single=single, oracle=best)
    assert gap.value == pytest.approx(0.75)
    assert gap.low == pytest.approx(0.75)


def test_an_undefined_ratio_is_nan() -> None:
    assert not bootstrap(4).ratio(np.ones(4), np.zeros(4)).defined
    flat = np.full(4, 0.5)
    assert math.isnan(bootstrap(4).gap_closed(flat, best_single=flat, oracle=flat).value)


def test_coverage_of_the_paired_interval() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(200):
        first, shared = rng.normal(0.2, 1, 60), rng.normal(0, 3, 60)
        interval = bootstrap(60, seed=trial, resamples=300).difference(first + shared, shared)
        hits += interval.low <= 0.2 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_wilson_by_hand() -> None:
    # p = .5, n = 10, z = 1.959964: (.5 +- 1.959964 sqrt(.025 + .0096036)) / 1.3841459, centred .5
    interval = wilson_interval(5, 10)
    assert interval.low == pytest.approx(0.236593, abs=1e-6)
    assert interval.high == pytest.approx(0.763407, abs=1e-6)
    none = wilson_interval(0, 10)
    assert none.low == 0.0
    assert none.high == pytest.approx(0.277533, abs=1e-6)


def test_jeffreys_ends_are_closed_at_the_extremes() -> None:
    assert jeffreys_interval(0, 10).low == 0.0
    assert jeffreys_interval(10, 10).high == 1.0
    middle = jeffreys_interval(5, 10)
    assert middle.low == pytest.approx(1 - middle.high)
    assert middle.low == pytest.approx(0.2235, abs=1e-3)


def test_stratified_bootstrap_by_hand() -> None:
    scores = np.tile(np.array([[0.0, 4.0, 8.0, 90.0]]), (3, 1))
    # 12 values, 3 cut at each end: 4 4 4 8 8 8; every resample is the sample
    assert stratified_bootstrap(scores, rng=np.random.default_rng(0)) == Interval(6.0, 6.0, 6.0)


def test_summaries_leave_out_what_is_not_defined() -> None:
    nan = float("nan")
    figures: dict[str, float | Interval] = {
        "a": 1 / 3,
        "b": nan,
        "c": Interval(1, 0, 2),
        "d": Interval(nan, nan, nan),
    }
    assert finite_figures(figures) == {"a": 0.333333, "c": {"value": 1, "low": 0, "high": 2}}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Interval(0, 1, 0), "low=1"),
        (lambda: wilson_interval(1, 0), "trials=0"),
        (lambda: wilson_interval(3, 2), "successes=3"),
        (lambda: bootstrap(3, confidence=1.0), "confidence=1.0"),
        (lambda: bootstrap(0), "num_queries=0"),
        (lambda: bootstrap(3).mean(np.ones(4)), "cover 4 queries, not 3"),
        (lambda: bootstrap(3, max_seeds=2).mean(np.ones((3, 3))), "3 seeds"),
        (lambda: bootstrap(3, strata=np.zeros(2)), "strata has shape"),
        (lambda: stratified_bootstrap(np.ones(3), rng=np.random.default_rng()), "shape"),
    ],
)
def test_invalid_input(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call()
