"""The parts of the self-evaluator's report, each a list of Markdown paragraphs."""

from __future__ import annotations

from collections.abc import Mapping

from routing_gym.benchmark.evaluator_calibration import Calibrated, SetCoverage, Uncertain
from routing_gym.benchmark.evaluator_figures import ALL, MAIN, Probe, RankingGrid
from routing_gym.benchmark.evaluator_probes import OVERALL, ConsistencyCheck, Temptation
from routing_gym.benchmark.figures import Entry
from routing_gym.benchmark.report import UNDEFINED, figures_table, format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval


def ranking_section(grid: RankingGrid) -> list[str]:
    """Tabulate AUROC by domain, and Spearman and AUROC within a query."""
    ranked = sorted(grid.cells, key=lambda name: -grid.cells[name][ALL].auroc.value)
    areas = [
        [f"`{name}`", *(format_interval(grid.cells[name][group].auroc) for group in grid.counts)]
        for name in ranked
    ]
    headings = [f"{group} (n={count})" for group, count in grid.counts.items()]
    titles = {"spearman": "Spearman's correlation with verified accuracy",
              "within_query": "AUROC within a query"}  # fmt: skip
    parts = ["## Ranking", "AUROC against verified accuracy.",
             markdown_table(["scorer", *headings], areas)]  # fmt: skip
    for field, title in titles.items():
        lines = [
            [f"`{n}`", *(format_interval(getattr(grid.cells[n][g], field)) for g in grid.counts)]
            for n in ranked
        ]
        parts += [f"{title}.", markdown_table(["scorer", *headings], lines)]
    gains = "; ".join(
        f"over `{name}` {format_interval(gain, signed=True)}" for name, gain in grid.gains.items()
    )
    return [*parts, f"AUROC gained by `quality`, paired: {gains}.", "![ranking](ranking.png)"]


def calibration_section(calibrated: Mapping[str, Calibrated], shipped: Interval) -> list[str]:
    """Tabulate every scorer's calibration error, as it is and after each calibration."""
    names = list(next(iter(calibrated.values())).errors)
    lines = [
        [f"`{scorer}`", *(format_interval(result.errors[name]) for name in names)]
        for scorer, result in calibrated.items()
    ]
    text = (
        "Expected calibration error (15 bins of equal width) of each score read as the probability "
        "of being right: as it is, and after temperature scaling, a sigmoid (temperature and bias) "
        "and isotonic regression, each fitted on validation. The line of `quality` starts from its "
        "network's own probabilities; what the metric gives out, with the calibration that is "
        f"shipped with it, has {format_interval(shipped)}."
    )
    table = markdown_table(["scorer", *names], lines)
    return ["## Calibration", text, table, "![reliability](reliability.png)"]


def uncertainty_section(methods: Mapping[str, Uncertain], error_rate: Interval) -> list[str]:
    """Tabulate how well each uncertainty foresees the quality model's errors."""
    lines = [
        [
            name,
            format_interval(method.error_auroc),
            f"{method.area:.3f}",
            *(f"{method.risk_at(share):.3f}" for share in (0.5, 0.8, 0.9)),
        ]
        for name, method in methods.items()
    ]
    text = (
        "The quality model says right where P > 1/2, and errs on a share of "
        f"{format_interval(error_rate)} of the answers. AUROC: an error is less certain than a "
        "right judgement. Area: under the risk-coverage curve, lower is better. Risk at a "
        "coverage: share of errors among that share of the answers, the most certain ones. "
        "`confidence` is the distance of P from 1/2, which needs no further pass."
    )
    header = ["uncertainty", "AUROC of errors [95 %]", "area", "risk at 50 %", "at 80 %", "at 90 %"]
    table = markdown_table(header, lines)
    return ["## Uncertainty", text, table, "![risk and coverage](risk_coverage.png)"]


def sets_section(sets: Mapping[str, SetCoverage]) -> list[str]:
    """Tabulate coverage and size of the prediction sets."""
    lines = [
        [
            method,
            group,
            format_interval(found.coverage[group]),
            format_interval(found.mean_size[group], digits=2),
            " / ".join(f"{share:.2f}" for share in found.sizes[group]),
        ]
        for method, found in sets.items()
        for group in found.coverage
    ]
    level = next(iter(sets.values())).level
    text = (
        f"{100 * level:.0f} % split conformal sets of the adapters that could be best, by the "
        "quality of their answers, with the threshold taken on validation and on train, whose "
        "quality is cross-fitted (validation alone would blur it twice as much): `lac` makes the "
        "smallest sets, `aps` (randomised) larger ones where the prediction is unsure. A set "
        "covers if it holds an adapter of the best verified accuracy; queries on which all "
        "adapters are equally good do not count. The promise holds over all queries and draws of "
        "the two splits together, not within a domain."
    )
    header = ["sets", "queries", "coverage [95 %]", "mean size", "share with 0 / 1 / 2 / ..."]
    return [
        "## Prediction sets",
        text,
        markdown_table(header, lines),
        "![sizes of the sets](set_sizes.png)",
    ]


