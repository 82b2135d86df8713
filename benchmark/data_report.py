"""The report of made data: what was made, what was refused, and what the thresholds do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from routing_gym.benchmark.plots import STYLE, finish, legend_below
from routing_gym.benchmark.report import UNDEFINED, markdown_table
from routing_gym.queries.near_duplicates import Thresholds
from routing_gym.queries.samples import Sample
from routing_gym.queries.synthesis_settings import MadeData
from routing_gym.queries.threshold_effect import GRID, Effect, Measure, Probe, effects

COLOURS = {"same": "#D55E00", "other": "#0072B2", "all": "#000000"}
NAMES: dict[Measure, str] = {
    "words": "Jaccard similarity of word shingles (MinHash)",
    "meaning": "cosine of embeddings",
}
SHOWN = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98)
_TEXT = 160


def data_report(
    title: str,
    made: MadeData,
    *,
    probes: Sequence[Probe],
    thresholds: Thresholds,
    leaks: int,
    figure: str = "",
) -> str:
    """Write the report in Markdown.

    Parameters
    ----------
    title
        What was made.
    made
        The samples and what was refused.
    probes
        Drafts measured against the evaluation; may be empty.
    thresholds
        Those that were applied.
    leaks
        Near duplicates that the exact check found.
    figure
        File name of the threshold's figure; "" for none.
    """
    parts = [
        f"# {title}",
        f"{len(made.samples)} samples. `leaks` = {leaks}: samples too near to an evaluation query, "
        "by an exact comparison of every pair.",
        "## What was made",
        _targets_table(made),
        "*Contents left*: different questions (slots) among the probing draws that no query of the "
        "validation or test split asks; *held out* says whether the others were refused in any "
        "words.",
        "## What was refused",
        _dropped_table(made.dropped),
    ]
    if probes:
        parts += ["## What a threshold does", f"Of {len(probes)} drafts, before any filter."]
        parts += [f"![Effect of the thresholds]({figure})"] if figure else []
        for measure in _measures(probes):
            chosen = getattr(thresholds, measure)
            parts += [f"### {NAMES[measure]} (applied: {chosen:g})", effect_table(probes, measure)]
            parts += [_boundary(effects(probes, measure, [chosen])[0])]
    parts += ["## Examples", *(_example(sample) for sample in made.samples[:6])]
    return "\n\n".join(parts)


def effect_table(probes: Sequence[Probe], measure: Measure) -> str:
    """Tabulate what thresholds do to drafts."""
    rows = [
        [f"{e.threshold:g}", *map(_percent, (e.removed, e.kept, e.removed_same, e.removed_other))]
        for e in effects(probes, measure, SHOWN)
    ]
    header = ["threshold", "removed", "kept", "removed: same question", "removed: other questions"]
    return markdown_table(header, rows)


def draw_effect(probes: Sequence[Probe], thresholds: Thresholds, path: Path) -> None:
    """Draw the share of drafts that each threshold removes.

    Parameters
    ----------
    probes
        Drafts measured against the evaluation, at least one.
    thresholds
        Those that were applied: a vertical line.
    path
        PNG file to write; the same as SVG comes beside it.
    """
    measures = _measures(probes)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(measures), 4.2), layout="constrained")
        panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for panel, measure in zip(panels, measures, strict=True):
            _panel(panel, effects(probes, measure, GRID), getattr(thresholds, measure))
            panel.set_xlabel(NAMES[measure])
        panels[0].set_ylabel("drafts removed (%)")
        labels = {
            "all": "all drafts",
            "same": "same question as an evaluation query",
            "other": "other questions",
        }
        handles = [
            Line2D([], [], color=COLOURS[key], ls="--" if key == "all" else "-", label=label)
            for key, label in labels.items()
        ]
        legend_below(figure, [*handles, Line2D([], [], color="#777777", ls=":", label="applied")])
        finish(figure, path, f"{len(probes)} drafts before any filter, nearest evaluation query")


def _panel(axis: Axes, found: Sequence[Effect], applied: float) -> None:
    """Draw one measure."""
    places = [effect.threshold for effect in found]
    for key, name, style in (
        ("all", "removed", "--"),
        ("same", "removed_same", "-"),
        ("other", "removed_other", "-"),
    ):
        values = [100 * getattr(effect, name) for effect in found]
        axis.plot(places, values, style, color=COLOURS[key], marker="o", markersize=3)
    axis.axvline(applied, color="#777777", linestyle=":")
    axis.set_ylim(-3, 103)
    axis.grid(axis="y", alpha=0.25)


def _measures(probes: Sequence[Probe]) -> list[Measure]:
    """Name the measures that were taken."""
    return list(probes[0].similarity)


def _targets_table(made: MadeData) -> str:
    """Tabulate the targets: samples, contents left, wording."""
    groups: dict[str, list[Sample]] = {}
    for sample in made.samples:
        groups.setdefault(f"{sample.query.task} / {sample.query.complexity}", []).append(sample)
    rows = []
    for label, group in groups.items():
        records = [sample.provenance for sample in group]
        contents = made.contents.get(label)
        left = f"{contents.left} of {contents.drawn}" if contents else UNDEFINED
        share = _percent(contents.share) if contents else UNDEFINED
        held = ("yes" if contents.held_out else "no") if contents else UNDEFINED
        varied = sum(bool(record.get("changes")) for record in records)
        other = sum("paraphraser" in record for record in records)
        near = [r["nearest"]["cosine"] for r in records if "cosine" in r.get("nearest", {})]
        closest = f"{max(near):.3f}" if near else UNDEFINED
        counts = [str(len(group)), left, share, held, str(varied), str(other), closest]
        rows.append([label, *counts])
    header = ["task / complexity", "samples", "contents left", "of the draws", "held out"]
    return markdown_table([*header, "varied by rule", "paraphrased", "nearest cosine"], rows)


def _dropped_table(dropped: Mapping[str, Mapping[str, int]]) -> str:
    """Tabulate why drafts were refused."""
    totals = Counter[str]()
    for counts in dropped.values():
        totals.update(counts)
    if not totals:
        return "Nothing."
    reasons = [reason for reason, _ in totals.most_common()]
    rows = [[label, *(str(c.get(r, 0)) for r in reasons)] for label, c in dropped.items()]
    rows.append(["all", *(str(totals[reason]) for reason in reasons)])
    return markdown_table(["task / complexity", *reasons], rows)


def _boundary(effect: Effect) -> str:
    """Show what stands on both sides of the threshold."""
    lines = []
    for side, probe in (("Removed", effect.above), ("Kept", effect.below)):
        if probe is not None:
            similarity = probe.similarity[effect.measure]
            near = probe.nearest[effect.measure]
            kind = "same question" if probe.same else "another question"
            lines.append(
                f"- {side} at {similarity:.3f} ({kind}): “{_cut(probe.text)}” beside “{_cut(near)}”"
            )
    return "\n".join(lines)


def _example(sample: Sample) -> str:
    """Show one sample."""
    return f"- {_cut(sample.query.text)} → `{_cut(sample.target)}`"


def _cut(text: str) -> str:
    """Put a text on one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _TEXT else line[: _TEXT - 1] + "…"


def _percent(share: float) -> str:
    """Write a share."""
    return UNDEFINED if math.isnan(share) else f"{100 * share:.1f} %"
