"""The contest of PPO: seconds of training until the policy is nearly as good as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from routing_gym.benchmark.contest_plots import gap_over_time
from routing_gym.benchmark.ppo_report import ppo_section
from routing_gym.benchmark.provenance import version
from routing_gym.benchmark.speed import (
    ContestResult,
    ContestSettings,
    SpeedRow,
    median_interval,
    quality_difference,
    rate_ratio,
    rows_of,
)
from routing_gym.benchmark.statistics import Interval
from routing_gym.benchmark.synthetic_split import SyntheticProblem
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

if TYPE_CHECKING:
    from routing_gym.agents.ppo_watch import WatchedPoint

NAME = "ppo"
TOTAL_STEPS = 81_920  # five rollouts of SB3's defaults
TRAIN, VALIDATION = 10_000, 2_000
MAX_SEEDS = 5
SHARES = {"synthetic": 0.95, "table": 0.90}  # what SB3's defaults reach on each
LONGER = 2  # times as many steps for our agent set for speed: they cost a seventh
# chosen on the two validation splits, for both problems alike
FAST: dict[str, Any] = {
    "learning_rate": 5e-3,
    "final_learning_rate_share": 0.0,
    "entropy_coefficient": 0.0,
    "weight_decay": 0.0,
    "hidden_sizes": (128,),
    "embedding_scale": 2.0,
}


@dataclass(frozen=True)
class PPOEntry:
    """A way to train PPO.

    Parameters
    ----------
    name, label
        Key, and text in tables and figures.
    train
        Train split, validation split, seed, steps -> what the watch saw.
    """

    name: str
    label: str
    train: Callable[[RoutingData, RoutingData, int, int], list[WatchedPoint]]


@dataclass(frozen=True)
class Run:
    """One training.

    Parameters
    ----------
    case, competitor, seed
        What was trained.
    points
        After every update.
    best_single, oracle
        Mean rewards on the validation split.
    """

    case: str
    competitor: str
    seed: int
    points: tuple[WatchedPoint, ...]
    best_single: float
    oracle: float

    @property
    def gaps(self) -> np.ndarray:
        """Share of the gap from best single to oracle that is closed: float64 (P,)."""
        rewards = np.array([point.reward for point in self.points])
        return (rewards - self.best_single) / (self.oracle - self.best_single)

    @property
    def seconds(self) -> np.ndarray:
        """CPU seconds of training, float64 (P,)."""
        return np.array([point.cpu_seconds for point in self.points])

    def reached(self, share: float) -> WatchedPoint | None:
        """Return the first point at which so much of the gap is closed, if there is one."""
        return next(
            (p for p, gap in zip(self.points, self.gaps, strict=True) if gap >= share), None
        )


def entries() -> tuple[PPOEntry, ...]:
    """Return who takes part."""
    return (
        PPOEntry("sb3_dummy", "SB3's defaults, DummyVecEnv(8)", _sb3_dummy),
        PPOEntry("sb3_native", "SB3's defaults, our VecEnv(8)", _sb3_native),
        PPOEntry("agent", "our PPOAgent, as it comes", _agent),
        PPOEntry("fast", "our PPOAgent, set for speed", _fast),
    )


def ppo_contest(settings: ContestSettings) -> ContestResult:
    """Train everybody for as many steps on the same splits with as many seeds, in turns.

    Parameters
    ----------
    settings
        Folder of the table, repeats (seeds, at most 5), seed, scale (of the steps).
    """
    runs = train_all(entries(), _cases(settings), settings=settings)
    rows = [row for run in runs for row in rows_of_run(run)]
    figures = ppo_figures(rows)
    labels = {entry.name: entry.label for entry in entries()}
    return ContestResult(
        rows=tuple(rows),
        figures=figures,
        section=ppo_section(rows, figures, labels=labels, shares=SHARES, fast=FAST, longer=LONGER),
        plots={"ppo.png": lambda path: _plot(runs, labels, path)},
        versions=tuple(f"{name}: {version(name)}" for name in ("stable-baselines3", "torch")),
    )


def train_all(
    competitors: Sequence[PPOEntry],
    cases: Mapping[str, tuple[RoutingData, RoutingData]],
    *,
    settings: ContestSettings,
) -> list[Run]:
    """Train every competitor on every case with every seed.

    Parameters
    ----------
    competitors
        Who takes part.
    cases
        Name -> train and validation split.
    settings
        Repeats, seed, scale.
    """
    seeds = range(settings.seed, settings.seed + min(settings.repeats, MAX_SEEDS))
    steps = max(round(settings.scale * TOTAL_STEPS), 4096)
    jobs = [(c, seed, e) for c in cases for seed in seeds for e in competitors]
    runs = []
    with threadpool_limits(limits=1):
        competitors[-1].train(*next(iter(cases.values())), settings.seed, 4096)  # warm-up
        for case, seed, entry in tqdm(
            jobs, desc=f"{NAME} training", unit="run", disable=not settings.progress
        ):
            train, validation = cases[case]
            runs.append(
                Run(
                    case=case,
                    competitor=entry.name,
                    seed=seed,
                    points=tuple(entry.train(train, validation, seed, steps)),
                    best_single=float(validation.rewards.mean(axis=0).max()),
                    oracle=float(validation.rewards.max(axis=1).mean()),
                )
            )
    return runs


def rows_of_run(run: Run) -> list[SpeedRow]:
    """Return the row of the whole training and, where it was reached, that of the share.

    The quality of the first is the share of the gap that the best policy on validation closes,
    that of the second the share when it was reached.
    """
    share = SHARES.get(run.case, 0.95)
    last, reached = run.points[-1], run.reached(share)
    shown = [(run.case, last, float(run.gaps.max()), f"last={run.gaps[-1]:.4f}")]
    if reached is not None:
        gap = float(run.gaps[run.points.index(reached)])
        shown.append((f"{run.case}, to {share:.0%}", reached, gap, ""))
    return [
        SpeedRow(
            contest=NAME,
            case=case,
            competitor=run.competitor,
            repeat=run.seed,
            unit="steps",
            count=point.steps,
            cpu_seconds=point.cpu_seconds,
            wall_seconds=point.wall_seconds,
            quality=gap,
            settings=text,
        )
        for case, point, gap, text in shown
    ]


def ppo_figures(rows: Sequence[SpeedRow]) -> dict[str, float | Interval]:
    """Compare our fastest settings with SB3's defaults on a ``DummyVecEnv``, seed by seed.

    Parameters
    ----------
    rows
        Measurements of the contest.

    Returns
    -------
    dict
        ``ppo_time_to_95_ratio`` (CPU time) and ``_wall``, on the synthetic problem; the like for
        the share that SB3 reaches on the table; the same for the agent as it comes;
        ``ppo_steps_ratio``: training steps per CPU second; ``ppo_final_gap_difference``: the share
        of the gap that our best policy closes, minus theirs. Figures of a share that not every
        seed of both reaches are left out.
    """
    figures: dict[str, float | Interval] = {}
    for case, share in SHARES.items():
        of = "" if case == "synthetic" else f"_{case}"
        for own, mark in (("fast", ""), ("agent", "_agent"), ("sb3_native", "_sb3_native")):
            ours, theirs = (
                rows_of(rows, case=case, competitor=name) for name in (own, "sb3_dummy")
            )
            if not (ours and theirs):
                continue
            figures[f"ppo_steps_ratio{mark}{of}"] = rate_ratio(ours, theirs)
            figures[f"ppo_final_gap_difference{mark}{of}"] = quality_difference(ours, theirs)
            timed = [
                rows_of(rows, case=f"{case}, to {share:.0%}", competitor=name)
                for name in (own, "sb3_dummy")
            ]
            if len(timed[0]) == len(timed[1]) == len(ours):
                name = f"ppo_time_to_{100 * share:.0f}_ratio{mark}"
                figures[f"{name}{of}"] = time_ratio(*timed)
                figures[f"{name}_wall{of}"] = time_ratio(*timed, wall=True)
    return figures


def time_ratio(
    ours: Sequence[SpeedRow], theirs: Sequence[SpeedRow], *, wall: bool = False
) -> Interval:
    """Return how many times as long they took: the median of the seeds' ratios."""
    name = "wall_seconds" if wall else "cpu_seconds"
    pairs = zip(ours, theirs, strict=True)
    return median_interval([getattr(b, name) / getattr(a, name) for a, b in pairs])


