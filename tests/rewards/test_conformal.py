from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from routing_gym.rewards.conformal import (
    ConformalSets,
    best_arms,
    conformal_quantile,
    covered,
)

# Shares .5, .3, .2 and .6, .4, 0; in the second query two adapters are best.
SCORES = np.array([[0.5, 0.3, 0.2], [0.3, 0.2, 0.0]])
BEST = np.array([[False, True, False], [True, True, False]])


def drawn(queries: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of four adapters that know something of which are right, and the tie sets."""
    chance = rng.beta(1, 1.5, size=(queries, 4))
    return chance**1.5, best_arms(rng.random((queries, 4)) < chance)


@pytest.mark.parametrize(
    ("count", "alpha", "rank"),
    [
        (9, 0.1, 9),  # ceil(10 * .9)
        (10, 0.1, 10),  # ceil(11 * .9 = 9.9)
        (19, 0.05, 19),
        (4, 0.4, 3),
        (9, 0.7, 3),  # 10 * (1 - .7) is 3.0000000000000004 in floats
        (99, 0.29, 71),
        (9, 0.9, 1),
    ],
)
def test_quantile_by_hand(count: int, alpha: float, rank: int) -> None:
    values = np.random.default_rng(0).permutation(count) + 1.0
    assert conformal_quantile(values, alpha=alpha) == rank


@pytest.mark.parametrize(("count", "alpha"), [(8, 0.1), (18, 0.05), (0, 0.5)])
def test_too_few_make_full_sets(count: int, alpha: float) -> None:
    assert conformal_quantile(np.zeros(count), alpha=alpha) == math.inf
    sets = ConformalSets.calibrate(SCORES, BEST, alpha=0.1)
    assert sets.threshold == math.inf
    assert sets.predict(SCORES).all()


def test_lac_by_hand() -> None:
    # Strangeness .7 (the only best one) and min(.4, .6); rank ceil(3 * .6) = 2 of (.4, .7).
    sets = ConformalSets.calibrate(SCORES, BEST, alpha=0.4)
    assert sets.threshold == pytest.approx(0.7)
    assert (sets.num_calibration, sets.randomised, sets.method) == (2, False, "lac")
    new = np.array([[0.31, 0.69, 0.0], [1, 1, 1], [0.8, 0.1, 0.1], [0, 0, 0]])
    np.testing.assert_array_equal(sets.predict(new), [[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    # Rank ceil(3 * .3) = 1: strangeness of at most .4, a share of at least .6.
    tight = ConformalSets.calibrate(SCORES, BEST, alpha=0.7)
    assert tight.threshold == pytest.approx(0.4)
    np.testing.assert_array_equal(tight.predict(new)[1:3], [[0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(
        tight.predict(new, keep_top=True)[:3], [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    )


def test_aps_by_hand() -> None:
    # Strangeness .5 + .3 and min(.6, 1); rank 2 of (.6, .8).
    sets = ConformalSets.calibrate(SCORES, BEST, alpha=0.4, method="aps")
    assert sets.threshold == pytest.approx(0.8)
    new = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05], [0.25, 0.25, 0.5]])
    # Cumulated 1, .5, .8; .9, ...; .75 (first of the equal ones), 1, .5.
    np.testing.assert_array_equal(
        ConformalSets(0.81, 0.4, "aps", False, 2).predict(new), [[0, 1, 1], [0, 0, 0], [1, 0, 1]]
    )


def test_randomised_aps_by_hand() -> None:
    class Half:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.full(shape, 0.5)

    half: Any = Half()
    # Strangeness .5 + .15 and min(.3, .6 + .2).
    sets = ConformalSets.calibrate(SCORES, BEST, alpha=0.4, method="aps", rng=half)
    assert sets.threshold == pytest.approx(0.65)
    assert sets.randomised
    # .5 + .15, .25 and .8 + .1; .45, .925 and .975.
    new = np.array([[0.31, 0.5, 0.19], [0.9, 0.05, 0.05]])
    np.testing.assert_array_equal(
        ConformalSets(0.66, 0.4, "aps", True, 2).predict(new, rng=half), [[1, 1, 0], [1, 0, 0]]
    )


def test_queries_without_a_difference_do_not_count() -> None:
    scores = np.vstack([SCORES, [[0.9, 0.9, 0.9]] * 50])
    best = np.vstack([BEST, np.ones((50, 3), dtype=bool)])
    found = ConformalSets.calibrate(scores, best, alpha=0.4)
    assert found == ConformalSets.calibrate(SCORES, BEST, alpha=0.4)
    sets = np.zeros((52, 3), dtype=bool)
    sets[0, 1] = True
    np.testing.assert_array_equal(covered(sets, best), [True, False])


def test_any_best_adapter_covers() -> None:
    sets = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    best = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(covered(sets, best), [False, True, True])


def test_best_arms_are_a_tie_set() -> None:
    accuracy = np.array([[0.0, 1.0, 1.0], [0.5, 0.5 + 1e-8, 0.4], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(best_arms(accuracy), [[0, 1, 1], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("method", "alpha"), [("lac", 0.1), ("lac", 0.25), ("aps", 0.1), ("randomised aps", 0.1)]
)
def test_coverage_on_exchangeable_queries(method: str, alpha: float) -> None:
    shares = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        draws = rng if method == "randomised aps" else None
        scores, best = drawn(1000, rng)
        half = slice(None, 500), slice(500, None)
        sets = ConformalSets.calibrate(
            scores[half[0]],
            best[half[0]],
            alpha=alpha,
            method="lac" if method == "lac" else "aps",
            rng=draws,
        )
        shares.append(covered(sets.predict(scores[half[1]], rng=draws), best[half[1]]).mean())
    assert np.mean(shares) == pytest.approx(1 - alpha, abs=0.01)


def test_sets_are_smaller_than_full_and_grow_with_confidence() -> None:
    rng = np.random.default_rng(0)
    scores, best = drawn(3000, rng)
    sizes = [
        ConformalSets.calibrate(scores, best, alpha=alpha).predict(scores).sum(axis=1).mean()
        for alpha in (0.3, 0.1, 0.02)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] < 4


def test_keeping_the_top_can_only_cover_more() -> None:
    rng = np.random.default_rng(1)
    scores, best = drawn(2000, rng)
    sets = ConformalSets.calibrate(scores, best, alpha=0.5, method="aps", rng=rng)
    plain = sets.predict(scores, rng=np.random.default_rng(2))
    kept = sets.predict(scores, rng=np.random.default_rng(2), keep_top=True)
    assert (~plain.any(axis=1)).any()
    assert kept.any(axis=1).all()
    assert (kept >= plain).all()
    assert covered(kept, best).mean() > covered(plain, best).mean()


def test_no_queries_have_no_sets() -> None:
    sets = ConformalSets.calibrate(SCORES, BEST, alpha=0.4)
    assert sets.predict(np.zeros((0, 3)), keep_top=True).shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "best", "options", "message"),
    [
        (SCORES[0], BEST[0], {}, r"scores of shape \(3,\) must be \(N, K\)"),
        (SCORES[:, :1], BEST[:, :1], {}, "K at least 2"),
        (SCORES - 0.4, BEST, {}, r"at index \(0, 1\): give finite numbers"),
        (SCORES * np.nan, BEST, {}, r"scores hold nan at index \(0, 0\)"),
        (SCORES, BEST[:1], {}, r"give bool \(2, 3\)"),
        (SCORES, BEST.astype(int), {}, "best is int64"),
        (SCORES, BEST & False, {}, "no adapter in row 0"),
        (SCORES, BEST | True, {}, "on all 2 calibration queries"),
        (SCORES, BEST, {"alpha": 1.0}, "alpha=1.0 must be between 0 and 1"),
        (SCORES, BEST, {"method": "raps"}, "method='raps' must be one of"),
        (SCORES, BEST, {"rng": np.random.default_rng(0)}, "'lac' draws nothing"),
    ],
)
def test_refused_calibrations(
    scores: np.ndarray, best: np.ndarray, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ConformalSets.calibrate(scores, best, **options)


def test_prediction_draws_as_calibration_did() -> None:
    rng = np.random.default_rng(0)
    drawing = ConformalSets.calibrate(SCORES, BEST, alpha=0.4, method="aps", rng=rng)
    with pytest.raises(ValueError, match="was randomised: pass an rng"):
        drawing.predict(SCORES)
    plain = ConformalSets.calibrate(SCORES, BEST, alpha=0.4)
    with pytest.raises(ValueError, match="was not randomised: leave rng out"):
        plain.predict(SCORES, rng=rng)


def test_refused_inputs() -> None:
    with pytest.raises(ValueError, match="strangeness holds nan"):
        conformal_quantile(np.array([0.1, np.nan]), alpha=0.1)
    with pytest.raises(ValueError, match=r"best is bool \(2, 3\): give bool \(1, 3\)"):
        covered(np.ones((1, 3), dtype=bool), BEST)
