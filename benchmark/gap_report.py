"""A report of gaps as figures and as text for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from routing_gym.benchmark.gap_records import (
    KINDS,
    LEVEL_NAMES,
    LEVELS,
    LOGGING_POLICY,
    Gap,
    GapExample,
    GapReport,
)
from routing_gym.benchmark.report import (
    UNDEFINED,
    figures_table,
    format_interval,
    markdown_table,
)
from routing_gym.benchmark.statistics import Interval

SHOWN = 8  # regions of each table
EXPLAINED = 3  # regions with examples, of each kind
TITLES = {
    "pool": "Where the pool is poor",
    "router": "Where the router is poor",
    "evaluator": "Where the self-evaluator is wrong",
}
OF_TABLE = {
    "pool": "Gap: 1 minus the accuracy of the best answer of all adapters. Even a perfect router "
    "loses it; better or more adapters could win it. `best`: accuracy of the best single adapter.",
    "router": "Gap: accuracy of the best answer minus that of the chosen one. The best of several "
    "answers is partly luck where an adapter can guess, so this is an upper bound; `best`, the "
    "accuracy of the region's best single adapter in hindsight, can be reached surely.",
    "evaluator": "Gap: mean score minus mean accuracy of one adapter's answers; above 0 they are "
    "rated too high. The share is one of all answers.",
}
OF_LOG = {
    "pool": "Gap: the highest possible reward minus the estimated value of the best single adapter "
    "there: an upper bound, for the best answer to a single query is never seen.",
    "router": "Gap: the estimated value of the best single adapter (chosen on other decisions) "
    "minus what was earned: a lower bound, for a choice query by query could win more.",
    "evaluator": "Gap: mean score minus mean truth of one adapter's logged answers; above 0 they "
    "are rated too high.",
}
METHOD = """\
Regions come from labels and embeddings alone, never from outcomes. Small regions are not over-read:

- *Shrinkage.* Within a level, gaps are drawn towards their centre, the more the fewer queries they
  rest on: empirical Bayes in the normal-normal model (Efron & Morris 1975), the spread between
  regions a mixture of scales (Stephens 2017); the evaluator's gaps in units of the error that
  calibrated scores would have. The gain is the region's share
  times its shrunken gap: what closing it adds to the mean over all queries.
