"""The logged decisions that count, every adapter's score on them, and what each region says.

The gaps are defined in `routing_gym.benchmark.gap_log`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from routing_gym.benchmark import off_policy as ope
from routing_gym.benchmark.gap_evidence import Evidence, GapSettings, conclude, shown_gaps
from routing_gym.benchmark.gap_records import Gap, GapExample, Kind, Level
from routing_gym.benchmark.gap_regions import Group, Labels
from routing_gym.benchmark.gap_statistics import (
    calibration_p_value,
    calibration_scale,
    calibration_variance,
)
from routing_gym.benchmark.gap_table import bias_interval, shortened
from routing_gym.benchmark.off_policy_evaluation import predict_rewards
from routing_gym.benchmark.off_policy_intervals import normal_interval
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_models import query_folds
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from routing_gym.benchmark.statistics import Interval

MIN_DECISIONS = 200
MIN_PLAYED = 10
Groups = Mapping[Level, list[Group]]


@dataclass(frozen=True, eq=False)
class LogTruth:
    """What is known of the truth of logged answers.

    Parameters
    ----------
    scores, truth
        float (N,) in [0, 1], of every decision of the log; nan where unknown.
    name
        What the truth is.
    """

    scores: np.ndarray
    truth: np.ndarray
    name: str = "truth"


class LogView:
    """The decisions that count, every adapter's doubly robust score on them, and their gaps.

    Parameters
    ----------
    log, labels, truth
        Of N decisions.
    settings, policy
        As in `find_log_gaps`.
    """

    def __init__(
        self,
        log: DecisionLog,
        labels: Labels,
        truth: LogTruth | None,
        settings: GapSettings,
        policy: OffPolicySettings,
    ) -> None:
        rows = log.rewarded & ~log.fallbacks
        self.log, self.settings, self.policy = log.usable(), settings, policy
        self.log.check_exploration()
        _check_size(self.log, policy)
        self.labels = _taken(labels, rows)
        self.truth = None if truth is None else _known(truth, rows)
        self.scores = arm_scores(self.log, predict_rewards(log, policy))  # (n, K)
        rng = np.random.default_rng(settings.seed)
        self._fold = query_folds(self.log.query_keys.tolist(), folds=policy.folds, rng=rng)
        self._rng = np.random.default_rng(settings.seed)

    def gaps(self, groups: Groups) -> list[Gap]:
        """Judge everything that the log can tell."""
        best = {id(g): self._best(g.rows) for members in groups.values() for g in members}
        top = self.policy.reward_high
        pool = {
            level: self._evidence([top - best[id(g)] for g in members], members, rest=True)
            for level, members in groups.items()
        }
        router = {
            level: self._evidence(
                [best[id(g)] - self.log.rewards[g.rows] for g in members], members, rest=False
            )
            for level, members in groups.items()
        }
        span = self.policy.reward_high - self.policy.reward_low
        found = [
            *conclude("pool", pool, settings=self.settings, high=span),
            *conclude("router", router, settings=self.settings, low=-span, high=span),
            *self._evaluator(groups),
        ]
        worth = shown_gaps([gap for _, gap in found])
        return [
            self._described(part, gap, shown=(gap.kind, gap.region, gap.adapter) in worth)
            for part, gap in found
        ]

    def overall(self) -> dict[str, float]:
        """Figures over all decisions that count."""
        every = np.arange(len(self.log))
        return {
            "logged": float(self.log.rewards.mean()),
            "best_single": float(self.scores[:, self._arms(every)].mean(axis=0).max()),
        }

    def unknown(self, judged: Collection[str]) -> dict[str, str]:
        """Kinds that this log cannot tell, beside those that were judged, and why."""
        if self.truth is not None and "evaluator" in judged:
            return {}
        if self.truth is not None:
            known = int((~np.isnan(self.truth.scores) & ~np.isnan(self.truth.truth)).sum())
            return {
                "evaluator": f"both a score and {self.truth.name} are known of {known} decisions, "
                f"and no region holds min_queries={self.settings.min_queries} of one adapter: wait "
                "for more feedback, or lower it."
            }
        return {
            "evaluator": "the log holds one reward per decision and no truth beside it: log users' "
            "feedback as well as the self-evaluator's score, or judge a table."
        }

    def notes(self, groups: Groups) -> tuple[str, ...]:
        """Say what a reader must know of the figures."""
        every = {self.log.adapters[arm] for arm in self._arms(np.arange(len(self.log)))}
        absent = [name for name in self.log.adapters if name not in every]
        flat = [group for members in groups.values() for group in members]
        partial = sum(len(self._arms(g.rows)) < len(every) for g in flat)
        notes = [
            "From a log the pool's gap is an upper bound and the router's a lower bound: the best "
            "answer to a single query is never seen. Decisions on the same query count as "
            "independent."
        ]
        if absent:
            notes.append(f"Too rarely played to be judged anywhere: {', '.join(absent)}.")
        if partial:
            notes.append(
                f"In {partial} of {len(flat)} regions some adapters were played fewer than "
                f"{MIN_PLAYED} times or could not be drawn: nothing is known of them there."
            )
        return tuple(notes)

    def _arms(self, rows: np.ndarray) -> np.ndarray:
        """Adapters that the log can tell something of on these rows, int (k,)."""
        played = np.bincount(self.log.actions[rows], minlength=len(self.log.adapters))
        known = played >= MIN_PLAYED
        if self.log.all_propensities is not None:
            missing = (self.log.all_propensities[rows] <= 0).mean(axis=0)
            known &= missing <= self.policy.limits.max_unsupported
        return np.flatnonzero(known) if known.any() else np.array([int(played.argmax())])

    def _best(self, rows: np.ndarray) -> np.ndarray:
        """Scores of the region's best adapter, chosen for each fold on the others, float (n,)."""
        arms = self._arms(rows)
        scores, fold = self.scores[rows][:, arms], self._fold[rows]
        picked = np.empty(len(rows))
        for number in np.unique(fold):
            held = fold == number
            others = scores[~held] if (~held).any() else scores
            picked[held] = scores[held, int(others.mean(axis=0).argmax())]
        return picked

    def _evidence(
        self, values: Sequence[np.ndarray], groups: Sequence[Group], *, rest: bool
    ) -> list[Evidence]:
        """Test each group's mean: against the other groups' values, or against 0."""
        parts = []
        for number, (own, group) in enumerate(zip(values, groups, strict=True)):
            if rest:
                others = np.concatenate([v for i, v in enumerate(values) if i != number])
                test = stats.ttest_ind(own, others, equal_var=False, alternative="greater")
            else:
                test = stats.ttest_1samp(own, 0.0, alternative="greater")
            p_value = 1.0 if np.isnan(test.pvalue) else float(test.pvalue)
            parts.append(
                Evidence(
                    group=group,
                    share=len(own) / len(self.log),
                    observed=_interval(ope.Terms(own), self.settings.confidence),
                    variance=max(float(own.var(ddof=1)) / len(own), 1e-12),
                    p_value=p_value,
                )
            )
        return parts

    def _evaluator(self, groups: Groups) -> list[tuple[Evidence, Gap]]:
        """Compare scores with truths, adapter by adapter, where both are known."""
        if self.truth is None:
            return []
        scores, truth, adapters = self.truth.scores, self.truth.truth, self.log.adapters
        both = ~np.isnan(scores) & ~np.isnan(truth)
        evidence: dict[str, list[Evidence]] = {}
        for level, members in groups.items():
            cells = [
                (group, name, group.rows[both[group.rows] & (self.log.actions[group.rows] == arm)])
                for group in members
                for arm, name in enumerate(adapters)
            ]
            cells = [cell for cell in cells if len(cell[2]) >= self.settings.min_queries]
            evidence[level] = [
                Evidence(
                    group=Group(group.region, rows),
                    share=len(rows) / int(both.sum()),
                    observed=bias_interval(
                        scores[rows], truth[rows], confidence=self.settings.confidence
                    ),
                    variance=calibration_variance(scores[rows], truth[rows]),
                    p_value=calibration_p_value(scores[rows], truth[rows]),
                    adapter=name,
                    scale=calibration_scale(scores[rows]),
                )
                for group, name, rows in cells
            ]
        return conclude("evaluator", evidence, settings=self.settings, low=-1.0)

    def _described(self, part: Evidence, gap: Gap, *, shown: bool) -> Gap:
        """Add what the log knows of the region."""
        rows = part.group.rows
        arms = {
            self.log.adapters[arm]: _interval(
                ope.Terms(self.scores[rows, arm]), self.settings.confidence
            )
            for arm in self._arms(rows)
        }
        best = max(arms, key=lambda name: arms[name].value)
        return dataclasses.replace(
            gap,
            chosen=float(self.log.rewards[rows].mean()),
            reward=self._reward(gap.kind, rows),
            adapter=part.adapter or best,
            best=float(self._best(rows).mean()),
            arms=arms,
            examples=tuple(self._examples(gap.kind, rows)) if shown else (),
        )

    def _reward(self, kind: Kind, rows: np.ndarray) -> float:
        """Mean of the scores that the gap is about."""
        if kind == "evaluator" and self.truth is not None:
            return float(self.truth.scores[rows].mean())
        return float(self.log.rewards[rows].mean())

    def _examples(self, kind: Kind, rows: np.ndarray) -> Iterator[GapExample]:
        """Show decisions of the lowest reward (of the largest error, for the evaluator)."""
        log, truth = self.log, self.truth
        size = -log.rewards[rows]
        if kind == "evaluator" and truth is not None:
            size = np.abs(truth.scores - truth.truth)[rows]
        order = self._rng.permutation(len(rows))
        order = order[np.argsort(-size[order], kind="stable")][: self.settings.examples]
        for row in rows[order].tolist():
            known = truth is not None and not np.isnan(truth.truth[row])
            yield GapExample(
                query_id=str(
                    log.decision_ids[row] if log.query_ids is None else log.query_ids[row]
                ),
                text=shortened(str(self.labels.texts[row])),
                adapter=log.adapters[log.actions[row]],
                score=float(log.rewards[row]),
                truth=float(truth.truth[row]) if truth is not None and known else None,
            )