def _cases(settings: ContestSettings) -> dict[str, tuple[RoutingData, RoutingData]]:
    """Draw the synthetic problem and read the table."""
    problem = SyntheticProblem(seed=settings.seed)
    table = OutcomeTable.load(settings.table)
    return {
        "synthetic": (problem.split(TRAIN), problem.split(VALIDATION, part=1)),
        "table": (
            table.data("train", DEFAULT_REWARD),
            table.data("validation", DEFAULT_REWARD),
        ),
    }


def _sb3_dummy(
    train: RoutingData, validation: RoutingData, seed: int, steps: int
) -> list[WatchedPoint]:
    """Train as Stable-Baselines3's documentation does."""
    from routing_gym.agents.ppo_watch import watch_defaults

    return watch_defaults(train, validation=validation, native=False, total_steps=steps, seed=seed)


def _sb3_native(
    train: RoutingData, validation: RoutingData, seed: int, steps: int
) -> list[WatchedPoint]:
    """Train the same on our environment."""
    from routing_gym.agents.ppo_watch import watch_defaults

    return watch_defaults(train, validation=validation, native=True, total_steps=steps, seed=seed)


def _agent(
    train: RoutingData, validation: RoutingData, seed: int, steps: int
) -> list[WatchedPoint]:
    """Train our agent."""
    from routing_gym.agents.ppo import PPOConfig
    from routing_gym.agents.ppo_watch import watch_agent

    return watch_agent(PPOConfig(total_steps=steps), train, validation=validation, seed=seed)


def _fast(train: RoutingData, validation: RoutingData, seed: int, steps: int) -> list[WatchedPoint]:
    """Train our agent with the settings that are quickest."""
    from routing_gym.agents.ppo import PPOConfig
    from routing_gym.agents.ppo_watch import watch_agent

    config = PPOConfig(total_steps=LONGER * steps, **FAST)
    return watch_agent(config, train, validation=validation, seed=seed)


def _plot(runs: Sequence[Run], labels: Mapping[str, str], path: Path) -> None:
    """Draw every run."""
    curves: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for run in runs:
        case = curves.setdefault(run.case, {})
        case.setdefault(run.competitor, []).append((run.seconds, run.gaps))
    gap_over_time(
        curves,
        path=path,
        labels=labels,
        shares={case: SHARES.get(case, 0.95) for case in curves},
        caption=f"one line per seed, {len({run.seed for run in runs})} seeds; one CPU thread",
    )
