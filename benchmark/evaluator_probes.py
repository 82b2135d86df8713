"""What fools a scorer: tempting wrong answers, and what its cheap stand-in for sampling misses."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from routing_gym.benchmark.evaluator_figures import PLAIN, QUALITY, scorers, single_metrics
from routing_gym.benchmark.figures import ACCURACY
from routing_gym.benchmark.ranking import auroc, rank_draws
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.adversarial import AdversarialPair, preference, without_token_signals
from routing_gym.rewards.consistency import agreement
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer

OVERALL = "overall"
SAMPLE_COLUMNS = ("query_id", "adapter", "sample", "response")


@dataclass(frozen=True)
class Temptation:
    """How often every scorer prefers the right answer of an adversarial pair.

    Parameters
    ----------
    shares
        Scorer -> rule -> share of the pairs, a tie counted half; `OVERALL` holds all pairs.
    counts
        Rule -> number of its pairs.
    """

    shares: Mapping[str, Mapping[str, Interval]]
    counts: Mapping[str, int]

    def worst_rule(self, scorer: str) -> str:
        """Name the rule that fools a scorer most often."""
        rules = [rule for rule in self.counts if rule != OVERALL]
        return min(rules, key=lambda rule: self.shares[scorer][rule].value)


@dataclass(frozen=True)
class ConsistencyCheck:
    """Self-consistency over real samples beside the closed form that needs none.

    Parameters
    ----------
    answers, samples
        Number of answers, and of samples drawn for each (the mean).
    agreement
        Spearman's correlation of the two.
    sampled_auroc, closed_auroc
        AUROC of each against verified accuracy on these answers.
    """

    answers: int
    samples: float
    agreement: Interval
    sampled_auroc: Interval
    closed_auroc: Interval


def pair_scorers(
    pairs: Sequence[AdversarialPair], evaluator: SelfEvaluator, *, names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Score both sides of every pair.

    Parameters
    ----------
    pairs
        P pairs with what was measured of their answers.
    evaluator
        Gives at least every metric that the rewards weigh.
    names
        The metrics that count as scorers of their own.

    Returns
    -------
    dict[str, tuple[ndarray, ndarray]]
        Scorer -> float64 (P,) of the right answers and (P,) of the wrong ones.
    """
    answers = [pair.right_answer for pair in pairs] + [pair.wrong_answer for pair in pairs]
    scores = evaluator.evaluate_batch(answers)
    columns = scorers(scores, evaluator.directions, names=names)
    return {name: (values[: len(pairs)], values[len(pairs) :]) for name, values in columns.items()}


