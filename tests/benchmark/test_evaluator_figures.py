from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.evaluator_figures import (
    ALL,
    MIX,
    PLAIN,
    QUALITY,
    accuracy_kept,
    greedy_accuracy,
    hacking_figures,
    hacking_levels,
    hacking_probes,
    kept_figures,
    ranking_figures,
    ranking_grid,
    single_metrics,
    table_scorers,
)
from routing_gym.benchmark.figures import collect
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.table import OutcomeTable
from tests.benchmark.judged import judged_table


def bootstrap(n: int, **options: int) -> PairedBootstrap:
    return PairedBootstrap(n, rng=np.random.default_rng(0), **({"resamples": 200} | options))


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return judged_table()


def value(figure: float | Interval) -> float:
    assert isinstance(figure, Interval)
    return figure.value


def test_scorers_are_metrics_then_rewards(table: OutcomeTable) -> None:
    columns = table_scorers(table)
    assert list(columns)[-2:] == [MIX, PLAIN]
    assert {"tokens", "seconds", "accuracy"}.isdisjoint(columns)
    assert QUALITY not in single_metrics(list(columns))
    scores = table.scores
    mix = 9 * scores["quality"] + 0.5 * (1 - scores["tokens"]) + 0.5 * (1 - scores["seconds"])
    np.testing.assert_allclose(columns[MIX], mix / 10, atol=1e-6)


def test_a_score_where_lower_is_better_is_turned_round(table: OutcomeTable) -> None:
    metrics = {**table.manifest.metrics, "relevance": MetricRecord(direction="lower")}
    turned = dataclasses.replace(
        table, manifest=dataclasses.replace(table.manifest, metrics=metrics)
    )
    np.testing.assert_allclose(table_scorers(turned)["relevance"], 1 - table.scores["relevance"])


def test_a_table_without_quality_is_refused(table: OutcomeTable) -> None:
    kept = {name: values for name, values in table.scores.items() if name != QUALITY}
    records = {name: table.manifest.metrics[name] for name in kept}
    manifest = dataclasses.replace(table.manifest, metrics=records)
    with pytest.raises(ValueError, match=r"lack \['quality'\].*train_quality"):
        table_scorers(dataclasses.replace(table, scores=kept, manifest=manifest))


def test_ranking_of_what_is_right_noise_and_constant(table: OutcomeTable) -> None:
    test, validation = table.where(split="test"), table.where(split="validation")
    grid = ranking_grid(test, validation, bootstrap=bootstrap(len(test)))
    assert grid.counts[ALL] == len(test) == sum(grid.counts[name] for name in grid.groups)
    assert grid.best_metric in ("coherence", "completeness", "factuality")  # all of them perfect
    assert grid.cells[grid.best_metric][ALL].auroc == Interval(1.0, 1.0, 1.0)
    noise = grid.cells["relevance"][ALL].auroc
    assert noise.low < 0.5 < noise.high
    assert grid.cells["safety"][ALL].auroc.value == 0.5
    assert not grid.cells["safety"][ALL].spearman.defined
    weakest = grid.weakest(QUALITY)
    areas = [grid.cells[QUALITY][name].auroc.value for name in grid.groups]
    assert grid.cells[QUALITY][weakest].auroc.value == min(areas)


def test_ranking_figures(table: OutcomeTable) -> None:
    test, validation = table.where(split="test"), table.where(split="validation")
    figures = ranking_figures(ranking_grid(test, validation, bootstrap=bootstrap(len(test))))
    assert value(figures["auroc_domain_min"]) <= value(figures["auroc_overall"])
    assert value(figures["auroc_best_single_metric"]) == 1.0
    gain = value(figures["auroc_overall"]) - value(figures["auroc_plain"])
    assert value(figures["auroc_gain_over_plain"]) == pytest.approx(gain)
    assert {f"auroc_{name}" for name in np.unique(table.domain)} <= set(figures)


def test_greedy_accuracy_breaks_ties_evenly() -> None:
    scores = np.array([[0.2, 0.9, 0.1], [0.5, 0.5, 0.1], [0.3, 0.3, 0.3]])
    accuracy = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(greedy_accuracy(scores, accuracy), [1.0, 0.5, 1 / 3])


def test_probes_by_hand() -> None:
    accuracy = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    columns = {
        "truth": accuracy,
        "flatterer": np.tile([0.2, 0.9], (4, 1)),  # always the second adapter
        "constant": np.full((4, 2), 0.5),
    }
    probes = hacking_probes(columns, accuracy, best_single=0, bootstrap=bootstrap(4))
    assert probes["truth"].accuracy.value == 0.75
    assert probes["truth"].overpraise.value == 0.0
    assert probes["truth"].over_best_single.value == 0.25
    assert probes["flatterer"].accuracy.value == 0.5
    assert probes["flatterer"].overpraise.value == pytest.approx(0.4)
    assert probes["constant"].accuracy.value == 0.5
    levels = hacking_levels(accuracy, best_single=0, bootstrap=bootstrap(4))
    assert [levels[name].value for name in ("random", "best_single", "oracle")] == [0.5, 0.5, 0.75]
    figures = hacking_figures(probes)
    assert value(figures["reward_hacking_truth"]) == 0.75
    assert value(figures["reward_hacking_worst"]) == 0.5


def record(agent: str, trained_on: str, actions: list[int], feedback: str = "full") -> RunRecord:
    return RunRecord(
        agent=agent,
        trained_on=trained_on,
        seed=0,
        key="",
        status="finished",
        feedback=feedback,
        test_actions=tuple(actions),
    )


def test_accuracy_kept_by_hand() -> None:
    accuracy = np.tile([[1.0, 0.0]], (10, 1))
    yardstick = Yardstick(("a", "b"), np.full(10, "task"), accuracy, accuracy, 0, 0)
    records = [
        record("ppo", "self_evaluated", [0] * 6 + [1] * 4),
        record("ppo", "accuracy", [0] * 8 + [1] * 2),
        record("knn", "self_evaluated", [0] * 10),
        record("knn", "accuracy", [0] * 10),
        record("ucb", "self_evaluated", [0] * 10),  # never trained on accuracy
        record("random", "self_evaluated", [0] * 10, "none"),
        record("random", "accuracy", [1] * 10, "none"),
    ]
    resamples = bootstrap(10)
    entries = collect(records, yardstick, bootstrap=resamples)
    kept = accuracy_kept(entries, accuracy, trained_on="self_evaluated", bootstrap=resamples)
    assert set(kept) == {"ppo", "knn"}
    assert kept["ppo"].value == pytest.approx(0.75)
    assert kept["ppo"].low < 0.75 < kept["ppo"].high
    assert kept["knn"] == Interval(1.0, 1.0, 1.0)
    figures = kept_figures(kept, agent="ppo", suffix="_plain")
    assert figures["accuracy_kept_plain"] == kept["ppo"] == figures["accuracy_kept_plain_min"]
    assert figures["accuracy_kept_plain_knn"] == kept["knn"]
