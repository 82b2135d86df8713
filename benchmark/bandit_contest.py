"""The contest of bandits: rounds per second and regret on the same streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from routing_gym.benchmark.bandit_entries import competitors
from routing_gym.benchmark.bandit_peers import Competitor, Learner, Settings
from routing_gym.benchmark.bandit_report import bandit_figures, bandit_section
from routing_gym.benchmark.bandit_streams import Stream, synthetic_stream, table_stream
from routing_gym.benchmark.provenance import version
from routing_gym.benchmark.speed import ContestResult, ContestSettings, SpeedRow, Stopwatch
from routing_gym.benchmark.speed_plots import rate_against_quality
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

NAME = "bandits"
BUDGET = 0.4  # of the table's cells, as the bandit agents have by default
QUERIES, TUNING_QUERIES = 10_000, 4_000
TUNING_SEED = 1_000_000  # no repeat comes near it
TUNING_STREAMS = 2
WARM_UP = 200


@dataclass(frozen=True)
class Case:
    """A kind of problem: streams to tune on and streams to compete on.

    Parameters
    ----------
    name
        Of the case.
    stream
        Repeat -> the stream of that repeat.
    tuning
        Streams of other queries.
    """

    name: str
    stream: Callable[[int], Stream]
    tuning: tuple[Stream, ...]


def bandit_contest(settings: ContestSettings) -> ContestResult:
    """Tune everybody alike, then run everybody on every stream; BLAS has one thread.

    Parameters
    ----------
    settings
        Folder of the table, repeats (one stream each), seed.
    """
    entries = competitors()
    present = [entry for entry in entries if entry.installed]
    rows: list[SpeedRow] = []
    with threadpool_limits(limits=1):
        for case in _cases(settings):
            tuned = tune(present, case, settings=settings)
            rows += compete(present, case, tuned, settings=settings)
    figures = bandit_figures(rows)
    labels = {entry.name: f"{entry.label}, batch {entry.batch_size}" for entry in entries}
    packages = sorted({entry.package for entry in entries if entry.package})
    return ContestResult(
        rows=tuple(rows),
        figures=figures,
        section=bandit_section(rows, figures, labels=labels, entries=entries),
        plots={
            "bandits.png": lambda path: rate_against_quality(
                rows,
                path=path,
                labels=labels,
                own=[entry.name for entry in entries if not entry.package],
                unit="rounds",
                quality="regret per round",
                caption=f"{settings.repeats} streams each; median rates, "
                "mean regrets with 95 % intervals",
            )
        },
        versions=tuple(f"{package}: {version(package)}" for package in packages),
    )


def tune(
    entries: Sequence[Competitor], case: Case, *, settings: ContestSettings
) -> dict[str, Settings]:
    """Return each competitor's settings with the least regret on the tuning streams."""
    chosen: dict[str, Settings] = {}
    tried = [(entry, grid) for entry in entries for grid in entry.grid]
    regrets: dict[str, list[tuple[float, int]]] = {entry.name: [] for entry in entries}
    bar = tqdm(tried, desc=f"tuning on {case.name}", unit="run", disable=not settings.progress)
    for entry, grid in bar:
        found = [
            run(entry, grid, stream, seed=TUNING_SEED + index)[0]
            for index, stream in enumerate(case.tuning)
        ]
        regrets[entry.name].append((float(np.mean(found)), len(regrets[entry.name])))
    for entry in entries:
        if entry.grid:
            chosen[entry.name] = entry.grid[min(regrets[entry.name])[1]]
    return {entry.name: chosen[entry.tuned_as or entry.name] for entry in entries}