def temptation(
    pairs: Sequence[AdversarialPair],
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    rng: np.random.Generator,
    resamples: int,
) -> Temptation:
    """Count the pairs whose right answer each scorer prefers; whole queries are resampled.

    Parameters
    ----------
    pairs
        P pairs.
    columns
        From `pair_scorers`.
    rng
        Source of the resamples of queries.
    resamples
        Their number.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    if not pairs:
        raise ValueError("pairs is empty: make some with scripts/make_adversarial.py.")
    place = np.unique([pair.query_id for pair in pairs], return_inverse=True)[1]
    total = int(place.max()) + 1
    bootstrap = PairedBootstrap(total, rng=rng, resamples=resamples)
    rules = np.array([pair.rule for pair in pairs])
    members = {OVERALL: np.ones(len(pairs), dtype=np.bool_)}
    members |= {rule: rules == rule for rule in dict.fromkeys(rules.tolist())}
    sizes = {name: np.bincount(place[rows], minlength=total) for name, rows in members.items()}
    shares = {}
    for scorer, (right, wrong) in columns.items():
        hits = preference(pairs, right, wrong)
        shares[scorer] = {
            rule: bootstrap.ratio(np.bincount(place[rows], hits[rule], total), sizes[rule])
            for rule, rows in members.items()
        }
    return Temptation(shares, {rule: int(rows.sum()) for rule, rows in members.items()})


def fairer_pairs(pairs: Sequence[AdversarialPair]) -> dict[str, Sequence[AdversarialPair]]:
    """Select and strip pairs so that wrong answers made by rule have no handicap.

    No adapter wrote them, so the adapter that is asked for their token probabilities finds them
    unlikely, whatever they say.

    Returns
    -------
    dict[str, sequence of AdversarialPair]
        ``"real"``: both answers were generated; ``"without_signals"``: all pairs, token
        probabilities withheld; ``"real_without_signals"``: both. A view without a pair is left out.
    """
    real = [pair for pair in pairs if pair.made == "real"]
    views = {
        "real": real,
        "without_signals": without_token_signals(pairs),
        "real_without_signals": without_token_signals(real),
    }
    return {name: view for name, view in views.items() if view}


def fairer_figures(views: Mapping[str, Temptation]) -> dict[str, float | Interval]:
    """Pick the quality model's and the plain sum's shares from the views of `fairer_pairs`."""
    return {
        f"adversarial_right_{name}{suffix}": found.shares[scorer][OVERALL]
        for name, found in views.items()
        for scorer, suffix in ((QUALITY, ""), (PLAIN, "_plain"))
    }


def temptation_figures(found: Temptation) -> dict[str, float | Interval]:
    """Pick the quality model's share overall and under its worst rule, and those of others.

    The best single metric is chosen on these very pairs, in its favour.
    """
    quality = found.shares[QUALITY]
    best = max(
        single_metrics(list(found.shares)), key=lambda name: found.shares[name][OVERALL].value
    )
    return {
        "adversarial_right": quality[OVERALL],
        "adversarial_right_rule_min": quality[found.worst_rule(QUALITY)],
        "adversarial_right_plain": found.shares[PLAIN][OVERALL],
        "adversarial_right_best_single_metric": found.shares[best][OVERALL],
        **{
            f"adversarial_right_{name}": shares[OVERALL]
            for name, shares in found.shares.items()
            if name not in (QUALITY, PLAIN)
        },
        "adversarial_pairs": float(found.counts[OVERALL]),
    }


def check_consistency(
    table: OutcomeTable,
    samples: Mapping[tuple[str, str], Sequence[str]],
    *,
    rng: np.random.Generator,
    resamples: int,
) -> ConsistencyCheck:
    """Compare self-consistency over samples with the table's closed form, answer by answer.

    Parameters
    ----------
    table
        Holds the column ``consistency``, made without samples.
    samples
        (query id, adapter) -> further answers of that adapter, from `read_samples`.
    rng
        Source of the resamples of queries.
    resamples
        Their number.

    Raises
    ------
    ValueError
        If a sample's query or adapter is not in the table, or there are no samples.
    """
    rows = {name: row for row, name in enumerate(table.query_id)}
    for query_id, adapter in samples:
        if query_id not in rows or adapter not in table.adapters:
            raise ValueError(
                f"samples of query {query_id!r} by {adapter!r} are of no cell of the table: draw "
                "them again from this table."
            )
    if not samples:
        raise ValueError("samples is empty: draw some, or remove the file.")
    cells = [(rows[query], table.adapters.index(adapter)) for query, adapter in samples]
    at = tuple(np.array(cells).T)
    drawn = np.array([_sampled(table, *each) for each in zip(cells, samples.values(), strict=True)])
    closed = table.scores["consistency"][at].astype(np.float64)
    truth = table.scores[ACCURACY][at].astype(np.float64)
    place = np.unique(at[0], return_inverse=True)[1]
    bootstrap = PairedBootstrap(int(place.max()) + 1, rng=rng, resamples=resamples)
    weights = bootstrap.weights[:, place]  # (B, cells)

    def area(scores: np.ndarray) -> Interval:
        return bootstrap.interval(auroc(scores, truth), rank_draws(scores, truth, weights)[0])

    return ConsistencyCheck(
        answers=len(cells),
        samples=float(np.mean([len(texts) for texts in samples.values()])),
        agreement=bootstrap.interval(
            float(stats.spearmanr(drawn, closed)[0]),
            _correlations(drawn, closed, np.round(weights * bootstrap.weights.shape[1])),
        ),
        sampled_auroc=area(drawn),
        closed_auroc=area(closed),
    )


def consistency_figures(check: ConsistencyCheck | None) -> dict[str, float | Interval]:
    """Pick the figures of a check; none without one."""
    if check is None:
        return {}
    return {
        "consistency_sampled_auroc": check.sampled_auroc,
        "consistency_closed_auroc": check.closed_auroc,
        "consistency_agreement": check.agreement,
        "consistency_answers": float(check.answers),
    }


def read_samples(path: str | os.PathLike[str]) -> dict[tuple[str, str], list[str]]:
    """Read further sampled answers: (query id, adapter) -> texts in the order of their numbers.

    Raises
    ------
    ValueError
        If the file lacks one of the columns ``query_id, adapter, sample, response``.
    """
    table = pq.read_table(Path(path))
    missing = [name for name in SAMPLE_COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}: it needs {SAMPLE_COLUMNS}.")
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in sorted(table.to_pylist(), key=lambda row: row["sample"]):
        cells[row["query_id"], row["adapter"]].append(row["response"])
    return dict(cells)


def _sampled(table: OutcomeTable, cell: tuple[int, int], texts: Sequence[str]) -> float:
    """Share of samples that agree with the table's answer."""
    row = cell[0]
    answer = Answer(
        query=table.text[row],
        response=table.responses[cell],
        form=table.form[row],
        form_size=int(table.form_size[row]),
        samples=tuple(texts),
    )
    return float(agreement(answer) or 0.0)


def _correlations(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Spearman's correlation (B,) of two scores (M,) on resamples, given as counts (B, M)."""
    draws = (np.repeat(np.arange(len(first)), row.astype(np.int64)) for row in counts)
    return np.array([stats.spearmanr(first[rows], second[rows])[0] for rows in draws])
