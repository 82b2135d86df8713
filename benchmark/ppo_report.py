"""Section of the contest of PPO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.speed import SpeedRow, mean_interval, median_interval, rows_of
from routing_gym.benchmark.statistics import Interval


def ppo_section(
    rows: Sequence[SpeedRow],
    figures: Mapping[str, float | Interval],
    *,
    labels: Mapping[str, str],
    shares: Mapping[str, float],
    fast: Mapping[str, object],
    longer: int,
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    rows
        Measurements.
    figures
        From ``ppo_figures``.
    labels
        Competitor -> text of its line.
    shares
        Case -> share of the gap that is to be reached.
    fast
        The settings of our agent set for speed.
    longer
        How many times as many steps it takes.
    """
    parts = ["## PPO", _method(rows, shares, fast, longer)]
    for case, share in shares.items():
        if any(row.case == case for row in rows):
            parts += [f"### {case.capitalize()}", _table(rows, labels, case, share)]
    lines = [
        [f"`{name}`", _interval(name, value)]
        for name, value in figures.items()
        if isinstance(value, Interval)
    ]
    parts += [
        "### Against SB3's defaults on DummyVecEnv(8), seed by seed",
        markdown_table(["figure", "value [95 %]"], lines),
    ]
    return "\n\n".join(parts)


def _method(
    rows: Sequence[SpeedRow],
    shares: Mapping[str, float],
    fast: Mapping[str, object],
    longer: int,
) -> str:
    """Say what was measured and how."""
    seeds = len({row.repeat for row in rows})
    goals = ", ".join(f"{share:.0%} on {case}" for case, share in shares.items())
    return (
        f"Everybody trains on the same split with {seeds} seeds, in one thread and in turns. After "
        "every update the greedy policy is measured on the validation split, with the clocks "
        "stopped. What counts is the share of the gap from the best single adapter to the oracle "
        f"that it closes, and the CPU seconds until that is {goals}: shares that SB3's defaults "
        "can reach. *Synthetic* has 10,000 queries of 384 dimensions, 6 adapters and rewards "
        "without noise, of which a linear router captures all but a percent; *table* is the train "
        "split, on which SB3's defaults level off below 95 %. SB3's defaults are 2,048 steps per "
        "environment and update, batches of 64, 10 epochs, a learning rate of 3e-4. Our agent "
        "takes one step of 2,048 lanes per update; set for speed it differs from its defaults in "
        f"{', '.join(f'{name}={value}' for name, value in fast.items())}, the same for both "
        f"problems, chosen on their validation splits, and takes {longer} times as many steps, as "
        "what counts here is seconds. SB3 can be seen only after its first update "
        "of 16,384 steps; that is how it learns. The highest share is that of the best policy of "
        "a run on validation, for everybody."
    )


def _table(rows: Sequence[SpeedRow], labels: Mapping[str, str], case: str, share: float) -> str:
    """Tabulate one case."""
    lines = []
    for name, text in labels.items():
        own = rows_of(rows, case=case, competitor=name)
        if not own:
            continue
        timed = rows_of(rows, case=f"{case}, to {share:.0%}", competitor=name)
        reached = "not reached"
        if timed:
            seconds = median_interval([row.cpu_seconds for row in timed])
            wall = np.median([row.wall_seconds for row in timed])
            count = np.median([row.count for row in timed])
            reached = f"{format_interval(seconds, digits=2)} ({wall:.2f} wall, {count:,.0f} steps"
            reached += ")" if len(timed) == len(own) else f"; only {len(timed)} of {len(own)})"
        rate = median_interval([row.rate for row in own])
        lasts = [float(row.settings.removeprefix("last=")) for row in own]
        lines.append(
            [
                text,
                f"{rate.value:,.0f} [{rate.low:,.0f}, {rate.high:,.0f}]",
                reached,
                format_interval(mean_interval([row.quality for row in own]), digits=3),
                f"{np.mean(lasts):.3f}",
            ]
        )
    header = [
        "competitor",
        "steps per CPU second [95 %]",
        f"CPU seconds to {share:.0%} [95 %]",
        "highest share [95 %]",
        "last share",
    ]
    return markdown_table(header, lines)


def _interval(name: str, value: Interval) -> str:
    """Write a ratio or a difference."""
    if "difference" in name:
        return format_interval(value, digits=4, signed=True)
    return format_interval(value, digits=1)