def compete(
    entries: Sequence[Competitor],
    case: Case,
    tuned: Mapping[str, Settings],
    *,
    settings: ContestSettings,
) -> list[SpeedRow]:
    """Measure every competitor on every stream, in turn."""
    rows = []
    bar = tqdm(
        total=settings.repeats * len(entries),
        desc=f"bandits on {case.name}",
        unit="run",
        disable=not settings.progress,
    )
    for repeat in range(settings.repeats):
        stream = case.stream(repeat)
        for entry in entries:
            regret, watch = run(entry, tuned[entry.name], stream, seed=settings.seed + repeat)
            rows.append(
                SpeedRow(
                    contest=NAME,
                    case=case.name,
                    competitor=entry.name,
                    repeat=repeat,
                    unit="rounds",
                    count=len(stream),
                    cpu_seconds=watch.cpu,
                    wall_seconds=watch.wall,
                    quality=regret,
                    settings=" ".join(f"{k}={v:g}" for k, v in tuned[entry.name].items()),
                )
            )
            bar.update()
    bar.close()
    return rows


def run(
    entry: Competitor, settings: Settings, stream: Stream, *, seed: int
) -> tuple[float, Stopwatch]:
    """Run one learner over one stream; return its regret per round and the time it took.

    Decisions and updates are timed, with the loop around them; contexts, rewards and regret are
    not. Another learner takes the first rounds before, so that nothing is loaded within the time.
    """
    width = stream.contexts.shape[1]
    play = play_sequentially if entry.batch_size == 1 else play_in_batches
    for rounds in (min(WARM_UP, len(stream)), len(stream)):
        learner = entry.make(settings, stream.arms, width, seed)
        actions, watch = play(
            learner, stream, rounds=rounds, batch_size=entry.batch_size, seed=seed
        )
    return stream.regret(actions), watch


def play_sequentially(
    learner: Learner, stream: Stream, *, rounds: int, batch_size: int = 1, seed: int
) -> tuple[np.ndarray, Stopwatch]:
    """Decide and learn, round by round."""
    contexts = list(stream.contexts[:rounds].copy())
    rewards = stream.rewards[:rounds].tolist()
    actions: list[int] = []
    rng = np.random.default_rng(seed)
    choose, learn, note = learner.choose_one, learner.learn_one, actions.append
    with Stopwatch() as watch:
        for context, row in zip(contexts, rewards, strict=True):
            action, propensity = choose(context, rng=rng)
            learn(context, action, reward=row[action], propensity=propensity)
            note(action)
    return np.array(actions), watch


def play_in_batches(
    learner: Learner, stream: Stream, *, rounds: int, batch_size: int, seed: int
) -> tuple[np.ndarray, Stopwatch]:
    """Decide for a batch before any of its rewards is known, then learn from all of it."""
    starts = range(0, rounds, batch_size)
    contexts = [stream.contexts[i : min(i + batch_size, rounds)].copy() for i in starts]
    tables = [stream.rewards[i : min(i + batch_size, rounds)] for i in starts]
    every = np.arange(batch_size)
    chosen: list[np.ndarray] = []
    rng = np.random.default_rng(seed)
    with Stopwatch() as watch:
        for batch, table in zip(contexts, tables, strict=True):
            actions, shares = learner.choose_many(batch, rng=rng)
            rows = every[: len(batch)]
            learner.learn_many(
                batch, actions, rewards=table[rows, actions], propensities=shares[rows, actions]
            )
            chosen.append(actions)
    return np.concatenate(chosen), watch


def _cases(settings: ContestSettings) -> list[Case]:
    """Read the table and draw the synthetic problems."""
    table = OutcomeTable.load(settings.table)
    splits = {name: table.data(name, DEFAULT_REWARD) for name in ("train", "validation")}
    queries, tuning = (max(math.ceil(settings.scale * n), 64) for n in (QUERIES, TUNING_QUERIES))
    seeds = [TUNING_SEED + index for index in range(TUNING_STREAMS)]
    return [
        Case(
            "table",
            lambda repeat: table_stream(
                splits["train"], budget=BUDGET, seed=settings.seed + repeat
            ),
            tuple(table_stream(splits["validation"], budget=BUDGET, seed=seed) for seed in seeds),
        ),
        Case(
            "synthetic",
            lambda repeat: synthetic_stream(queries=queries, seed=settings.seed + repeat),
            tuple(synthetic_stream(queries=tuning, seed=seed) for seed in seeds),
        ),
    ]