- *Tests.* {tests}
- *False discoveries.* Over all regions of a kind, `scipy.stats.false_discovery_control`
  ({method}); regions with q up to {fdr:g} are in bold. Others may still gain much, by their size:
  nothing is claimed of how they differ."""
TABLE_TESTS = """Pool and router: whether the region's gap is above that of random groups of its
  size (hypergeometric, or by permutation). Evaluator: whether answers are right as often as their
  scores say (Poisson-binomial)."""
LOG_TESTS = """Pool: whether the region's gap is above that of the others (Welch). Router: whether
  the best single adapter earns more than was earned (one-sided t test). Evaluator: whether answers
  are right as often as their scores say (Poisson-binomial). Values are means of doubly robust
  scores with a cross-fitted model (Dudík, Langford & Li 2011)."""


def gap_figures(report: GapReport) -> dict[str, float | Interval]:
    """List the headline figures: of each kind the weakest region of the finest named level."""
    figures: dict[str, float | Interval] = {"queries": float(report.queries)}
    figures |= dict(report.overall)
    for kind in KINDS:
        gaps = report.of_kind(kind)
        if not gaps:
            continue
        figures[f"{kind}_regions"] = float(len(gaps))
        figures[f"{kind}_discovered"] = float(len(report.of_kind(kind, discovered=True)))
        first = report.weakest(kind, headline_level(report, kind=kind))
        figures[f"weakest_{kind}_gap"] = first.shrunken
        figures[f"weakest_{kind}_gain"] = first.gain_interval
        figures[f"weakest_{kind}_queries"] = float(first.queries)
    return figures


def headline_level(report: GapReport, *, kind: str = "") -> str:
    """Return the level that is reported first: tasks where they are known, else clusters.

    With a kind, the first at which it was judged: the router may be, on too few queries, by domain
    only.
    """
    present = {gap.region.level for gap in report.gaps if kind in ("", gap.kind)}
    order = ("task", "cluster", "domain", "task_complexity")
    return next(level for level in order if level in present)


def from_log(report: GapReport) -> bool:
    """Whether the gaps come from logged decisions, not from a table."""
    return report.router == LOGGING_POLICY


def gap_markdown(report: GapReport) -> str:
    """Write the report for people."""
    logged = from_log(report)
    unit = "decisions" if logged else "queries"
    read = f", splits {', '.join(report.splits)}" if report.splits else ""
    parts = [
        "# Gaps: where it would pay to improve",
        f"{report.queries} {unit} of {report.source}{read}; {len(report.adapters)} adapters "
        f"({', '.join(report.adapters)}).",
        f"Chosen by: {report.router.rstrip('.') or 'nobody known'}.",
        *(f"- {note}" for note in report.notes),
        figures_table(report.overall),
        "![gaps](gaps.png)",
    ]
    for kind in KINDS:
        parts += _section(report, kind, (OF_LOG if logged else OF_TABLE)[kind])
    method = {"bh": "Benjamini & Hochberg 1995", "by": "Benjamini & Yekutieli 2001"}
    parts += [
        "## How it was judged",
        METHOD.format(
            tests=LOG_TESTS if logged else TABLE_TESTS,
            method=method[str(report.settings["method"])],
            fdr=report.settings["fdr"],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def gap_table(gaps: tuple[Gap, ...], *, shown: int = SHOWN) -> str:
    """Format the first gaps of a list as a Markdown table; discovered ones in bold."""
    columns: dict[str, Callable[[Gap], str]] = {
        "region": _region,
        "n": lambda gap: str(gap.queries),
        "share": lambda gap: f"{gap.share:.1%}",
        "gap": lambda gap: format_interval(gap.observed, digits=2, signed=gap.kind == "evaluator"),
        "shrunken": lambda gap: format_interval(
            gap.shrunken, digits=2, signed=gap.kind == "evaluator"
        ),
        "q": lambda gap: "<0.001" if gap.q_value < 0.001 else f"{gap.q_value:.3f}",
        "gain": lambda gap: f"{gap.gain:.4f}",
        "oracle": lambda gap: _number(gap.oracle),
        "chosen": lambda gap: _number(gap.chosen),
        "score": lambda gap: _number(gap.reward),
        "adapter": lambda gap: gap.adapter or UNDEFINED,
        "best": lambda gap: _number(gap.best),
    }
    if gaps and gaps[0].kind == "evaluator":
        columns = {name: cell for name, cell in columns.items() if name not in HIDDEN}
        columns["accuracy"] = lambda gap: _number(
            gap.arms[gap.adapter].value if gap.adapter in gap.arms else None
        )
    first = gaps[:shown]
    cells = {name: [cell(gap) for gap in first] for name, cell in columns.items()}
    kept = {name: lines for name, lines in cells.items() if set(lines) != {UNDEFINED}}
    return markdown_table(list(kept), [list(line) for line in zip(*kept.values(), strict=True)])


HIDDEN = ("oracle", "chosen", "best")


def _section(report: GapReport, kind: str, meaning: str) -> list[str]:
    """Write one kind: its meaning, a table per level, examples of the first regions."""
    parts = [f"## {TITLES[kind]}"]
    gaps = report.of_kind(kind)
    if not gaps:
        return [*parts, f"Not known: {report.unknown.get(kind, 'no region was judged.')}"]
    parts.append(meaning)
    first = headline_level(report, kind=kind)
    for level in sorted(LEVELS, key=lambda level: (level != first, LEVELS.index(level))):
        found = report.of_kind(kind, level=level)
        if found:
            sure = sum(gap.discovered for gap in found)
            title = f"By {LEVEL_NAMES.get(level, level)}: {len(found)} regions, {sure} discovered"
            parts += [f"### {title}", gap_table(found)]
    shown = report.of_kind(kind, level=first)[:EXPLAINED]
    return [*parts, "### Examples", *(text for gap in shown if (text := _examples(gap)))]


def _examples(gap: Gap) -> str:
    """List the examples of one region."""
    if not gap.examples:
        return ""
    title = gap.region.label + (f", {gap.adapter}" if gap.kind == "evaluator" else "")
    return "\n".join([f"**{title}**\n", *(_example(example) for example in gap.examples)])


def _example(example: GapExample) -> str:
    """Write one query with its answers, on indented lines."""
    given = {"score": example.score, "truth": example.truth}
    lines = [
        f"- {_plain(example.text) or example.query_id}",
        f"  - {example.adapter}{_quoted(example.answer)}{_figures(given)}",
    ]
    if example.best_adapter and example.best_adapter != example.adapter:
        best = _quoted(example.best_answer) + _figures({"truth": example.best_truth})
        lines.append(f"  - best: {example.best_adapter}{best}")
    return "\n".join(lines)


def _figures(values: Mapping[str, float | None]) -> str:
    """Write what is known of an answer in brackets."""
    known = [f"{name} {value:.2f}" for name, value in values.items() if value is not None]
    return f" ({', '.join(known)})" if known else ""


def _quoted(answer: str) -> str:
    """Write an answer as code, so that nothing in it is read as Markdown."""
    text = _plain(answer).replace("`", "'")
    return f": `{text}`" if text else ""


def _plain(text: str) -> str:
    """Put a text on one line."""
    return " ".join(text.split())


def _region(gap: Gap) -> str:
    """Name a gap's region in a cell of a table, in bold if it was discovered."""
    label = gap.region.label.replace("|", "\\|")
    return f"**{label}**" if gap.discovered else label


def _number(value: float | None) -> str:
    """Write a figure that may not be known."""
    return UNDEFINED if value is None else f"{value:.2f}"
