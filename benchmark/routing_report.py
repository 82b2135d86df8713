"""The routing report: every agent under every training reward, figures, ablation, plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.benchmark import metrics, plots
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import (
    ACCURACY,
    Entry,
    ablation_figures,
    best_router,
    collect,
    routing_figures,
)
from routing_gym.benchmark.pool import memory_figures
from routing_gym.benchmark.protocol import RunRecord
from routing_gym.benchmark.report import (
    comparison_table,
    csv_text,
    figures_table,
    format_interval,
    markdown_table,
    write_report,
)
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

Entries = Mapping[tuple[str, str], Entry]

DEFINITIONS = """\
`reward` is what the self-evaluator gives, `accuracy` what the verifiers confirm. Best single
adapter: chosen on train. Gap closed: (V - best single) / (oracle - best single), in reward unless
it says accuracy. Tie-set: share of choices that are among the adapters of the best verified
accuracy, over the queries where the adapters differ / over all. Entropy: of the arm usage, divided
by ln K; near 0 the policy has collapsed onto one adapter. Reward gap: reward minus accuracy.
Quality: mean of the metrics without costs. `*`: privileged, it sees what a deployed router cannot.
Brackets: paired bootstrap 95 % intervals over seeds and test queries. Every source is in the
docstring of `benchmark/`."""


@dataclass(frozen=True)
class RoutingReport:
    """What a comparison found.

    Parameters
    ----------
    entries
        Agent and training reward -> its measurements.
    records
        All runs, failed ones included.
    figures
        The headline figures.
    yardstick
        The test split.
    bootstrap
        The shared resamples.
    reward
        Name of the self-evaluated training reward.
    """

    entries: Entries
    records: Sequence[RunRecord]
    figures: Mapping[str, float | Interval]
    yardstick: Yardstick
    bootstrap: PairedBootstrap
    reward: str

    @property
    def failures(self) -> list[RunRecord]:
        """The runs that failed."""
        return [record for record in self.records if not record.finished]

    @property
    def trainings(self) -> list[str]:
        """Names of the training rewards, in order of first appearance."""
        return list(dict.fromkeys(record.trained_on for record in self.records))

    def table(self, trained_on: str, *, wide: bool = True) -> str:
        """Format the agents of one training reward, best reward (or accuracy) first."""
        by = "accuracy" if trained_on == ACCURACY else "reward"
        rows = [entry.row for key, entry in self.entries.items() if key[1] == trained_on]
        return comparison_table(sorted(rows, key=lambda row: -getattr(row, by).value), wide=wide)


def build_routing_report(
    records: Sequence[RunRecord],
    yardstick: Yardstick,
    *,
    reward: str,
    pool_folder: Path,
    resamples: int = 2000,
    seed: int = 0,
) -> RoutingReport:
    """Measure the decisions that the runs recorded.

    Parameters
    ----------
    records
        From `routing_gym.benchmark.protocol.run_comparison`.
    yardstick
        The test split, priced by the reward named `reward`.
    reward
        Name of the self-evaluated training reward.
    pool_folder
        The pool's report, for the measured memory.
    resamples, seed
        Of the bootstrap.
    """
    bootstrap = yardstick.bootstrap(seed=seed, resamples=resamples)
    stratified = yardstick.bootstrap(seed=seed, resamples=resamples, by_task=True)
    entries = collect(records, yardstick, bootstrap=bootstrap, stratified=stratified)
    figures = routing_figures(entries, yardstick, bootstrap=bootstrap, reward=reward)
    figures |= memory_figures(pool_folder)
    return RoutingReport(
        entries=entries,
        records=records,
        figures=figures,
        yardstick=yardstick,
        bootstrap=bootstrap,
        reward=reward,
    )


def write_routing_report(report: RoutingReport, folder: Path, *, command: str) -> None:
    """Write ``summary.json``, ``report.md``, ``runs.csv``, the plots and ``command.txt``.

    Parameters
    ----------
    report
        From `build_routing_report`; with no finished run there are no plots.
    folder
        ``results/routing``.
    command
        From `routing_gym.benchmark.provenance.provenance`.
    """
    rows = [entry.row for entry in report.entries.values()]
    references, caption = report.yardstick.references, _caption(report)
    adapters, seeds = report.yardstick.adapters, _seeds_caption(report)
    drawings: dict[str, Callable[[Path], None]] = {
        "comparison.png": lambda path: plots.comparison(
            rows, references, path=path, caption=caption
        ),
        "reward_against_truth.png": lambda path: plots.reward_against_truth(
            rows, references, path=path, caption=f"mean over {seeds}; arrows join the trainings"
        ),
        "arm_usage.png": lambda path: plots.arm_usage(rows, adapters, path=path, caption=seeds),
    }
    write_report(
        folder,
        figures=report.figures,
        markdown=routing_markdown(report),
        command=command,
        plots=drawings if rows else {},
        texts={"runs.csv": csv_text(run_rows(report.records, report.yardstick))},
    )


def routing_markdown(report: RoutingReport) -> str:
    """Write the report for people."""
    yardstick = report.yardstick
    parts = [
        "# Who routes best?",
        f"{len(yardstick.tasks)} test queries, {len(yardstick.adapters)} adapters "
        f"({', '.join(yardstick.adapters)}), {_num_seeds(report)} training seeds. Every agent is "
        "trained on train, tuned and chosen on validation, and judged once on test.",
        DEFINITIONS,
        _references_text(yardstick),
    ]
    if report.failures:
        parts += ["## Failed runs", _failures_table(report.failures)]
    for name in report.trainings:
        parts += [f"## Trained on {name.replace('_', '-')}", report.table(name)]
    parts += ["## Figures", _router_text(report), figures_table(report.figures)]
    parts += _truth_section(report) + _ablation_section(report)
    if report.entries:
        parts += [
            "## Plots",
            "![comparison](comparison.png)",
            "![reward against verified accuracy](reward_against_truth.png)",
            "![arm usage](arm_usage.png)",
        ]
    return "\n\n".join(parts) + "\n"


def run_rows(records: Sequence[RunRecord], yardstick: Yardstick) -> list[dict[str, object]]:
    """Turn runs into tidy rows: one per agent, training reward and seed."""
    return [_run_row(record, yardstick) for record in records]


def _run_row(record: RunRecord, yardstick: Yardstick) -> dict[str, object]:
    """Measure one run without intervals."""
    row: dict[str, object] = {
        "agent": record.agent,
        "trained_on": record.trained_on,
        "seed": record.seed,
        "status": record.status,
        "feedback": record.feedback,
        "privileged": record.privileged,
        "error": record.error,
    }
    if not record.finished:
        return row
    actions = np.array(record.test_actions)
    reward = metrics.value(yardstick.reward, actions)
    accuracy = metrics.value(yardstick.accuracy, actions)
    hits = metrics.tie_set_accuracy(actions, yardstick.accuracy)
    numbers = {
        "train_seconds": record.train_seconds,
        "validation_reward": record.validation_reward,
        "validation_accuracy": record.validation_accuracy,
        "reward": reward,
        "accuracy": accuracy,
        "gap_closed": metrics.gap_closed(
            reward,
            best_single=yardstick.references["best_single_reward"],
            oracle=yardstick.references["oracle_reward"],
        ),
        "regret": float(metrics.regret(yardstick.reward, actions).mean()),
        "entropy": metrics.arm_usage_entropy(actions, len(yardstick.adapters))[1],
        "tie_set_differ": hits.differ,
        "tie_set_all": hits.all,
        "reward_gap": metrics.reward_gap(reward, accuracy),
    }
    for name in ("quality", "seconds"):
        table = getattr(yardstick, name)
        if table is not None:
            numbers[name] = metrics.value(table, actions)
    return row | {name: f"{number:.6g}" for name, number in numbers.items()}


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


def _num_seeds(report: RoutingReport) -> int:
    """Count the seeds of the comparison."""
    return len({record.seed for record in report.records})


def _seeds_caption(report: RoutingReport) -> str:
    """Say what a plot is made of."""
    queries = len(report.yardstick.tasks)
    return f"{_num_seeds(report)} seeds, {queries} test queries"


def _caption(report: RoutingReport) -> str:
    """Say what the bands of the comparison are."""
    resamples = len(report.bootstrap.weights)
    return (
        f"Interquartile mean over {_num_seeds(report)} seeds, {len(report.yardstick.tasks)} test "
        f"queries; bands: 95 % bootstrap over seeds and queries, stratified by task "
        f"({resamples:,} resamples)"
    )
