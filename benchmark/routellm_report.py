"""The report on RouteLLM's tables: figures, Markdown, curves and tidy rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from routing_gym.benchmark.plots import ARM_COLOURS, STYLE
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.routellm_study import GRID, LEVELS, ORACLE, RANDOM, Outcome, Pair
from routing_gym.benchmark.statistics import Interval

Runs = Sequence[Mapping[str, Outcome]]
"""One mapping from router to outcome per seed."""

# Measured on the same tables by others' simple routers (three seeds), for orientation.
PUBLISHED = {
    "mmlu": "kNN .648, TF-IDF ridge .671, subject mean .680",
    "gsm8k": ".53 to .59",
    "mtbench": "too small to separate",
}
INTRODUCTION = """\
Two models, a weak and a strong one; a router says for each query how much rather it would call the
strong one. Half of the queries trains the routers, the other half judges them; texts that are equal
when normalised are never parted. A fifth of the training half chooses every setting, then the
router is fitted to the whole half. Rows that RouteLLM marks as contaminated are left out.

PGR is the share of the gap between the two models that is recovered, APGR its mean over all shares
of strong calls (0.5 for a router that draws lots): by RouteLLM's trapezoid over eleven quantiles,
and exactly, over every threshold. CPT(x) is the least share of strong calls that recovers x of the
gap. Intervals: 95 % Student intervals of the mean over seeds; "corrected" adds that the halves of
different seeds overlap (Nadeau & Bengio 2003), so that it also covers another sample of queries.
`*`: privileged, it reads the name of the query's task.

Encoders, the forest's settings and the choice to average were made by looking at halves of other
seeds of the same tables; the seeds reported here were then run with them as they are."""


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
    """Compute the figures of ``summary.json``.

    Parameters
    ----------
    runs
        Table name -> one mapping per seed.
    headline
        The router whose figures carry no router's name; fixed before it is judged.

    Raises
    ------
    ValueError
        If the router is not among those that were run.
    """
    figures: dict[str, float | Interval] = {}
    for table, seeds in runs.items():
        if headline not in seeds[0]:
            raise ValueError(f"headline={headline!r} was not run: choose of {list(seeds[0])}.")
        figures |= _router_figures(f"apgr_{table}", [run[headline] for run in seeds])
    for table, seeds in runs.items():
        for label in seeds[0]:
            apgr = [run[label].apgr for run in seeds]
            figures[f"apgr_{table}_{label}"] = mean_interval(apgr)
            if label not in (headline, ORACLE, RANDOM):
                ahead = [run[headline].apgr - run[label].apgr for run in seeds]
                figures[f"apgr_{table}_over_{label}"] = mean_interval(ahead)
    return figures


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
    pairs: Mapping[str, Pair], runs: Mapping[str, Runs], *, headline: str, privileged: set[str]
) -> str:
    """Write the report for people; parameters as in `study_figures`."""
    seeds = len(next(iter(runs.values())))
    parts = ["# Routers on RouteLLM's tables", INTRODUCTION]
    parts.append(f"{seeds} seeds. The headline router is `{headline}`.")
    for table, pair in pairs.items():
        weak, strong = pair.scores.mean(axis=0)
        best = pair.scores.max(axis=1).mean()
        parts += [
            f"## {table}",
            f"{len(pair.scores)} queries; weak `{pair.models[0]}` {weak:.3f}, strong (best single) "
            f"`{pair.models[1]}` {strong:.3f}, either at random {(weak + strong) / 2:.3f}, oracle "
            f"{best:.3f}.",
            _table(runs[table], privileged),
            f"Published beside it: APGR {PUBLISHED[table]}." if table in PUBLISHED else "",
            f"![PGR over the share of strong calls](pgr_{table}.png)",
            _settings(runs[table]),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(seeds: Runs, privileged: set[str]) -> str:
    """Write one table's routers, best first."""
    header = ["router", "APGR [95 %]", "corrected", "exact", "CPT(50)", "CPT(80)"]
    header.append("CPT(80) as published")
    labels = sorted(seeds[0], key=lambda label: -np.mean([run[label].apgr for run in seeds]))
    rows = []
    for label in labels:
        outcomes = [run[label] for run in seeds]
        figures = list(_router_figures("apgr", outcomes).values())
        published = float(np.mean([outcome.cpt_published[LEVELS[-1]] for outcome in outcomes]))
        cells = [format_interval(figure) for figure in figures[:3] if isinstance(figure, Interval)]
        cells += [f"{f.value:.3f}" for f in figures[3:] if isinstance(f, Interval)]
        rows.append([label + "*" * (label in privileged), *cells, f"{published:.3f}"])
    return markdown_table(header, rows)


