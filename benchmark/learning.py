"""Learning curves against outcomes paid for, joined over seeds.

An *outcome* is one generation: one query answered by one adapter. Agents with bandit feedback pay
one per decision; agents with full information pay K per train query, so that their curve is made of
runs on shares of the train split. Both are read on the validation split, which PPO and the
supervised routers also use to stop early; the test split is never looked at for a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.figures import BASELINES
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import interquartile_mean


@dataclass(frozen=True)
class LearningCurve:
    """One agent's curve under one training reward.

    Parameters
    ----------
    agent, feedback, trained_on
        Whose.
    outcomes
        int (T,), rising.
    reward
        float (S, T), greedy reward on validation, one row per seed.
    regret
        float (S, T), summed over what was asked; None with full information.
    """

    agent: str
    feedback: str
    trained_on: str
    outcomes: np.ndarray
    reward: np.ndarray
    regret: np.ndarray | None = None

    @property
    def mean_reward(self) -> np.ndarray:
        """float64 (T,), interquartile mean over the seeds."""
        return interquartile_mean(self.reward)

    def outcomes_to(self, level: float) -> float:
        """Return the outcomes after which the curve first reaches a reward; nan if never."""
        reached = np.flatnonzero(self.mean_reward >= level)
        return float(self.outcomes[reached[0]]) if len(reached) else float("nan")


def learning_curves(
    records: Sequence[RunRecord], partial: Sequence[RunRecord], *, trained_on: str
) -> list[LearningCurve]:
    """Join the runs of each agent.

    Parameters
    ----------
    records
        Judged runs.
    partial
        Runs on shares of the train split, for agents with full information.
    trained_on
        The training reward.

    Returns
    -------
    list[LearningCurve]
        In order of first appearance; yardsticks (privileged agents, the best single adapter) and
        agents that learn nothing or have failed runs are left out.
    """
    runs: dict[str, list[RunRecord]] = {}
    for run in (*records, *partial):
        if run.trained_on == trained_on:
            runs.setdefault(run.agent, []).append(run)
    curves = []
    for group in runs.values():
        yardstick = group[0].privileged or group[0].agent in BASELINES
        if yardstick or not all(run.finished for run in group):
            continue
        curve = _streamed(group) if group[0].feedback == "bandit" else _by_share(group)
        if curve is not None:
            curves.append(curve)
    return curves


def thinned(curve: LearningCurve, points: int) -> LearningCurve:
    """Keep about so many points, evenly in the logarithm of the outcomes, the ends among them."""
    total = len(curve.outcomes)
    if total <= points:
        return curve
    wanted = np.geomspace(1, total, points)
    keep = np.unique(np.append(0, np.clip(np.round(wanted).astype(int) - 1, 0, total - 1)))
    regret = None if curve.regret is None else curve.regret[:, keep]
    return LearningCurve(
        agent=curve.agent,
        feedback=curve.feedback,
        trained_on=curve.trained_on,
        outcomes=curve.outcomes[keep],
        reward=curve.reward[:, keep],
        regret=regret,
    )


def curve_rows(curves: Sequence[LearningCurve], *, points: int = 12) -> list[dict[str, object]]:
    """Turn curves into tidy rows: one per agent, seed and checkpoint."""
    rows: list[dict[str, object]] = []
    for curve in (thinned(curve, points) for curve in curves):
        for seed, rewards in enumerate(curve.reward):
            for position, outcomes in enumerate(curve.outcomes):
                regret = None if curve.regret is None else curve.regret[seed, position]
                rows.append(
                    {
                        "agent": curve.agent,
                        "feedback": curve.feedback,
                        "trained_on": curve.trained_on,
                        "run": seed,
                        "outcomes": int(outcomes),
                        "validation_reward": f"{rewards[position]:.5g}",
                        "regret": "" if regret is None else f"{regret:.5g}",
                    }
                )
    return rows


def _streamed(runs: Sequence[RunRecord]) -> LearningCurve | None:
    """Join streams; agents measure at the same outcomes, whatever the seed."""
    steps = sorted(set.intersection(*({point.outcomes for point in run.curve} for run in runs)))
    if not steps:
        return None
    points = [{point.outcomes: point for point in run.curve} for run in runs]
    return LearningCurve(
        agent=runs[0].agent,
        feedback=runs[0].feedback,
        trained_on=runs[0].trained_on,
        outcomes=np.array(steps),
        reward=np.array([[run[step].reward for step in steps] for run in points]),
        regret=np.array([[run[step].regret for step in steps] for run in points], dtype=float),
    )


def _by_share(runs: Sequence[RunRecord]) -> LearningCurve | None:
    """Join runs on shares of the train split and on all of it."""
    seeds = sorted({run.seed for run in runs})
    paid = sorted({run.outcomes for run in runs})
    cells = {(run.seed, run.outcomes): run.validation_reward for run in runs}
    if len(paid) < 2 or len(cells) < len(seeds) * len(paid):
        return None
    return LearningCurve(
        agent=runs[0].agent,
        feedback=runs[0].feedback,
        trained_on=runs[0].trained_on,
        outcomes=np.array(paid),
        reward=np.array([[cells[seed, outcomes] for outcomes in paid] for seed in seeds]),
    )