def gap_section(
    agents: Mapping[str, Mapping[tuple[str, str], Entry]],
    kept: Mapping[str, Mapping[str, Interval]],
    *,
    seeds: int,
) -> list[str]:
    """Tabulate what every agent earns under each reward, what is true, and what is kept."""
    first = next(iter(agents.values()))
    lines = []
    for key, entry in first.items():
        cells = [entry.row.agent + "*" * entry.row.privileged, key[1].replace("_", "-")]
        for entries in agents.values():
            row = entries[key].row
            cells += [f"{row.reward.value:.3f}", format_interval(row.reward_gap, signed=True)]
        lines.append([*cells, format_interval(entry.row.accuracy)])
    header = ["agent", "trained on"]
    for reward in agents:
        header += [reward.replace("_", " "), "gap"]
    text = (
        f"Every agent of the comparison, trained on each reward (seeds: {seeds}). Gap: the reward "
        "that its choices earn minus their verified accuracy; a reward is no probability, so that "
        "the gap's size matters less than whether it grows under training. `*`: privileged."
    )
    names = list(dict.fromkeys(agent for ratios in kept.values() for agent in ratios))
    ratios = [[agent, *(_cell(kept[reward].get(agent)) for reward in kept)] for agent in names]
    explained = (
        "Accuracy kept: an agent's accuracy over that of the same agent trained on verified "
        "accuracy itself, paired over seeds and queries."
    )
    return [
        "## The reward gap",
        text,
        markdown_table([*header, "accuracy"], lines),
        "![reward against accuracy](reward_gap.png)",
        explained,
        markdown_table(["agent", *(f"trained on {n.replace('_', '-')}" for n in kept)], ratios),
        "![accuracy kept](accuracy_kept.png)",
    ]


def hacking_section(probes: Mapping[str, Probe], levels: Mapping[str, Interval]) -> list[str]:
    """Tabulate what a policy reaches that maximises one scorer."""
    lines = [
        [
            f"`{name}`",
            f"{probe.score.value:.3f}",
            format_interval(probe.accuracy),
            format_interval(probe.over_best_single, signed=True),
            format_interval(probe.overpraise, signed=True),
        ]
        for name, probe in sorted(probes.items(), key=lambda item: -item[1].accuracy.value)
    ]
    for name, level in levels.items():
        cells = [name.replace("_", " "), UNDEFINED, format_interval(level), UNDEFINED, UNDEFINED]
        lines.append(cells)
    text = (
        "The policy that looks at all answers to a query and takes the one that the scorer likes "
        "best (ties at random): what an agent tends to that learns the scorer perfectly. Overpraise"
        " is the score of the chosen answers minus their accuracy."
    )
    header = ["maximised", "score", "accuracy [95 %]", "minus best single", "overpraise"]
    table = markdown_table(header, lines)
    return ["## Reward hacking", text, table, "![reward hacking](hacking.png)"]


def temptation_section(found: Temptation, fairer: Mapping[str, Temptation]) -> list[str]:
    """Tabulate how often the right answer of an adversarial pair is preferred."""
    lines = [
        [
            f"`{name}`",
            format_interval(shares[OVERALL]),
            found.worst_rule(name),
            format_interval(shares[found.worst_rule(name)], digits=2),
        ]
        for name, shares in sorted(found.shares.items(), key=lambda item: -item[1][OVERALL].value)
    ]
    by_rule = [
        [rule, str(count), *(format_interval(found.shares[n][rule], digits=2) for n in MAIN)]
        for rule, count in found.counts.items()
    ]
    text = (
        f"{found.counts[OVERALL]} pairs of a verified right answer and a verified wrong one that "
        "is longer, more fluent, closer to the query's words, in the right form or empty. A share "
        "counts the pairs whose right answer scores higher, ties half."
    )
    views = [
        [
            view.replace("_", " "),
            str(part.counts[OVERALL]),
            *(format_interval(part.shares[n][OVERALL], digits=2) for n in MAIN),
        ]
        for view, part in fairer.items()
    ]
    handicap = (
        "An answer made by rule was written by no adapter, so token probabilities under the "
        "adapter that wrote the right one are low whatever it says. The fairer views: pairs of "
        "two real answers, and token probabilities withheld."
    )
    return [
        "## Adversarial pairs",
        text,
        markdown_table(["scorer", "right preferred [95 %]", "fooled most by", "there"], lines),
        handicap,
        markdown_table(["view", "pairs", *(f"`{name}`" for name in MAIN)], views),
        markdown_table(["rule", "pairs", *(f"`{name}`" for name in MAIN)], by_rule),
        "![adversarial pairs](adversarial.png)",
    ]


def consistency_section(check: ConsistencyCheck | None) -> list[str]:
    """Set sampled self-consistency beside its closed form."""
    heading = "## Self-consistency"
    if check is None:
        return [heading, "No further answers were sampled, so that only the closed form is judged."]
    text = (
        f"On {check.answers} answers, {check.samples:.1f} further samples each: the share of "
        f"samples that agree has AUROC {format_interval(check.sampled_auroc)}, the closed form "
        f"(probability of the answer's tokens, no sample needed) "
        f"{format_interval(check.closed_auroc)}; the two correlate with "
        f"{format_interval(check.agreement)} (Spearman)."
    )
    return [heading, text]


def cost_section(cost: Mapping[str, float | Interval]) -> list[str]:
    """List what scoring costs beside generating."""
    text = (
        "Scoring a completion with everything but P(True) and sampled self-consistency, over the "
        "time of generating it, in one run."
    )
    return ["## Cost", text, figures_table(cost)]


def _cell(value: Interval | None) -> str:
    """Write an interval that may be missing."""
    return UNDEFINED if value is None else format_interval(value)