def _settings(seeds: Runs) -> str:
    """List what validation chose on the first seed."""
    chosen = {label: outcome.chosen for label, outcome in seeds[0].items() if outcome.chosen}
    lines = [f"- `{label}`: {_readable(options)}" for label, options in chosen.items()]
    return "\n".join(["Chosen on validation, first seed:", "", *lines]) if lines else ""


def _readable(options: Mapping[str, Any]) -> str:
    """Write options as text."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def tidy_rows(runs: Mapping[str, Runs], seeds: Sequence[int]) -> list[dict[str, object]]:
    """Return one row per table, router and seed."""
    return [
        {
            "table": table,
            "router": label,
            "seed": seed,
            "apgr": round(outcome.apgr, 6),
            "apgr_exact": round(outcome.apgr_exact, 6),
            **{f"cpt{100 * x:.0f}": round(outcome.cpt[x], 6) for x in LEVELS},
            **{f"cpt{100 * x:.0f}_published": round(outcome.cpt_published[x], 6) for x in LEVELS},
        }
        for table, per_seed in runs.items()
        for seed, run in zip(seeds, per_seed, strict=True)
        for label, outcome in run.items()
    ]


def draw_pgr(seeds: Runs, *, path: Path, caption: str, headline: str) -> None:
    """Draw the mean PGR over the share of strong calls, the headline with its band over seeds.

    Parameters
    ----------
    seeds
        One mapping per seed.
    path
        PNG file to write.
    caption
        Written above.
    headline
        The router drawn with its 95 % band.
    """
    labels = sorted(seeds[0], key=lambda label: -np.mean([run[label].apgr for run in seeds]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 5.2), layout="constrained")
        axes = figure.subplots()
        for position, label in enumerate(labels):
            curves = np.array([run[label].pgr for run in seeds])  # (S, 101)
            mean = curves.mean(axis=0)
            colour = {ORACLE: "#000000", RANDOM: "#9A9A9A"}.get(
                label, ARM_COLOURS[1 + position % (len(ARM_COLOURS) - 1)]
            )
            style = ":" if label == ORACLE else "--" if label == RANDOM else "-"
            axes.plot(
                GRID,
                mean,
                ls=style,
                color=colour,
                lw=2.4 if label == headline else 1.3,
                label=f"{label} {np.mean([run[label].apgr for run in seeds]):.3f}",
            )
            if label == headline and len(seeds) > 1:
                width = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(curves, axis=0)
                axes.fill_between(GRID, mean - width, mean + width, color=colour, alpha=0.2)
        axes.axhline(1.0, color="black", lw=1.0, alpha=0.6, ls="--")
        axes.text(0.0, 1.01, "best single model (strong)", fontsize=9)
        shown = [c for run in seeds for label in labels if label != ORACLE for c in run[label].pgr]
        top = max(1.3, *(np.mean([run[ORACLE].pgr for run in seeds], axis=0)))
        axes.set_ylim(min(-0.05, *np.quantile(shown, [0.005])), top + 0.05)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of calls to the strong model")
        axes.set_ylabel("share of the gap recovered (PGR)")
        axes.grid(alpha=0.3)
        figure.legend(title="APGR", loc="outside right upper")
        figure.suptitle(caption, fontsize=10, color="#333333")
        FigureCanvasAgg(figure).print_png(str(path))
