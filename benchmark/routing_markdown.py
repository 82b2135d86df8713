"""The routing report for people."""

from __future__ import annotations

from collections.abc import Sequence

from routing_gym.benchmark import metrics
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import ACCURACY, ablation_figures, best_router
from routing_gym.benchmark.report import figures_table, format_interval, markdown_table
from routing_gym.benchmark.routing_sections import (
    answer_section,
    improvement_section,
    iqm_section,
    learning_section,
    regimes_section,
    trade_off_section,
    tuning_section,
)
from routing_gym.benchmark.routing_study import RoutingReport
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval

DEFINITIONS = """\
`reward` is what the self-evaluator gives, `accuracy` what the verifiers confirm. Best single
adapter: chosen on train. Gap closed: (V - best single) / (oracle - best single), in reward unless
it says accuracy. Tie-set: share of choices that are among the adapters of the best verified
accuracy, over the queries where the adapters differ / over all. Entropy: of the arm usage, divided
by ln K; *collapsed*: over 95 % of the queries go to one adapter. Reward gap: reward minus accuracy.
Quality: mean of the metrics without costs. `*`: privileged, it sees what a deployed router cannot.
Brackets: paired bootstrap 95 % intervals over seeds and test queries. Every source is in the
docstring of `benchmark/`."""


def routing_markdown(report: RoutingReport) -> str:
    """Write the report for people."""
    yardstick = report.yardstick
    parts = [
        "# Who routes best?",
        f"{len(yardstick.tasks)} test queries, {len(yardstick.adapters)} adapters "
        f"({', '.join(yardstick.adapters)}), {report.num_seeds} training seeds. Every agent is "
        "trained on train, tuned and chosen on validation, and judged once on test.",
        DEFINITIONS,
        _references_text(yardstick),
        *answer_section(report),
    ]
    if report.failures:
        parts += ["## Failed runs", _failures_table(report.failures)]
    for name in report.trainings:
        parts += [f"## Trained on {name.replace('_', '-')}", report.table(name)]
    parts += (
        iqm_section(report)
        + regimes_section(report)
        + improvement_section(report)
        + learning_section(report)
    )
    parts += trade_off_section(report) + tuning_section(report)
    parts += ["## Figures", _router_text(report), figures_table(report.figures)]
    parts += _truth_section(report) + _ablation_section(report)
    if report.entries:
        parts += [
            "## Plots",
            "![comparison](comparison.png)",
            "![reward against verified accuracy](reward_against_truth.png)",
            "![arm usage](arm_usage.png)",
            *(["![performance profiles](profiles.png)"] if report.learned else []),
        ]
    return "\n\n".join(parts) + "\n"


def _truth_section(report: RoutingReport) -> list[str]:
    """Set each agent's two trainings side by side."""
    if not {report.reward, ACCURACY} <= set(report.trainings):
        return []
    lines = []
    for agent in dict.fromkeys(key[0] for key in report.entries):
        pair = [report.entries.get((agent, name)) for name in (report.reward, ACCURACY)]
        if pair[0] is None or pair[1] is None:
            continue
        first, second = pair[0].row, pair[1].row
        difference = report.bootstrap.difference(
            metrics.chosen(report.yardstick.accuracy, pair[1].actions),
            metrics.chosen(report.yardstick.accuracy, pair[0].actions),
        )
        numbers = (first.reward, second.reward, first.accuracy, second.accuracy)
        cells = [f"{number.value:.3f}" for number in numbers]
        lines.append([agent, *cells, format_interval(difference, signed=True)])
    header = [
        "agent",
        "reward: trained on reward",
        "on accuracy",
        "accuracy: trained on reward",
        "on accuracy",
        "accuracy lost to the reward [95 %]",
    ]
    text = (
        "Where the self-evaluated reward and the verified accuracy disagree: the same agents, "
        "trained on either. The last column is the accuracy that is lost by trusting the reward."
    )
    return ["## Reward against truth", text, markdown_table(header, lines)]


def _ablation_section(report: RoutingReport) -> list[str]:
    """Compare the supervised router's objectives, whoever wins."""
    lines = []
    for name in report.trainings:
        figures = ablation_figures(
            report.entries, report.yardstick, bootstrap=report.bootstrap, trained_on=name
        )
        for figure, interval in figures.items():
            other = figure.removeprefix("gumbel_minus_").removesuffix("_accuracy")
            lines.append([other, name, format_interval(interval, signed=True), _verdict(interval)])
    if not lines:
        return []
    text = (
        "The supervised router with its Gumbel-Softmax sample in the loss, against the same "
        "network with plain softmax and with score regression; the difference is in what was "
        "trained on."
    )
    header = ["against", "trained on", "Gumbel minus the other [95 %]", "who wins"]
    return ["## Ablation of the supervised objective", text, markdown_table(header, lines)]


def _verdict(difference: Interval) -> str:
    """Say what an interval of a difference allows to say."""
    if difference.low > 0:
        return "Gumbel"
    return "the other" if difference.high < 0 else "undecided"


def _references_text(yardstick: Yardstick) -> str:
    """Name the fixed points of every comparison."""
    levels, names = yardstick.references, yardstick.adapters
    return (
        f"Best single adapter by reward: {names[yardstick.best_by_reward]} "
        f"(reward {levels['best_single_reward']:.3f}); by accuracy: "
        f"{names[yardstick.best_by_accuracy]} (accuracy {levels['best_single_accuracy']:.3f}). "
        f"Oracle: reward {levels['oracle_reward']:.3f}, accuracy {levels['oracle_accuracy']:.3f}. "
        f"The adapters' accuracies differ on "
        f"{metrics.arms_differ(yardstick.accuracy).mean():.1%} of the test queries."
    )


def _router_text(report: RoutingReport) -> str:
    """Name the router that the gains belong to."""
    router = best_router(report.entries)
    if router is None:
        return "No learned router finished."
    return (
        f"Gains, routing accuracy, quality and seconds are those of `{router.row.agent}` trained "
        f"on {router.row.trained_on.replace('_', '-')}: the learned, deployable router with the "
        f"best validation accuracy ({router.validation_accuracy:.3f}), against the adapter with "
        f"the best train accuracy. Gains are relative (0.17 is +17 %)."
    )


def _failures_table(failures: Sequence[RunRecord]) -> str:
    """List the runs that failed with their errors."""
    lines = [[run.agent, run.trained_on, str(run.seed), run.error] for run in failures]
    return markdown_table(["agent", "trained on", "seed", "error"], lines)
