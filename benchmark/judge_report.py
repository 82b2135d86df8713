"""The report of an LLM judge: how far its verdicts agree with the verified accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.ranking import rank_draws
from routing_gym.benchmark.report import csv_text, figures_table, markdown_table
from routing_gym.benchmark.statistics import Interval, PairedBootstrap, wilson_interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.agreement import cohen_kappa
from routing_gym.rewards.judge import Preference, Rating, position_bias
from routing_gym.rewards.judge_cost import Spending, Tokens, price
from routing_gym.rewards.judge_prompts import RATINGS
from routing_gym.rewards.judge_run import Verdict
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.rewards.metric import Answer

Figures = dict[str, float | Interval]
FIGURES = """\
`judge_kappa`: Cohen's kappa of "judged right" (a rating of at least `right_from`) with the verified
accuracy; `judge_accuracy`: share of answers on which the two agree; `judge_auroc`: of the rating.
Their intervals resample queries. `pair_right`: share of pairs of a right and a wrong answer in
which the right one wins in both orders; `pair_kappa`: of the winner with the right one.
`position_bias`: share of pairs in which the same position wins in both orders. `cost` was paid in
this run, `cost_without_cache` is what all of it costs, in the currency of the given prices. Failed
verdicts are counted and left out."""


@dataclass(frozen=True)
class JudgedSample:
    """Answers and pairs of a table that a judge is shown.

    Parameters
    ----------
    table
        Where they are from.
    cells
        int (M, 2): row and arm of each answer.
    pairs
        int (P, 3): row of each pair, arm of its first and of its second answer.
    """

    table: OutcomeTable
    cells: np.ndarray
    pairs: np.ndarray

    @classmethod
    def draw(
        cls, table: OutcomeTable, *, answers: int, pairs: int, rng: np.random.Generator
    ) -> JudgedSample:
        """Draw answers evenly from all cells, and pairs of one right and one wrong answer.

        Parameters
        ----------
        table
            One split.
        answers
            Number of answers; at most all.
        pairs
            Number of pairs, at most one per query that has right and wrong answers; their order is
            random.
        rng
            Source of the draws.
        """
        accuracy = table.scores["accuracy"] > 0.5
        count = min(answers, accuracy.size)
        flat = np.sort(rng.choice(accuracy.size, size=count, replace=False))
        mixed = np.flatnonzero(accuracy.any(axis=1) & ~accuracy.all(axis=1))
        drawn = []
        for row in rng.permutation(mixed)[:pairs]:
            pair = [rng.choice(np.flatnonzero(accuracy[row] == right)) for right in (True, False)]
            drawn.append([row, *rng.permutation(pair)])
        return cls(
            table,
            np.column_stack(np.unravel_index(flat, accuracy.shape)),
            np.array(drawn, dtype=np.int64).reshape(-1, 3),
        )

    @property
    def answers(self) -> list[Answer]:
        """The answers to be rated, without their references."""
        return [_answer(self.table, row, arm) for row, arm in self.cells]

    @property
    def compared(self) -> list[tuple[Answer, Answer]]:
        """The pairs of answers to be compared."""
        return [
            (_answer(self.table, row, one), _answer(self.table, row, other))
            for row, one, other in self.pairs
        ]

    @property
    def truth(self) -> np.ndarray:
        """Verified accuracy of the answers to be rated: bool (M,)."""
        return np.asarray(self.table.scores["accuracy"][tuple(self.cells.T)] > 0.5)

    @property
    def right(self) -> np.ndarray:
        """Which answer of each pair is right: "first" or "second" (P,)."""
        row, first, _ = self.pairs.T
        return np.where(self.table.scores["accuracy"][row, first] > 0.5, "first", "second")


def rating_figures(
    sample: JudgedSample,
    ratings: Sequence[Rating],
    *,
    right_from: int,
    seed: int = 0,
    resamples: int = 2000,
) -> Figures:
    """Measure how far the ratings agree with the verified accuracy.

    Parameters
    ----------
    sample
        The answers, M of them.
    ratings
        Length M.
    right_from
        Lowest rating that counts as "judged right".
    seed
        Of the bootstrap.
    resamples
        Of the bootstrap.
    """
    valid = np.array([rating.rating is not None for rating in ratings], dtype=np.bool_)
    counts = {"answers_judged": float(valid.sum()), "answers_failed": float((~valid).sum())}
    if not valid.any():
        return {**counts}
    given = np.array([r.rating for r in ratings if r.rating is not None], dtype=np.float64)
    truth, queries = sample.truth[valid], sample.cells[valid, 0]
    judged = given >= right_from
    names, index = np.unique(queries, return_inverse=True)
    bootstrap = PairedBootstrap(len(names), rng=np.random.default_rng(seed), resamples=resamples)
    weights = bootstrap.weights[:, index]  # (B, M), a query's answers weigh the same
    hits = (judged == truth).astype(np.float64)
    area = float(rank_draws(given, truth.astype(np.float64), np.ones((1, len(given))))[0][0])
    return {
        "judge_kappa": _kappa(judged, truth, queries, seed=seed, resamples=resamples),
        "judge_accuracy": bootstrap.interval(hits.mean(), weights @ hits / weights.sum(axis=1)),
        "judge_auroc": bootstrap.interval(area, rank_draws(given, truth, weights)[0]),
        "judged_right": float(judged.mean()),
        "verified_right": float(truth.mean()),
        **counts,
    }


def pair_figures(
    sample: JudgedSample,
    preferences: Sequence[Preference],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Figures:
    """Measure how often the right answer wins, and how often its position decides.

    Parameters
    ----------
    sample
        The pairs, P of them.
    preferences
        Length P.
    seed
        Of the bootstrap.
    resamples
        Of the bootstrap.
    """
    bias = position_bias(preferences)
    failed = len(preferences) - bias.compared
    counts = {"pairs_judged": float(bias.compared), "pairs_failed": float(failed)}
    if not bias.compared:
        return {**counts}
    valid = np.array([not preference.failed for preference in preferences])
    winners = np.array([p.winner for p in preferences if not p.failed], dtype=np.str_)
    right, rows = sample.right[valid], sample.pairs[valid, 0]
    shares = {
        "pair_right": float(np.mean(winners == right)),
        "pair_tie": float(np.mean(winners == "tie")),
        "position_bias": bias.rate,
        "favours_first": bias.favours_first,
        "favours_second": bias.favours_second,
        "orders_disagree": bias.disagreement,
    }
    wilson = {
        name: wilson_interval(share * bias.compared, bias.compared)
        for name, share in shares.items()
    }
    kappa = _kappa(winners, right, rows, seed=seed, resamples=resamples)
    return {**wilson, "pair_kappa": kappa, **counts}


def cost_figures(
    sample: JudgedSample,
    ratings: Sequence[Rating],
    preferences: Sequence[Preference],
    *,
    spending: Spending,
    settings: JudgeSettings,
) -> Figures:
    """Sum up what the verdicts cost in this run, and what they cost whenever they were made."""
    texts = [(a.query, a.response, a.finished) for a in sample.answers]
    pairs = [order for pair in sample.compared for order in (pair, pair[::-1])]
    # Equal texts have one verdict, paid once.
    verdicts: Mapping[object, Verdict] = dict(
        zip([*texts, *pairs], all_verdicts(ratings, preferences), strict=True)
    )
    tokens = [Tokens(v.prompt_tokens, v.completion_tokens) for v in verdicts.values()]
    return {
        "requests": float(spending.requests),
        "cached": float(spending.cached),
        "unmetered": float(spending.unmetered),
        "prompt_tokens": float(spending.prompt_tokens),
        "completion_tokens": float(spending.completion_tokens),
        "cost": spending.cost,
        "cost_without_cache": price(sum(tokens, Tokens()), settings),
    }


def all_verdicts(ratings: Sequence[Rating], preferences: Sequence[Preference]) -> list[Verdict]:
    """List the verdicts on the answers, then two for each pair."""
    both = [verdict for p in preferences for verdict in (p.forward, p.backward)]
    return [rating.verdict for rating in ratings] + both


def judge_markdown(
    sample: JudgedSample, ratings: Sequence[Rating], figures: Figures, *, right_from: int
) -> str:
    """Write the report for people, but its heading."""
    parts = [FIGURES, figures_table(figures)]
    if ratings:
        parts += ["## Ratings", _rating_table(sample, ratings)]
        parts += ["## Domains", _domain_table(sample, ratings, right_from=right_from)]
    return "\n\n".join(parts)


def verdict_files(
    sample: JudgedSample, ratings: Sequence[Rating], preferences: Sequence[Preference]
) -> dict[str, str]:
    """Write every verdict as CSV: file name -> content, only for what was judged."""
    texts = {}
    if ratings:
        rows = [_rating_row(sample, i, rating) for i, rating in enumerate(ratings)]
        texts["ratings.csv"] = csv_text(rows)
    if preferences:
        rows = [_pair_row(sample, i, preference) for i, preference in enumerate(preferences)]
        texts["pairs.csv"] = csv_text(rows)
    return texts


def _answer(table: OutcomeTable, row: int, arm: int) -> Answer:
    """Take one answer out of the table."""
    return Answer(
        str(table.text[row]),
        str(table.responses[row, arm]),
        form=str(table.form[row]),
        form_size=int(table.form_size[row]),
        finished=bool(table.finished[row, arm]),
    )


def _kappa(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, *, seed: int, resamples: int
) -> Interval:
    """Cohen's kappa in the form of the reports."""
    rng = np.random.default_rng(seed)
    kappa = cohen_kappa(first, second, clusters=clusters, rng=rng, resamples=resamples)
    return Interval(kappa.value, kappa.low, kappa.high)


