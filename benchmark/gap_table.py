"""The rows of an outcome table that are read, and what each group of them says about each gap.

The gaps are defined in `routing_gym.benchmark.gaps`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.gap_evidence import Evidence, GapSettings, conclude
from routing_gym.benchmark.gap_records import Gap, GapExample, Kind, Level, Region
from routing_gym.benchmark.gap_regions import Group, Labels
from routing_gym.benchmark.gap_statistics import (
    calibration_p_value,
    calibration_scale,
    calibration_variance,
    larger_than_rest,
    mean_variances,
)
from routing_gym.benchmark.statistics import Interval, wilson_interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

REWARD = "reward"
QUALITY = "quality"
TEXT_LENGTH = 400
Groups = Mapping[Level, list[Group]]


class TableView:
    """The rows of a table that are read, as arrays, and the three gaps of their groups.

    Parameters
    ----------
    table
        The outcomes.
    settings
        Which rows and columns.
    actions
        int (N,), -1 where nobody chose.
    """

    def __init__(self, table: OutcomeTable, settings: GapSettings, actions: np.ndarray) -> None:
        self.table, self.settings = table, settings
        self.rows = np.flatnonzero(np.isin(table.split.astype(np.str_), settings.splits))
        if not len(self.rows):
            raise ValueError(
                f"splits={settings.splits} hold no query of the table: choose among {table.splits}."
            )
        if settings.truth not in table.scores:
            raise ValueError(
                f"truth={settings.truth!r} is no score of the table ({', '.join(table.scores)}): "
                "gaps are judged by verified answers; add such a column or name another one."
            )
        self.truth = table.scores[settings.truth][self.rows].astype(np.float64)  # (n, K)
        self.actions = actions[self.rows]
        self.score = self._score()
        self._rng = np.random.default_rng(settings.seed)

    @cached_property
    def labels(self) -> Labels:
        """What is known of the rows besides their outcomes."""
        table, rows = self.table, self.rows
        return Labels(
            domains=table.domain[rows].astype(np.str_),
            tasks=table.task[rows].astype(np.str_),
            complexity=table.complexity[rows],
            texts=table.text[rows],
            observations=table.embeddings[rows],
        )

    @property
    def judged(self) -> np.ndarray:
        """Rows on which the router is judged, bool (n,)."""
        return np.asarray(self.actions >= 0)

    @cached_property
    def chosen(self) -> np.ndarray:
        """Truth of the chosen answers, float64 (n,), nan where nobody chose."""
        picked = metrics.chosen(self.truth, np.maximum(self.actions, 0))
        return np.where(self.judged, picked, np.nan)

    def pool(self, groups: Groups) -> list[tuple[Evidence, Gap]]:
        """Judge the best answer of all adapters."""
        return self._compared("pool", 1 - self.truth.max(axis=1), groups)

    def router(self, groups: Groups) -> list[tuple[Evidence, Gap]]:
        """Judge the choice against the best answer, where there was one."""
        if not self.judged.any():
            return []
        position = np.cumsum(self.judged) - 1  # of a row among the judged ones
        regrets = (self.truth.max(axis=1) - self.chosen)[self.judged]
        kept: dict[Level, list[Group]] = {}
        for level, members in groups.items():
            inside = [Group(g.region, g.rows[self.judged[g.rows]]) for g in members]
            kept[level] = [g for g in inside if len(g.rows) >= self.settings.min_queries]
        if not any(kept.values()):
            return []
        return self._compared("router", regrets, kept, position=position)

    def evaluator(self, groups: Groups) -> list[tuple[Evidence, Gap]]:
        """Judge the score of each adapter's answers."""
        if self.score is None:
            return []
        score, adapters = self.score, self.table.adapters
        evidence = {}
        for level, members in groups.items():
            pairs = [(group, arm) for group in members for arm in range(len(adapters))]
            evidence[level] = [
                Evidence(
                    group=group,
                    share=len(group.rows) / score.size,
                    observed=bias_interval(
                        score[group.rows, arm],
                        self.truth[group.rows, arm],
                        confidence=self.settings.confidence,
                    ),
                    variance=calibration_variance(
                        score[group.rows, arm], self.truth[group.rows, arm]
                    ),
                    p_value=calibration_p_value(
                        score[group.rows, arm], self.truth[group.rows, arm]
                    ),
                    adapter=adapters[arm],
                    scale=calibration_scale(score[group.rows, arm]),
                )
                for group, arm in pairs
            ]
        return conclude("evaluator", evidence, settings=self.settings, low=-1.0)

    def described(self, part: Evidence, gap: Gap, *, worth: set[tuple[str, Region, str]]) -> Gap:
        """Add to a gap what the table knows of its region."""
        rows = part.group.rows
        means = self.truth[rows].mean(axis=0)
        best = self._best_single(rows)
        adapter = part.adapter or self.table.adapters[best]
        arms = {
            name: proportion(self.truth[rows, arm], confidence=self.settings.confidence)
            for arm, name in enumerate(self.table.adapters)
        }
        # Beside figures of all the region's queries, those of some would mislead.
        judged = rows if self.judged[rows].all() else rows[:0]
        wanted = (gap.kind, gap.region, gap.adapter) in worth
        return dataclasses.replace(
            gap,
            oracle=float(self.truth[rows].max(axis=1).mean()),
            chosen=float(self.chosen[judged].mean()) if len(judged) else None,
            reward=self._reward(gap, rows, judged),
            adapter=adapter,
            best=float(means[best]),
            arms=arms,
            examples=tuple(self._examples(gap, part)) if wanted else (),
        )

    def overall(self) -> dict[str, float]:
        """Figures over all rows."""
        figures = {
            "oracle": float(self.truth.max(axis=1).mean()),
            "best_single": float(self.truth.mean(axis=0).max()),
        }
        if self.judged.any():
            figures["judged_queries"] = float(self.judged.sum())
            figures["chosen"] = float(self.chosen[self.judged].mean())
            best = self.truth.max(axis=1)[self.judged]
            figures["regret"] = float(best.mean()) - figures["chosen"]
        if self.score is not None:
            figures["score_minus_truth"] = float((self.score - self.truth).mean())
        return figures

    def unknown(self, judged: Collection[str]) -> dict[str, str]:
        """Kinds that could not be judged, beside those that were, and why."""
        reasons = {}
        if not self.judged.any():
            reasons["router"] = (
                "nobody is known to have chosen: give --policy (a saved agent) or --agent (one of "
                "the registry, trained out of fold)."
            )
        elif "router" not in judged:
            reasons["router"] = (
                f"no region holds min_queries={self.settings.min_queries} of the "
                f"{int(self.judged.sum())} queries on which the router is judged: lower it, or "
                "give --agent, which is judged on all queries."
            )
        if self.score is None:
            reasons["evaluator"] = (
                "the table holds no self-evaluated score: score its answers first, or name one of "
                "its scores as evaluator."
            )
        return reasons

    def _compared(
        self,
        kind: Kind,
        values: np.ndarray,
        groups: Groups,
        *,
        position: np.ndarray | None = None,
    ) -> list[tuple[Evidence, Gap]]:
        """Compare the mean of `values` (M,) in each group with random groups of its size."""
        flat = [group for members in groups.values() for group in members]
        at = {id(g): g.rows if position is None else position[g.rows] for g in flat}
        p_values = larger_than_rest(
            values,
            [at[id(group)] for group in flat],
            rng=self._rng,
            permutations=self.settings.permutations,
        )
        p_of = {id(group): float(p) for group, p in zip(flat, p_values, strict=True)}
        evidence = {}
        for level, members in groups.items():
            inside = [values[at[id(group)]] for group in members]
            evidence[level] = [
                Evidence(
                    group=group,
                    share=len(group.rows) / len(values),
                    observed=proportion(own, confidence=self.settings.confidence),
                    variance=float(variance),
                    p_value=p_of[id(group)],
                )
                for group, own, variance in zip(
                    members, inside, mean_variances(inside), strict=True
                )
            ]
        return conclude(kind, evidence, settings=self.settings)

    def _score(self) -> np.ndarray | None:
        """Return what the self-evaluator gave, float64 (n, K); None if the table has no score."""
        table, name = self.table, self.settings.evaluator
        if name and name != REWARD and name not in table.scores:
            raise ValueError(
                f"evaluator={name!r} is no score of the table: choose {REWARD!r} or one of "
                f"{', '.join(table.scores)}."
            )
        if not name and QUALITY in table.scores:
            name = QUALITY
        if name and name != REWARD:
            return table.scores[name][self.rows].astype(np.float64)
        if all(weighed in table.scores for weighed in DEFAULT_REWARD.weights):
            scores = {key: values[self.rows] for key, values in table.scores.items()}
            return DEFAULT_REWARD(scores, table.directions)
        if name:
            lacking = [key for key in DEFAULT_REWARD.weights if key not in table.scores]
            raise ValueError(f"evaluator={name!r} needs the scores {lacking}: name another one.")
        return None

    def _best_single(self, rows: np.ndarray) -> int:
        """Find the best adapter of some rows; among equals the better one in their domains."""
        near = np.isin(self.labels.domains, np.unique(self.labels.domains[rows]))
        means = [part.mean(axis=0) for part in (self.truth, self.truth[near], self.truth[rows])]
        return int(np.lexsort(means)[-1])

    def _reward(self, gap: Gap, rows: np.ndarray, judged: np.ndarray) -> float | None:
        """Mean score of the answers that the gap is about."""
        if self.score is None:
            return None
        if gap.kind == "evaluator":
            return float(self.score[rows, self.table.adapters.index(gap.adapter)].mean())
        if not len(judged):
            return None
        return float(metrics.chosen(self.score[judged], self.actions[judged]).mean())

    def _examples(self, gap: Gap, part: Evidence) -> Iterable[GapExample]:
        """Show some of the queries with the largest gaps, equals in random order."""
        rows = part.group.rows
        best = self.truth[rows].argmax(axis=1)
        if gap.kind == "pool":
            size, arms = 1 - self.truth[rows].max(axis=1), self._given(rows)
        elif gap.kind == "router":
            size, arms = self.truth[rows].max(axis=1) - self.chosen[rows], self.actions[rows]
        else:
            assert self.score is not None
            arm = self.table.adapters.index(part.adapter)
            errors = self.score[rows, arm] - self.truth[rows, arm]
            size, arms = errors * np.sign(gap.observed.value), np.full(len(rows), arm)
        order = self._rng.permutation(len(rows))
        order = order[np.argsort(-size[order], kind="stable")][: self.settings.examples]
        for i in [i for i in order if size[i] > 0]:
            yield self._example(int(rows[i]), int(arms[i]), int(best[i]))

    def _given(self, rows: np.ndarray) -> np.ndarray:
        """Who answered: the chosen adapter, or else the one of the highest score or truth."""
        ranked = self.truth if self.score is None else self.score
        return np.where(self.judged[rows], self.actions[rows], ranked[rows].argmax(axis=1))

    def _example(self, row: int, arm: int, best: int) -> GapExample:
        """Show one query, the answer of one adapter and the best one."""
        table, place = self.table, self.rows[row]
        if self.truth[row, best] <= self.truth[row, arm]:
            best = arm
        return GapExample(
            query_id=str(table.query_id[place]),
            text=shortened(str(table.text[place])),
            adapter=table.adapters[arm],
            answer=shortened(str(table.responses[place, arm])),
            score=None if self.score is None else float(self.score[row, arm]),
            truth=float(self.truth[row, arm]),
            best_adapter=table.adapters[best],
            best_answer=shortened(str(table.responses[place, best])),
            best_truth=float(self.truth[row, best]),
        )


def proportion(values: np.ndarray, *, confidence: float) -> Interval:
    """Wilson's interval of the mean of `values` (n,) in [0, 1]."""
    total = min(max(float(values.sum()), 0.0), float(len(values)))
    return wilson_interval(total, len(values), confidence=confidence)


def bias_interval(scores: np.ndarray, truth: np.ndarray, *, confidence: float) -> Interval:
    """Interval of the mean of scores minus truths, (n,) each: the scores are fixed, Wilson's."""
    mean, right = float(scores.mean()), proportion(truth, confidence=confidence)
    return Interval(mean - right.value, mean - right.high, mean - right.low)


def shortened(text: str, length: int = TEXT_LENGTH) -> str:
    """Cut a long text, with a mark where."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
