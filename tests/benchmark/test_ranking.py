from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from routing_gym.benchmark.ranking import (
    auroc,
    auroc_difference,
    auroc_interval,
    concordance,
    rank,
    rank_draws,
    spearman,
)
from routing_gym.benchmark.statistics import PairedBootstrap


def bootstrap(n: int, **options: int) -> PairedBootstrap:
    return PairedBootstrap(n, rng=np.random.default_rng(0), **({"resamples": 300} | options))


def noisy(n: int = 60, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid, so that there are ties, which know something of the truth."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, k)) < 0.4).astype(np.float64)
    return np.round(truth + rng.normal(scale=1.0, size=(n, k)), 0), truth


def test_auroc_by_hand() -> None:
    assert auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1])) == 1.0
    assert auroc(np.array([3.0, 2.0, 1.0]), np.array([0, 1, 1])) == 0.0
    assert auroc(np.zeros(4), np.array([0, 1, 0, 1])) == 0.5


def test_auroc_and_spearman_agree_with_the_libraries() -> None:
    scores, truth = noisy()
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()))
    expected = spearmanr(scores.ravel(), truth.ravel())[0]
    assert spearman(scores, truth) == pytest.approx(expected)


def test_every_draw_is_the_statistic_of_the_resampled_answers() -> None:
    scores, truth = noisy()
    resamples = bootstrap(len(scores), resamples=20)
    counts = np.round(resamples.weights * len(scores)).astype(np.int64)
    areas, correlations = rank_draws(
        scores.ravel(), truth.ravel(), np.repeat(resamples.weights, 3, axis=1)
    )
    for count, area, correlation in zip(counts, areas, correlations, strict=True):
        rows = np.repeat(np.arange(len(scores)), count)
        drawn, right = scores[rows].ravel(), truth[rows].ravel()
        assert area == pytest.approx(roc_auc_score(right, drawn))
        assert correlation == pytest.approx(spearmanr(drawn, right)[0])


def test_one_kind_of_answer_or_one_score_ranks_nothing() -> None:
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([1, 1])))
    assert np.isnan(spearman(np.array([0.5, 0.5]), np.array([0, 1])))


def test_queries_are_resampled_with_all_their_answers() -> None:
    # Ten equal answers to every query tell no more than one: the interval must not shrink.
    scores, truth = noisy(k=1)
    one = rank(scores, truth, bootstrap=bootstrap(60)).auroc
    ten = rank(np.repeat(scores, 10, 1), np.repeat(truth, 10, 1), bootstrap=bootstrap(60)).auroc
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


def test_groups_are_ranked_alone() -> None:
    scores, truth = noisy()
    rows = np.arange(60) < 30
    group = rank(scores, truth, bootstrap=bootstrap(60), rows=rows)
    assert group.auroc.value == pytest.approx(auroc(scores[rows], truth[rows]))
    assert group.auroc.low < group.auroc.value < group.auroc.high
    changed = np.where(rows[:, None], scores, 0.0)
    assert rank(changed, truth, bootstrap=bootstrap(60), rows=rows) == group


def test_concordance_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.9], [0.2, 0.2, 0.2], [0.3, 0.2, 0.1]])
    truth = np.array([[1, 0, 0], [1, 0, 1], [1, 0, 0], [1, 1, 1]])
    expected = [1.0, 0.25, 0.5, np.nan]  # second: below 0.9 wrong, tied with it
    np.testing.assert_array_equal(concordance(scores, truth), expected)
    within = rank(scores, truth, bootstrap=bootstrap(4)).within_query
    assert within.value == pytest.approx((1.0 + 0.25 + 0.5) / 3)


def test_within_query_ignores_what_all_answers_to_a_query_share() -> None:
    scores, truth = noisy()
    shift = np.random.default_rng(1).normal(scale=10.0, size=(60, 1))
    resamples = bootstrap(60)
    plain = rank(scores, truth, bootstrap=resamples)
    shifted = rank(scores + shift, truth, bootstrap=resamples)
    assert shifted.within_query == plain.within_query
    assert shifted.auroc.value < plain.auroc.value


def test_within_query_of_queries_that_never_differ() -> None:
    truth = np.array([[1, 1], [0, 0]])
    ranking = rank(np.array([[0.9, 0.8], [0.2, 0.1]]), truth, bootstrap=bootstrap(2))
    assert not ranking.within_query.defined
    assert ranking.auroc.value == 1.0


def test_a_difference_is_paired() -> None:
    scores, truth = noisy()
    resamples = bootstrap(60)
    same = auroc_difference(scores, 2 * scores + 1, truth, bootstrap=resamples)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = auroc_difference(truth, scores, truth, bootstrap=resamples)
    area = auroc_interval(scores, truth, bootstrap=resamples)
    assert better.value == pytest.approx(1 - area.value)
    assert better.low == pytest.approx(1 - area.high)


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([[0.1, 0.2]], [[0, 1, 1]], "align"),
        ([[0.1, np.nan]], [[0, 1]], "1 scores are not finite"),
        ([[0.1, 0.2]], [[0, 0.5]], "truth 0.5 is neither 0 nor 1"),
    ],
)
def test_bad_input(scores: list[list[float]], truth: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(np.array(scores), np.array(truth), bootstrap=bootstrap(1))


def test_an_empty_group_is_refused() -> None:
    scores, truth = noisy()
    with pytest.raises(ValueError, match="marks no query"):
        rank(scores, truth, bootstrap=bootstrap(60), rows=np.zeros(60, dtype=np.bool_))
