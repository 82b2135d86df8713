"""The contest of environments: steps per second of every way to step the same problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from routing_gym.benchmark.contest_plots import step_rates
from routing_gym.benchmark.environment_entries import (
    ACTIONS,
    Entry,
    Track,
    advance,
    cpu_of,
    draw_actions,
    entries,
    native_name,
)
from routing_gym.benchmark.environment_report import COST, PARTS, environment_section
from routing_gym.benchmark.provenance import version
from routing_gym.benchmark.speed import (
    ContestResult,
    ContestSettings,
    SpeedRow,
    Stopwatch,
    median_interval,
    rate_ratio,
    rows_of,
)
from routing_gym.benchmark.statistics import Interval
from routing_gym.benchmark.synthetic_split import SyntheticProblem
from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import RoutingDynamics, draw, stream_keys
from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

NAME = "environments"
QUERIES = 10_000
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZED = ("index_light", "embedding_light", "index_none")  # whose cost is followed over the sizes
LANES = 2048
PART_STEPS = 200

# figure -> (ours, the other's); the lowest over the cases is the headline
RATIOS = {
    "env_native_over_dummy": (native_name(LANES, "embedding", "light"), "dummy"),
    "env_native_full_over_dummy": (native_name(LANES, "embedding", "full"), "dummy"),
    "env_index_over_dummy": (native_name(LANES, "index", "light"), "dummy"),
    "env_index_none_over_dummy": (native_name(LANES, "index", "none"), "dummy"),
    "env_sb3_native_over_dummy_monitor": ("sb3_native", "dummy_monitor"),
    "env_native_light_over_full": (
        native_name(LANES, "embedding", "light"),
        native_name(LANES, "embedding", "full"),
    ),
    "env_index_light_over_full": (
        native_name(LANES, "index", "light"),
        native_name(LANES, "index", "full"),
    ),
}


def environment_contest(settings: ContestSettings) -> ContestResult:
    """Step everything with the same uniform actions, in turns, in one thread per process.

    Parameters
    ----------
    settings
        Folder of the table, repeats, seed, scale.
    """
    table = OutcomeTable.load(settings.table).data("train", DEFAULT_REWARD)
    toy = SyntheticProblem(seed=settings.seed).split(QUERIES)
    rows: list[SpeedRow] = []
    with threadpool_limits(limits=1):
        for case, data in (("table", table), ("synthetic", toy)):
            rows += step_in_turns(entries(), data, case=case, settings=settings)
        rows += measure_parts(toy, settings=settings)
        rows += measure_sizes(settings)
    figures = environment_figures(rows)
    shown = entries()
    return ContestResult(
        rows=tuple(rows),
        figures=figures,
        section=environment_section(rows, figures, entries=shown, ratios=tuple(RATIOS)),
        plots={"environments.png": lambda path: _plot(rows, shown, path, repeats=settings.repeats)},
        versions=tuple(f"{name}: {version(name)}" for name in ("gymnasium", "stable-baselines3")),
    )


def step_in_turns(
    competitors: Sequence[Entry], data: RoutingData, *, case: str, settings: ContestSettings
) -> list[SpeedRow]:
    """Start every competitor, then measure all of them in every repeat.

    Parameters
    ----------
    competitors
        Who takes part.
    data
        What is stepped.
    case
        Its name.
    settings
        Repeats, seed, scale.
    """
    rows = []
    with ExitStack() as stack:
        running = []
        for entry in competitors:
            track = entry.make(data)
            stack.callback(track.close)
            actions = draw_actions(track, arms=data.num_adapters, seed=settings.seed)
            steps = max(round(settings.scale * entry.steps), 4 * track.lanes)
            advance(track, actions, steps=min(steps, 40 * track.lanes))  # warm-up
            running.append((entry, track, actions, steps))
        bar = tqdm(
            total=settings.repeats * len(running),
            desc=f"{NAME} on {case}",
            unit="run",
            disable=not settings.progress,
        )
        for repeat in range(settings.repeats):
            for entry, track, actions, steps in running:
                rows.append(
                    measure(entry.name, track, actions, case=case, repeat=repeat, steps=steps)
                )
                bar.update()
        bar.close()
    return rows


def measure(
    name: str,
    track: Track,
    actions: Sequence[np.ndarray],
    *,
    case: str,
    repeat: int,
    steps: int,
) -> SpeedRow:
    """Time one competitor once; the CPU time of its processes counts."""
    workers = track.workers()
    before = cpu_of(workers)
    with Stopwatch() as watch:
        count, reward = advance(track, actions, steps=steps)
    after = cpu_of(workers)
    # where the system does not tell the time of other processes, the wall time stands for it
    cpu = watch.wall if before is None or after is None else watch.cpu + after - before
    return SpeedRow(
        contest=NAME,
        case=case,
        competitor=name,
        repeat=repeat,
        unit="steps",
        count=count,
        cpu_seconds=cpu,
        wall_seconds=watch.wall,
        quality=reward,
        settings=f"{len(workers)} processes" if workers else "",
    )


def measure_parts(data: RoutingData, *, settings: ContestSettings) -> list[SpeedRow]:
    """Time what a full step consists of, part by part.

    Parameters
    ----------
    data
        What is stepped, with embeddings.
    settings
        Repeats, seed, scale.
    """
    dynamics = RoutingDynamics(data)
    env = RoutingVectorEnv(LANES, data=data)
    env.reset(seed=settings.seed)
    rng = np.random.default_rng(settings.seed)
    # other queries in every step, as in play: the same ones would lie in the caches
    batches = [rng.integers(len(data), size=LANES) for _ in range(ACTIONS)]
    actions = rng.integers(data.num_adapters, size=LANES)
    keys, counters = stream_keys(settings.seed, LANES), np.zeros(LANES, dtype=np.uint64)
    parts: dict[str, Callable[[np.ndarray], object]] = {
        "draw": lambda rows: draw(keys, counters, high=len(data)),
        "reward": lambda rows: dynamics.reward(rows, actions),
        "measures": lambda rows: dynamics.measures(rows, actions),
        "outcome": lambda rows: dynamics.outcome(rows, actions),
        "context": dynamics.context,
        "observe": dynamics.observe,
        "step": lambda rows: env.step(actions),
    }
    steps = max(round(settings.scale * PART_STEPS), 3)
    measured = []
    for repeat in range(settings.repeats):
        for name, part in parts.items():
            part(batches[-1])
            with Stopwatch() as watch:
                for step in range(steps):
                    part(batches[step % ACTIONS])
            measured.append(
                SpeedRow(NAME, PARTS, name, repeat, "steps", steps * LANES, watch.cpu, watch.wall)
            )
    return measured


def measure_sizes(settings: ContestSettings) -> list[SpeedRow]:
    """Time our environment on splits of growing size, in turns.

    Parameters
    ----------
    settings
        Repeats, seed; the largest split has ``scale`` times a million queries.
    """
    largest = max(round(settings.scale * SIZES[-1]), SIZES[0])
    sizes = [size for size in SIZES if size <= largest]
    problem = SyntheticProblem(seed=settings.seed)
    running = []
    for size in sizes:
        data = problem.split(size)
        for name in SIZED:
            entry = next(e for e in entries() if e.name == f"native_{LANES}_{name}")
            track = entry.make(data)
            actions = draw_actions(track, arms=data.num_adapters, seed=settings.seed)
            steps = max(round(settings.scale * entry.steps), 4 * LANES)
            advance(track, actions, steps=steps)
            running.append((f"{COST}{size}", name, track, actions, steps))
    return [
        measure(name, track, actions, case=case, repeat=repeat, steps=steps)
        for repeat in range(settings.repeats)
        for case, name, track, actions, steps in running
    ]


def environment_figures(rows: Sequence[SpeedRow]) -> dict[str, float | Interval]:
    """Compare ours with the others, and large splits with small ones.

    Parameters
    ----------
    rows
        Measurements of the contest.

    Returns
    -------
    dict
        Each figure of ``RATIOS`` for the case in which it is lowest, and with ``_<case>`` behind
        its name for every case; ``env_cost_<largest>_over_1e3`` (index observations) and the same
        for embeddings and without info.
    """
    figures: dict[str, float | Interval] = {}
    for figure, pair in RATIOS.items():
        found = {}
        for case in ("table", "synthetic"):
            own, other = (rows_of(rows, case=case, competitor=name) for name in pair)
            if own and other:
                found[case] = rate_ratio(own, other)
        if found:
            figures[figure] = min(found.values(), key=lambda interval: interval.value)
            figures.update({f"{figure}_{case}": value for case, value in found.items()})
    sizes = sorted({int(row.case[len(COST) :]) for row in rows if row.case.startswith(COST)})
    if len(sizes) > 1:
        label = f"env_cost_{sizes[-1]:.0e}_over_1e3".replace("e+0", "e")
        for name, suffix in zip(SIZED, ("", "_embedding", "_none"), strict=True):
            small, large = (
                rows_of(rows, case=f"{COST}{size}", competitor=name)
                for size in (sizes[0], sizes[-1])
            )
            ratio = [one.rate / other.rate for one, other in zip(small, large, strict=True)]
            figures[f"{label}{suffix}"] = median_interval(ratio)
    return figures


def _plot(rows: Sequence[SpeedRow], shown: Sequence[Entry], path: Path, *, repeats: int) -> None:
    """Draw the rates and the costs over the sizes."""
    step_rates(
        rows,
        path=path,
        labels={entry.name: entry.label for entry in shown},
        own=[entry.name for entry in shown if entry.own],
        cases=("table", "synthetic"),
        cost=COST,
        caption=f"medians of {repeats} repeats with 95 % intervals",
    )
