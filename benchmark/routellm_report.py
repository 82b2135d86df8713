"""The report on RouteLLM's tables: figures, Markdown, curves and tidy rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from routing_gym.benchmark.plots import ARM_COLOURS, STYLE, finish
from routing_gym.benchmark.report import UNDEFINED, format_interval, markdown_table
from routing_gym.benchmark.routellm_study import GRID, LEVELS, ORACLE, RANDOM, Outcome
from routing_gym.benchmark.routellm_table import Pair
from routing_gym.benchmark.statistics import Interval

Runs = Sequence[Mapping[str, Outcome]]
"""One mapping from router to outcome per seed."""

_HEADLINE = "#D55E00"  # colour
# Measured on the same tables by others' simple routers (three seeds), for orientation.
PUBLISHED = {
    "mmlu": "kNN .648, TF-IDF ridge .671, subject mean .680",
    "gsm8k": "between .53 and .59",
    "mtbench": "none, too small to separate routers",
}
INTRODUCTION = """\
Two models, a weak and a strong one; a router says for each query how much rather it would call the
strong one. Half of the queries trains the routers, the other half judges them; texts that are equal
when normalised are never parted. A fifth of the training half chooses every setting, then the
router is fitted to the whole half. Rows that RouteLLM marks as contaminated are left out.

PGR is the share of the gap between the two models that is recovered, APGR its mean over all shares
of strong calls (0.5 for a router that draws lots): by RouteLLM's trapezoid over eleven quantiles,
and exactly, over every threshold. The trapezoid cuts the curve's corners, so it is the lower of the
two where a curve is concave. CPT(x) is the least share of strong calls that recovers x of the gap.
Intervals: 95 % Student intervals of the mean over seeds; "corrected" adds that the halves of
different seeds overlap (Nadeau & Bengio 2003), so that it also covers another sample of queries;
by how much the headline is ahead is paired by seed and corrected. "Validation" is the mean
quality over all shares of strong calls on the fifth that chooses, of the router fitted without it.
`*`: privileged, the router is told the query's task (MMLU's subject), as the subject mean
`task_lookup` is; the others read the text alone. `ridge_guessed_task` guesses the task from the
text, by the tasks of the training half.

Encoders, the forest's settings, guessing the task and the choice to average were made by looking at
halves of seeds below 200 of the same tables; the seeds reported here were drawn only afterwards."""


def mean_interval(values: Sequence[float], *, corrected: bool = False) -> Interval:
    """Return the mean of S values with its 95 % Student interval.

    Parameters
    ----------
    values
        One per seed.
    corrected
        Whether to use the variance of Nadeau & Bengio (2003), *Inference for the generalization
        error*: s^2 (1/S + n_test/n_train), with equal halves s^2 (1/S + 1).

    Returns
    -------
    Interval
        With nan at its ends for fewer than two seeds.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Interval(float(array.mean()), float("nan"), float("nan"))
    share = 1 / len(array) + (1.0 if corrected else 0.0)
    width = stats.t.ppf(0.975, len(array) - 1) * np.sqrt(array.var(ddof=1) * share)
    return Interval(float(array.mean()), float(array.mean() - width), float(array.mean() + width))


def study_figures(runs: Mapping[str, Runs], *, headline: str) -> dict[str, float | Interval]:
    """Compute the routers' figures of ``summary.json``.

    Parameters
    ----------
    runs
        Table name -> one mapping per seed.
    headline
        The router whose figures carry no router's name; fixed before it is judged.

    Returns
    -------
    dict
        ``apgr_<table>`` and its ``_corrected`` and ``_exact`` variants, ``cpt50_<table>`` and
        ``cpt80_<table>`` of the headline; ``apgr_<table>_<router>``; and
        ``apgr_<table>_over_<router>``, by how much the headline is ahead, corrected.

    Raises
    ------
    ValueError
        If the headline is not among the routers that were run.
    """
    figures: dict[str, float | Interval] = {}
    for table, seeds in runs.items():
        if headline not in seeds[0]:
            raise ValueError(f"headline={headline!r} was not run: choose of {list(seeds[0])}.")
        figures |= _router_figures(f"apgr_{table}", [run[headline] for run in seeds])
    for table, seeds in runs.items():
        for label in seeds[0]:
            figures[f"apgr_{table}_{label}"] = mean_interval([run[label].apgr for run in seeds])
            if label not in (headline, ORACLE, RANDOM):
                figures[f"apgr_{table}_over_{label}"] = _ahead(seeds, headline, label)
    return figures