def _rating_row(sample: JudgedSample, i: int, rating: Rating) -> dict[str, object]:
    """Write one line of ratings.csv."""
    row, arm = sample.cells[i]
    verdict = rating.verdict
    return {
        "query_id": sample.table.query_id[row],
        "adapter": sample.table.adapters[arm],
        "domain": sample.table.domain[row],
        "accuracy": int(sample.truth[i]),
        "rating": "" if rating.rating is None else rating.rating,
        "failure": verdict.failure,
        "reason": verdict.reason,
        "asks": verdict.asks,
        "prompt_tokens": verdict.prompt_tokens,
        "completion_tokens": verdict.completion_tokens,
        "cached": int(verdict.cached),
        "cost": verdict.cost,
    }


def _pair_row(sample: JudgedSample, i: int, preference: Preference) -> dict[str, object]:
    """Write one line of pairs.csv."""
    row, first, second = sample.pairs[i]
    return {
        "query_id": sample.table.query_id[row],
        "first": sample.table.adapters[first],
        "second": sample.table.adapters[second],
        "right": sample.right[i],
        "winner": preference.winner or "",
        "first_as_a": preference.forward.value or "",
        "second_as_a": preference.backward.value or "",
        "failure": preference.forward.failure or preference.backward.failure,
    }


def _rating_table(sample: JudgedSample, ratings: Sequence[Rating]) -> str:
    """Count the right and wrong answers at each rating."""
    rows, truth = [], sample.truth
    for value in (*RATINGS[::-1], None):
        hit = np.array([rating.rating == value for rating in ratings])
        counts = [int((hit & truth).sum()), int((hit & ~truth).sum())]
        rows.append(["failed" if value is None else str(value), *map(str, counts)])
    return markdown_table(["rating", "verified right", "verified wrong"], rows)


def _domain_table(sample: JudgedSample, ratings: Sequence[Rating], *, right_from: int) -> str:
    """Write the agreement in each domain."""
    domains, truth = sample.table.domain[sample.cells[:, 0]], sample.truth
    rows = []
    for name in sorted(set(domains)):
        pairs = [
            (rating.rating >= right_from, bool(right))
            for rating, right, domain in zip(ratings, truth, domains, strict=True)
            if domain == name and rating.rating is not None
        ]
        share = f"{np.mean([judged == right for judged, right in pairs]):.3f}" if pairs else "–"
        rows.append([name, str(len(pairs)), str(sum(right for _, right in pairs)), share])
    return markdown_table(["domain", "judged", "verified right", "agreement"], rows)
