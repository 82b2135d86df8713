"""Reports of off-policy evaluation: one log and its target policy, and the study against truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from routing_gym.benchmark.off_policy_result import OffPolicyEvaluation
from routing_gym.benchmark.off_policy_study import RECOMMENDED, StudyRow, StudySettings, headline
from routing_gym.benchmark.report import UNDEFINED, figures_table, format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval

Figures = dict[str, float | Interval]
CONSISTENT = ("ips", "snips", "dr", "sndr", RECOMMENDED)
EVALUATION_NOTES = """\
`normal`: jackknife error and a quantile corrected for skewness. `bernstein`: holds for a log of any
size as long as no weight can exceed {max_weight}; wide. `minus logged`: the estimate minus the mean
reward of the logged decisions, paired. `*`: stays biased however long the log is (by the model, or
by the shrunk weights), so that its interval is no promise. Parameter: the tuned clip, threshold or
lambda."""
STUDY_INTRODUCTION = """\
The truth is known: the full-information table gives the value of every policy. Logs are drawn from
it (queries uniformly with replacement, adapters from the logging policy, the table's reward); every
estimator sees only the log. The population is the {population} split; policies, clusters and agents
were learned on the train split.

Theoretical bounds, per decision and divided by the size of the log: IPS its exact variance; SNIPS
its asymptotic variance E[w^2 (r - V)^2]; DR and SNDR the semiparametric efficiency bound with known
propensities, E[w^2 sigma^2] + Var[v], where the context is what the model sees (one of {clusters}
clusters of the query's embedding) together with both policies' distributions on the query, and
sigma^2 and v are the table's own conditional variance and mean. Were the context the whole query,
every reward would be certain and the bound lower still ("full table"): no model that has to predict
queries it has not seen attains that one; it is shown beside."""
STUDY_FIGURES = """\
`*_rmse_over_bound`: the worst scenario at {largest} decisions per log. `coverage_min`, `_max`: over
IPS, SNIPS, DR, SNDR and the recommended one (SNIPS or SNDR, by estimated error), normal intervals,
over the `coverage_cells` pairs of scenario and size of which at least half of the logs are safe
(effective sample size of at least {safe_effective:g}, no decision above {safe_share:.0%} of all
weight), and over their safe logs. `coverage_all_logs_min`: over all logs of these cells;
`coverage_everywhere_min`: over all logs of all cells, with `coverage_cells_left_out` that nobody
should rely on, for which `scripts/evaluate_offline.py` warns.
`coverage_bootstrap_*`: the percentile bootstrap's, safe logs, at {bootstrap} decisions.
`coverage_bernstein_min`: empirical-Bernstein intervals of IPS and DR, conservative by design.
`*_ridge_*`: DR with the cross-fitted ridge on embeddings, {ridge:,} logs per scenario; its ratio to
the clusters' bound may fall below 1 because embeddings tell more than clusters do."""
STUDY_TABLES = """\
`effective`: mean effective sample size. Coverages in the tables are over all logs, also those with
little overlap ("unsafe"). The direct method and the shrunk estimators are biased; their intervals
are shown to be no promise. Every size is in estimates.csv."""


def evaluation_figures(evaluation: OffPolicyEvaluation) -> Figures:
    """Return the flat figures of one evaluation: estimates (normal intervals) and diagnostics."""
    overlap = evaluation.overlap
    figures: Figures = {"logged_reward": evaluation.logged}
    if evaluation.estimates:
        figures |= {"value": evaluation.best.normal, "value_minus_logged": evaluation.best.gain}
    figures |= {estimate.estimator: estimate.normal for estimate in evaluation.estimates}
    figures |= {
        "decisions": evaluation.decisions,
        "fallbacks": evaluation.fallbacks,
        "unrewarded": evaluation.unrewarded,
        "effective_sample_size": overlap.effective,
        "mean_weight": overlap.mean_weight,
        "max_weight": overlap.max_weight,
        "largest_share": overlap.largest_share,
        "refused": float(bool(evaluation.refusals)),
    }
    if overlap.unsupported is not None:
        figures["unsupported_mass"] = overlap.unsupported
    return figures


def evaluation_json(evaluation: OffPolicyEvaluation) -> str:
    """Write everything that is known of one evaluation as JSON."""
    content = asdict(evaluation)
    for estimate in content["estimates"]:
        del estimate["terms"]  # as long as the log
    content["overlap"]["quantiles"] = {
        f"{level:g}": weight for level, weight in evaluation.overlap.quantiles.items()
    }
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def evaluation_table(evaluation: OffPolicyEvaluation) -> str:
    """Format the estimates as a Markdown table; the recommended one first, in bold."""
    first = [e for e in evaluation.estimates if e.estimator == evaluation.recommended]
    rest = [e for e in evaluation.estimates if e.estimator != evaluation.recommended]
    lines = [
        [
            f"**{e.estimator}**" if e in first else e.estimator + "*" * e.biased,
            format_interval(e.normal),
            format_interval(e.bootstrap),
            format_interval(e.bernstein) if e.bernstein else UNDEFINED,
            format_interval(e.gain, signed=True),
            UNDEFINED if e.parameter is None else f"{e.parameter:.3g}",
        ]
        for e in first + rest
    ]
    header = ["estimator", "normal", "bootstrap", "bernstein", "minus logged", "parameter"]
    return markdown_table(header, lines)


def overlap_table(evaluation: OffPolicyEvaluation) -> str:
    """Format the diagnostics as a Markdown table."""
    overlap = evaluation.overlap
    unsupported = "not logged" if overlap.unsupported is None else f"{overlap.unsupported:.2%}"
    quantiles = {f"weight, {q:.0%} quantile": w for q, w in overlap.quantiles.items() if q < 1}
    lines = [
        ["decisions that count", str(evaluation.decisions)],
        ["left out: fallbacks", str(evaluation.fallbacks)],
        ["left out: no reward yet", str(evaluation.unrewarded)],
        ["effective sample size", f"{overlap.effective:.1f} ({overlap.effective_share:.1%})"],
        ["target's mass without support", unsupported],
        [
            "mean weight (1 expected)",
            f"{overlap.mean_weight:.3f} +- {overlap.mean_weight_error:.3f}",
        ],
        *([name, f"{weight:.3g}"] for name, weight in quantiles.items()),
        ["largest weight", f"{overlap.max_weight:.3g} ({overlap.largest_share:.1%} of all weight)"],
        ["decisions with weight above 0", f"{overlap.matched:.1%}"],
    ]
    return markdown_table(["overlap", ""], lines)


def evaluation_markdown(evaluation: OffPolicyEvaluation, *, max_weight: str) -> str:
    """Write one evaluation for people; `max_weight` words what the Bernstein intervals assume."""
    parts = [f"# Off-policy evaluation of {evaluation.target}", verdict(evaluation)]
    if evaluation.estimates:
        parts += [evaluation_table(evaluation), EVALUATION_NOTES.format(max_weight=max_weight)]
        parts += [f"Reward model: {evaluation.model}, cross-fitted."]
    return "\n\n".join([*parts, "## Overlap", overlap_table(evaluation)]) + "\n"


def verdict(evaluation: OffPolicyEvaluation) -> str:
    """Say in words what the log allows to be said."""
    logged = f"The logged decisions earned {format_interval(evaluation.logged)} on average."
    if evaluation.refusals:
        return f"**Refused**: {'; '.join(evaluation.refusals)}.\n\n{logged}"
    best = evaluation.best
    text = (
        f"{evaluation.target} would have earned **{format_interval(best.normal)}** "
        f"({best.estimator}, recommended), {format_interval(best.gain, signed=True)} against the "
        f"logged policy. {logged}"
    )
    notes = "".join(f"\n\nCaution: {caution}." for caution in evaluation.cautions)
    return text + notes


def study_figures(
    rows: Sequence[StudyRow], *, ridge: Sequence[StudyRow] = (), full_table: float = float("nan")
) -> Figures:
    """Compute the headline figures of the study.

    Parameters
    ----------
    rows
        With the model "cells".
    ridge
        With the model "ridge" on embeddings; may be empty.
    full_table
        Worst ratio of DR's RMSE to the bound of the full table, for the record.
    """
    figures: Figures = {}
    for name in ("snips", "dr", "sndr", "ips"):
        figures[f"{name}_rmse_over_bound"] = _largest(headline(rows, estimator=name)[0])
    covered = [c for name in CONSISTENT for c in headline(rows, estimator=name)[1]]
    figures |= _extremes("coverage", covered)
    cells = {(row.logging, row.target, row.size): row.safe >= 0.5 for row in rows}
    figures["coverage_cells"] = float(sum(cells.values()))
    figures["coverage_cells_left_out"] = float(len(cells) - sum(cells.values()))
    every = [row for row in rows if row.estimator in CONSISTENT and "all" in row.coverage]
    kept = [row.coverage["all"] for row in every if row.safe >= 0.5]
    figures |= {"coverage_all_logs_min": min(kept)} if kept else {}
    figures["coverage_everywhere_min"] = min(row.coverage["all"] for row in every)
    names = ("snips", "dr", "sndr", RECOMMENDED)
    for kind, estimators in (("bootstrap", names), ("bernstein", ("ips", "dr"))):
        part = [c for n in estimators for c in headline(rows, estimator=n, kind=kind)[1]]
        figures |= _extremes(f"coverage_{kind}", part)
    figures["dr_rmse_over_full_table_bound"] = full_table
    if ridge:
        figures["dr_ridge_rmse_over_bound"] = _largest(headline(ridge, estimator="dr")[0])
        figures["dr_ridge_replications"] = min(row.replications for row in ridge)
        part = [c for n in ("dr", "sndr") for c in headline(ridge, estimator=n)[1]]
        figures |= _extremes("coverage_ridge", part)
    largest = max(row.size for row in rows)
    biases = [abs(r.bias) for r in rows if r.size == largest and r.estimator in CONSISTENT]
    figures["bias_max"] = max(biases)
    figures["replications"] = min(row.replications for row in rows)
    figures["monte_carlo_error_of_coverage"] = float(
        np.sqrt(0.95 * 0.05 / min(row.replications for row in rows))
    )
    return figures


def study_markdown(
    rows: Sequence[StudyRow],
    figures: Mapping[str, float | Interval],
    *,
    ridge: Sequence[StudyRow],
    population: str,
    clusters: int,
    settings: StudySettings,
) -> str:
    """Write the study for people."""
    largest = max(row.size for row in rows)
    limits = settings.limits
    parts = [
        "# Off-policy evaluation against a known truth",
        STUDY_INTRODUCTION.format(population=population, clusters=clusters),
        "## Figures",
        STUDY_FIGURES.format(
            largest=f"{largest:,}",
            safe_effective=limits.safe_effective,
            safe_share=limits.safe_share,
            ridge=min((row.replications for row in ridge), default=0),
            bootstrap=", ".join(f"{size:,}" for size in settings.bootstrap_sizes) or "no",
        ),
        figures_table(figures),
        "![error against the size of the log](error.png)",
        "![coverage](coverage.png)",
        STUDY_TABLES,
    ]
    shown = {largest, *settings.bootstrap_sizes} & {row.size for row in rows}
    for size in sorted(shown, reverse=True):
        own = [row for row in rows if row.size == size]
        parts += [f"## {size:,} decisions per log, model: means by cluster", _study_table(own)]
    for size in sorted({row.size for row in ridge}, reverse=True):
        own = [row for row in ridge if row.size == size]
        parts += [f"## {size:,} decisions per log, model: ridge on embeddings", _study_table(own)]
    return "\n\n".join(parts) + "\n"


def study_rows(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Return tidy rows for a CSV."""
    tidy = []
    for row in rows:
        flat = {k: v for k, v in asdict(row).items() if k not in ("coverage", "width")}
        flat |= {f"coverage_{kind}": share for kind, share in row.coverage.items()}
        flat |= {f"width_{kind}": width for kind, width in row.width.items()}
        tidy.append({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in flat.items()})
    return tidy


def _study_table(rows: Sequence[StudyRow]) -> str:
    """Format the rows of one size: a line per scenario and estimator."""
    lines = [
        [
            f"{row.logging} → {row.target}",
            row.estimator,
            f"{row.effective:.0f}" + ("" if row.safe >= 0.5 else " (unsafe)"),
            f"{row.truth:.3f}",
            f"{row.bias:+.4f} ± {row.bias_error:.4f}",
            f"{row.rmse:.4f}",
            f"{row.over_bound:.3f}" if np.isfinite(row.bound) else UNDEFINED,
            _share(row.coverage.get("all")),
            _share(row.coverage.get("bootstrap")),
            _share(row.coverage.get("bernstein")),
        ]
        for row in rows
    ]
    header = ["logged by → target", "estimator", "effective", "truth", "bias", "RMSE"]
    header += ["RMSE / bound", "normal covers", "bootstrap covers", "bernstein covers"]
    return markdown_table(header, lines)


def _extremes(name: str, shares: Sequence[float]) -> Figures:
    """Smallest and largest share; nothing where there is none."""
    return {f"{name}_min": min(shares), f"{name}_max": max(shares)} if shares else {}


def _largest(ratios: Sequence[float]) -> float:
    """Return the largest ratio; nan, which a summary leaves out, where there is none."""
    return max(ratios, default=float("nan"))


def _share(share: float | None) -> str:
    """Write a share that may not exist."""
    return UNDEFINED if share is None else f"{share:.3f}"


def _finite(content: Any) -> Any:
    """Replace infinities and nan, which JSON lacks, by null."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
