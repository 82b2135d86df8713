"""Figures and section of the contest of bandits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routing_gym.benchmark.bandit_peers import Competitor
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.speed import (
    SpeedRow,
    quality_difference,
    rate_ratio,
    rows_of,
    speed_table,
)
from routing_gym.benchmark.statistics import Interval

# figure -> (ours, the other's); the lowest over the cases is the headline
RATIOS = {
    "linucb_rounds_over_vw": ("linucb", "vw_squarecb"),
    "linucb_batched_rounds_over_vw": ("linucb_16", "vw_squarecb_16"),
    "linucb_rounds_over_vw_text": ("linucb", "vw_squarecb_text"),
    "linucb_rounds_over_vw_k": ("linucb", "vw_squarecb_k"),
    "linucb_rounds_over_vw_cover": ("linucb", "vw_cover"),
    "squarecb_rounds_over_vw": ("squarecb", "vw_squarecb"),
    "linucb_rounds_over_contextualbandits": ("linucb", "contextualbandits_linucb"),
    "linucb_batched_rounds_over_contextualbandits": (
        "linucb_16",
        "contextualbandits_linucb_16",
    ),
    "linucb_rounds_over_mabwiser": ("linucb", "mabwiser_linucb"),
}
# figure -> (ours, the other's); the highest over the cases is the headline
DIFFERENCES = {
    "linucb_regret_minus_vw": ("linucb", "vw_squarecb"),
    "linucb_batched_regret_minus_vw": ("linucb_16", "vw_squarecb_16"),
    "linucb_regret_minus_vw_k": ("linucb", "vw_squarecb_k"),
    "linucb_regret_minus_vw_cover": ("linucb", "vw_cover"),
    "squarecb_regret_minus_vw": ("squarecb", "vw_squarecb"),
    "linucb_regret_minus_contextualbandits": ("linucb", "contextualbandits_linucb"),
    "linucb_batched_regret_minus_contextualbandits": (
        "linucb_16",
        "contextualbandits_linucb_16",
    ),
    "linucb_regret_minus_mabwiser": ("linucb", "mabwiser_linucb"),
}


def bandit_figures(rows: Sequence[SpeedRow]) -> dict[str, float | Interval]:
    """Compare ours with the others, case by case.

    Parameters
    ----------
    rows
        Measurements of the contest.

    Returns
    -------
    dict
        Each figure of ``RATIOS`` and ``DIFFERENCES`` for the case in which it is worst for us, and
        with ``_<case>`` behind its name for every case. Figures of absent competitors are left out.
    """
    cases = list(dict.fromkeys(row.case for row in rows))
    figures: dict[str, float | Interval] = {}
    for names, compare, worst in (
        (RATIOS, rate_ratio, min),
        (DIFFERENCES, quality_difference, max),
    ):
        for figure, (own, other) in names.items():
            found = {}
            for case in cases:
                pair = [rows_of(rows, case=case, competitor=name) for name in (own, other)]
                if all(pair):
                    found[case] = compare(*pair)
            if found:
                figures[figure] = worst(found.values(), key=lambda interval: interval.value)
                figures.update({f"{figure}_{case}": value for case, value in found.items()})
    return figures


def bandit_section(
    rows: Sequence[SpeedRow],
    figures: Mapping[str, float | Interval],
    *,
    labels: Mapping[str, str],
    entries: Sequence[Competitor],
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    rows
        Measurements.
    figures
        From `bandit_figures`.
    labels
        Competitor -> text of its line.
    entries
        All entries, also those that are not installed.
    """
    cases = list(dict.fromkeys(row.case for row in rows))
    parts = ["## Bandits", _method(rows)]
    for case in cases:
        rounds = next(row.count for row in rows if row.case == case)
        parts += [
            f"### {case.capitalize()}: {rounds:,} rounds",
            speed_table(rows, case=case, names=labels, unit="rounds", quality="regret per round"),
        ]
    parts += ["### How many times as fast, and with how much regret", _ratios(figures, cases)]
    parts += ["### Settings that tuning chose", _settings(rows, labels, cases)]
    absent = sorted({entry.package for entry in entries if not entry.installed})
    if absent:
        names = [entry.name for entry in entries if not entry.installed]
        parts.append(
            f"Not installed, so not measured: {', '.join(absent)} ({', '.join(names)}). "
            "`pip install routing-gym[peers]` brings them."
        )
    return "\n\n".join(parts)


def _method(rows: Sequence[SpeedRow]) -> str:
    """Say what was measured and how."""
    repeats = len({row.repeat for row in rows})
    queries = max((row.count for row in rows if row.case == "synthetic"), default=0)
    return (
        f"Every competitor meets the same {repeats} streams per case: the same queries in the same "
        "order, the same contexts (32 principal components and an intercept) and the same rewards. "
        "*Table* is the train split under the default reward, two shuffled passes; *synthetic* is "
        f"one pass over {queries:,} queries with embeddings of 384 dimensions and 6 actions, a new "
        "problem per stream, with noisy rewards. Settings are tuned on other queries (the "
        "validation split; other problems), six per algorithm, by regret. Batch 1 is strictly "
        "sequential: each reward is known before the next decision; at batch 16 all rewards of a "
        "batch come after its last decision, for whoever is compared at 16. Only decisions and "
        "updates are timed, each with its own conversion of the context and the loop around it, in "
        "one thread; competitors take turns within each repeat. Rates are medians over the "
        "repeats with bootstrap 95 % intervals, ratios medians of the paired ratios of CPU time; "
        "regret (lower is better) has Student's 95 % interval over the streams.\n\n"
        "Vowpal Wabbit's SquareCB and cover run with `--cb_explore_adf` and one linear model per "
        "action, each example parsed once (`routing_gym.agents.vowpal`), the fastest form "
        "of comparable regret among the documented ones; *from text* is the form of its tutorials. "
        "`--cb_explore K` is the variant for actions without features: faster, with its regret "
        "beside. contextualbandits' BootstrappedTS is left out: it fits ten classifiers per action "
        "and update."
    )


def _ratios(figures: Mapping[str, float | Interval], cases: Sequence[str]) -> str:
    """Tabulate the figures by case."""
    lines = []
    for name in (*RATIOS, *DIFFERENCES):
        if name not in figures:
            continue
        digits, signed = (1, False) if name in RATIOS else (4, True)
        cells = [figures.get(f"{name}_{case}") for case in cases]
        texts = [
            format_interval(cell, digits=digits, signed=signed)
            if isinstance(cell, Interval)
            else "–"
            for cell in cells
        ]
        lines.append([f"`{name}`", *texts])
    return markdown_table(["figure", *(f"{case} [95 %]" for case in cases)], lines)


def _settings(rows: Sequence[SpeedRow], labels: Mapping[str, str], cases: Sequence[str]) -> str:
    """Tabulate what tuning chose."""
    lines = []
    for name, text in labels.items():
        chosen = [rows_of(rows, case=case, competitor=name) for case in cases]
        if all(chosen):
            lines.append([text, *(own[0].settings for own in chosen)])
    return markdown_table(["competitor", *cases], lines)