def arm_scores(log: DecisionLog, predictions: np.ndarray) -> np.ndarray:
    """Score every adapter on every decision, doubly robust: float64 (n, K).

    Parameters
    ----------
    log
        Decisions that count.
    predictions
        float (n, K), cross-fitted, from `off_policy_evaluation.predict_rewards`.
    """
    columns = []
    for arm in range(len(log.adapters)):
        target = np.tile(np.eye(len(log.adapters))[arm], (len(log), 1))
        weights = ope.importance_weights(target, log.actions, log.propensities)
        terms = ope.doubly_robust(
            weights, log.rewards, predicted=predictions[:, arm], expected=predictions[:, arm]
        )
        columns.append(terms.direct)
    return np.stack(columns, axis=1)


def _interval(terms: ope.Terms, confidence: float) -> Interval:
    """Put the normal interval with the jackknife's error around an estimate."""
    low, high = normal_interval(terms, confidence=confidence)
    return Interval(float(terms.value), float(low), float(high))


def _taken(labels: Labels, rows: np.ndarray) -> Labels:
    """Keep some queries' labels."""
    if len(labels) != len(rows):
        raise ValueError(f"labels are of {len(labels)} queries, the log holds {len(rows)}.")
    values = {spec.name: getattr(labels, spec.name) for spec in dataclasses.fields(labels)}
    kept: dict[str, Any] = {name: v if v is None else v[rows] for name, v in values.items()}
    return Labels(**kept)


def _known(truth: LogTruth, rows: np.ndarray) -> LogTruth | None:
    """Keep the truths of the decisions that count; None if none is known beside a score."""
    scores, right = np.asarray(truth.scores)[rows], np.asarray(truth.truth)[rows]
    if not (~np.isnan(scores) & ~np.isnan(right)).any():
        return None
    return LogTruth(scores, right, truth.name)


def _check_size(log: DecisionLog, policy: OffPolicySettings) -> None:
    """Refuse a log that is too short, or rewards outside their range."""
    if len(log) < MIN_DECISIONS:
        raise ValueError(
            f"{len(log)} decisions count, fewer than {MIN_DECISIONS}: too few to compare regions; "
            "log longer, or judge an outcome table."
        )
    low, high = float(log.rewards.min()), float(log.rewards.max())
    if low < policy.reward_low or high > policy.reward_high:
        raise ValueError(
            f"rewards span {low:.6g} to {high:.6g}, outside reward_low={policy.reward_low}, "
            f"reward_high={policy.reward_high}: state the range of the logged reward."
        )