def _ahead(seeds: Runs, label: str, other: str) -> Interval:
    """By how much one router's APGR is above another's on the same halves."""
    return mean_interval([run[label].apgr - run[other].apgr for run in seeds], corrected=True)


def _router_figures(name: str, outcomes: Sequence[Outcome]) -> dict[str, float | Interval]:
    """Name one router's figures."""
    areas = [outcome.apgr for outcome in outcomes]
    figures: dict[str, float | Interval] = {
        name: mean_interval(areas),
        f"{name}_corrected": mean_interval(areas, corrected=True),
        f"{name}_exact": mean_interval([outcome.apgr_exact for outcome in outcomes]),
    }
    for level in LEVELS:
        values = [outcome.cpt[level] for outcome in outcomes]
        figures[f"cpt{level * 100:.0f}_{name.removeprefix('apgr_')}"] = mean_interval(values)
    return figures


def study_markdown(
    pairs: Mapping[str, Pair],
    runs: Mapping[str, Runs],
    *,
    headline: str,
    privileged: Set[str],
    leaks: int,
) -> str:
    """Write the report for people.

    Parameters
    ----------
    pairs, runs, headline
        Tables by name, and see `study_figures`.
    privileged
        Routers that are told the query's task.
    leaks
        Texts on both sides of a draw, see `routing_gym.benchmark.routellm_table.leaks`.
    """
    seeds = len(next(iter(runs.values())))
    parts = ["# Routers on RouteLLM's tables"]
    parts += [_verdict(table, runs[table], headline, privileged) for table in pairs]
    texts = ", ".join(f"{len(np.unique(pair.groups))} on {table}" for table, pair in pairs.items())
    parts.append(
        f"{seeds} seeds, each with its own halves. Different texts: {texts}. Texts that stand on "
        f"both sides of a draw, over all seeds: {leaks}. Intervals above are 95 % and corrected "
        "for overlapping halves."
    )
    parts.append(INTRODUCTION)
    for table, pair in pairs.items():
        weak, strong = pair.scores.mean(axis=0)
        best = pair.scores.max(axis=1).mean()
        parts += [
            f"## {table}",
            f"{len(pair.scores)} queries; weak `{pair.models[0]}` {weak:.3f}, strong (best single) "
            f"`{pair.models[1]}` {strong:.3f}, either at random {(weak + strong) / 2:.3f}, oracle "
            f"{best:.3f}.",
            _table(runs[table], headline, privileged),
            f"Measured by others: APGR {PUBLISHED[table]}." if table in PUBLISHED else "",
            f"![PGR over the share of strong calls](pgr_{table}.png)",
            _settings(runs[table]),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(table: str, seeds: Runs, headline: str, privileged: Set[str]) -> str:
    """Say what the headline router reached, and what those that are told the task did."""

    def reached(label: str) -> str:
        return format_interval(mean_interval([run[label].apgr for run in seeds], corrected=True))

    sight = "is told the query's task" if headline in privileged else "reads the text alone"
    line = f"**{table}**: `{headline}`, which {sight}, reaches an APGR of {reached(headline)}."
    told = [label for label in seeds[0] if label in privileged - {headline}]
    if not told:
        return line
    listed = ", ".join(
        f"`{label}` {reached(label)} (`{headline}` is ahead by "
        f"{format_interval(_ahead(seeds, headline, label), signed=True)})"
        for label in told
    )
    return f"{line} Told the query's task, and so not on the same footing: {listed}."


def _table(seeds: Runs, headline: str, privileged: Set[str]) -> str:
    """Write one table's routers, best first."""
    header = ["router", "APGR [95 %]", "corrected", "exact", f"{headline} ahead", "CPT(50)"]
    header += ["CPT(80)", "CPT(80) as published", "validation"]
    labels = sorted(seeds[0], key=lambda label: -np.mean([run[label].apgr for run in seeds]))
    rows = []
    for label in labels:
        outcomes = [run[label] for run in seeds]
        figures = list(_router_figures("apgr", outcomes).values())
        published = float(np.mean([outcome.cpt_published[LEVELS[-1]] for outcome in outcomes]))
        cells = [format_interval(figure) for figure in figures[:3] if isinstance(figure, Interval)]
        ahead = _ahead(seeds, headline, label)
        cells.append(UNDEFINED if label == headline else format_interval(ahead, signed=True))
        cells += [f"{f.value:.3f}" for f in figures[3:] if isinstance(f, Interval)]
        held_out = float(np.mean([outcome.validation_area for outcome in outcomes]))
        cells += [f"{published:.3f}", f"{held_out:.4f}" if np.isfinite(held_out) else UNDEFINED]
        rows.append([label + "*" * (label in privileged), *cells])
    return markdown_table(header, rows)


def _settings(seeds: Runs) -> str:
    """List what validation chose on the first seed."""
    chosen = {label: outcome.chosen for label, outcome in seeds[0].items() if outcome.chosen}
    lines = [f"- `{label}`: {_readable(options)}" for label, options in chosen.items()]
    return "\n".join(["Chosen on validation, first seed:", "", *lines]) if lines else ""


def _readable(options: Mapping[str, Any]) -> str:
    """Write options as text."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def tidy_rows(
    runs: Mapping[str, Runs], seeds: Sequence[int], *, privileged: Set[str]
) -> list[dict[str, object]]:
    """Return one row per table, router and seed; the random router and the oracle have no area."""
    return [
        {
            "table": table,
            "router": label,
            "told_task": label in privileged,
            "seed": seed,
            "apgr": round(outcome.apgr, 6),
            "apgr_exact": round(outcome.apgr_exact, 6),
            **{f"cpt{100 * x:.0f}": round(outcome.cpt[x], 6) for x in LEVELS},
            **{f"cpt{100 * x:.0f}_published": round(outcome.cpt_published[x], 6) for x in LEVELS},
            "validation_area": (
                round(outcome.validation_area, 6) if np.isfinite(outcome.validation_area) else ""
            ),
        }
        for table, per_seed in runs.items()
        for seed, run in zip(seeds, per_seed, strict=True)
        for label, outcome in run.items()
    ]


def draw_pgr(
    seeds: Runs,
    *,
    path: Path,
    caption: str,
    headline: str,
    drawn: Sequence[str] = (),
    privileged: Set[str] = frozenset(),
) -> None:
    """Draw the mean PGR over the share of strong calls, and what of it random calls do not bring.

    Parameters
    ----------
    seeds
        One mapping per seed.
    path
        PNG file to write; the same is written as SVG beside it.
    caption
        Written above.
    headline
        The router drawn with its 95 % band over seeds.
    drawn
        Routers to draw beside the headline, random and oracle; none means all.
    privileged
        Routers marked with ``*``.
    """
    shown = {headline, RANDOM, ORACLE, *(drawn or seeds[0])} & set(seeds[0])
    labels = sorted(shown, key=lambda label: -np.mean([run[label].apgr for run in seeds]))
    routers = [
        label for label in drawn or seeds[0] if label not in (headline, ORACLE, RANDOM)
    ]  # in one order on every table, so that a router keeps its colour
    others = [colour for colour in ARM_COLOURS[1:] if colour != _HEADLINE]
    colours = {ORACLE: "#000000", RANDOM: "#9A9A9A", headline: _HEADLINE}
    colours |= {label: others[i % len(others)] for i, label in enumerate(routers)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 4.6), layout="constrained")
        whole, gain = figure.subplots(1, 2)
        for label in labels:
            curves = np.array([run[label].pgr for run in seeds])  # (S, 101)
            name = label + "*" * (label in privileged)
            area = np.mean([run[label].apgr for run in seeds])
            style: dict[str, Any] = {"color": colours[label]}
            style["ls"] = {ORACLE: ":", RANDOM: "--"}.get(label, "-")
            style |= {"lw": 2.6, "zorder": 3} if label == headline else {"lw": 1.4}
            whole.plot(GRID, curves.mean(axis=0), label=f"{name} {area:.3f}", **style)
            if label != ORACLE:
                gain.plot(GRID, (curves - GRID).mean(axis=0), **style)
            if label == headline and len(seeds) > 1:
                _band(gain, curves - GRID)
        whole.axhline(1.0, color="#5B5B5B", lw=0.8, ls="--")
        whole.text(0.25, 1.01, "always strong", fontsize=9, color="#5B5B5B")
        whole.set_ylabel("share of the gap recovered (PGR)")
        gain.set_ylabel("PGR above that of random calls")
        for axes in (whole, gain):
            axes.set_xlim(0, 1)
            axes.set_xlabel("share of calls to the strong model")
            axes.grid(alpha=0.3)
        figure.legend(title="APGR", loc="outside right upper")
        finish(figure, path, caption)


def _band(axes: Axes, curves: np.ndarray) -> None:
    """Shade the 95 % Student interval of the mean of curves (S, 101)."""
    mean = curves.mean(axis=0)
    width = stats.t.ppf(0.975, len(curves) - 1) * stats.sem(curves, axis=0)
    axes.fill_between(GRID, mean - width, mean + width, color=_HEADLINE, alpha=0.2, lw=0)
