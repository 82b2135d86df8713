from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from routing_gym.benchmark.gap_log import LogTruth, find_log_gaps
from routing_gym.benchmark.gap_log_view import arm_scores
from routing_gym.benchmark.gap_records import GapReport
from routing_gym.benchmark.gap_regions import Labels
from routing_gym.benchmark.gaps import GapSettings
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table import OutcomeTable
from tests.benchmark.gap_tables import Part, planted_table
from tests.benchmark.off_policy_logs import logged

SETTINGS = GapSettings(levels=("task",), clusters=4)
ACCURACY = {"accuracy": 1.0}


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    """Four tasks; the pool is poor on one, and another is logged by its worst adapter."""
    parts = [
        Part("fine", 150, 0.9),
        Part("poor", 150, 0.15),
        Part("misrouted", 150, 0.9, own=1),
        Part("other", 150, 0.8, own=2),
    ]
    return planted_table(parts, seed=3)


@pytest.fixture(scope="module")
def data(table: OutcomeTable) -> RoutingData:
    return table.data("train", ACCURACY)


def simulated(data: RoutingData, *, decisions: int = 4000, seed: int = 0) -> DecisionLog:
    """Log a policy that explores, and takes the wrong adapter for one task."""
    right = np.select([data.tasks == "misrouted", data.tasks == "other"], [0, 2], 0)
    policy = 0.1 + 0.7 * (right[:, None] == np.arange(3))
    return logged(data, policy / policy.sum(axis=1, keepdims=True), decisions=decisions, seed=seed)


def labelled(log: DecisionLog, data: RoutingData) -> Labels:
    row_of = {name: row for row, name in enumerate(data.query_ids)}
    assert log.query_ids is not None
    rows = np.array([row_of[name] for name in log.query_ids])
    return Labels(
        domains=np.full(len(log), ""),
        tasks=data.tasks[rows],
        complexity=np.zeros(len(log), dtype=int),
        texts=np.array([f"text {row}" for row in rows]),
        observations=log.observations,
    )


@pytest.fixture(scope="module")
def report(data: RoutingData) -> GapReport:
    log = simulated(data)
    return find_log_gaps(log, labels=labelled(log, data), settings=SETTINGS)


def test_the_log_agrees_with_the_table(data: RoutingData, report: GapReport) -> None:
    inside = []
    for gap in report.of_kind("pool"):
        rows = data.tasks == gap.region.task
        truth = data.accuracy[rows].mean(axis=0)
        for arm, name in enumerate(data.adapters):
            assert gap.arms[name].value == pytest.approx(truth[arm], abs=0.12)
            inside.append(gap.arms[name].low <= truth[arm] <= gap.arms[name].high)
        assert gap.adapter == data.adapters[int(truth.argmax())]
        assert gap.best == pytest.approx(truth.max(), abs=0.06)
        assert gap.observed.low <= 1 - truth.max() <= gap.observed.high
    assert np.mean(inside) >= 0.8


def test_values_of_adapters_are_covered(data: RoutingData) -> None:
    inside = []
    for seed in range(12):
        log = simulated(data, decisions=1500, seed=seed)
        found = find_log_gaps(log, labels=labelled(log, data), settings=SETTINGS)
        for gap in found.of_kind("pool"):
            truth = data.accuracy[data.tasks == gap.region.task].mean(axis=0)
            inside += [
                gap.arms[n].low <= truth[a] <= gap.arms[n].high for a, n in enumerate(gap.arms)
            ]
    assert np.mean(inside) > 0.9


def test_planted_gaps_come_first(data: RoutingData, report: GapReport) -> None:
    assert report.weakest("pool").region.task == "poor"
    router = report.weakest("router")
    assert (router.region.task, router.adapter) == ("misrouted", "adapter_1")
    assert router.discovered
    rows = data.tasks == "misrouted"
    means = data.accuracy[rows].mean(axis=0)
    chosen = means @ np.array([0.8, 0.1, 0.1])
    assert router.observed.low <= means[1] - chosen <= router.observed.high
    assert router.chosen == pytest.approx(chosen, abs=0.06)


def test_what_a_log_cannot_tell(report: GapReport) -> None:
    assert "one reward per decision and no truth beside it" in report.unknown["evaluator"]
    assert not report.of_kind("evaluator")
    with pytest.raises(ValueError, match=r"no gap of kind='evaluator' is known: the log holds"):
        report.weakest("evaluator")
    assert all(gap.oracle is None for gap in report.gaps)
    assert "upper bound" in " ".join(report.notes)
    assert report.weakest().examples[0].text.startswith("text ")


def test_a_truth_beside_the_log(data: RoutingData) -> None:
    log = simulated(data)
    known = labelled(log, data)
    scores = np.where(known.tasks == "fine", 0.95, 0.4)
    scores = np.where(known.tasks == "fine", scores, log.rewards)
    truth = np.where(np.arange(len(log)) % 2 == 0, log.rewards, np.nan)
    found = find_log_gaps(
        log,
        labels=known,
        truth=LogTruth(scores, np.where(known.tasks == "fine", truth * 0.5, truth)),
        settings=SETTINGS,
    )
    worst = found.weakest("evaluator")
    assert worst.region.task == "fine"
    assert worst.observed.value > 0.3
    assert worst.queries <= (known.tasks == "fine").sum() / 2 + 50
    assert worst.examples[0].truth is not None


def test_too_little_feedback_for_the_evaluator_is_said(data: RoutingData) -> None:
    log = simulated(data)
    truth = np.full(len(log), np.nan)
    truth[:3] = 1.0
    known = LogTruth(log.rewards, truth, name="users' rewards")
    found = find_log_gaps(log, labels=labelled(log, data), truth=known, settings=SETTINGS)
    assert not found.of_kind("evaluator")
    assert "a score and users' rewards are known of 3 decisions" in found.unknown["evaluator"]


def test_clusters_of_the_log_itself(data: RoutingData) -> None:
    log = simulated(data)
    found = find_log_gaps(log, settings=GapSettings(clusters=4))
    assert {gap.region.level for gap in found.gaps} == {"cluster"}
    assert GapReport.from_json(found.to_json()) == found


def test_adapters_that_a_region_never_saw(data: RoutingData) -> None:
    log = simulated(data)
    known = labelled(log, data)
    kept = ~((known.tasks == "fine") & (log.actions == 2))
    seen = {spec.name: getattr(known, spec.name) for spec in dataclasses.fields(known)}
    narrow = Labels(**{name: values[kept] for name, values in seen.items()})
    found = find_log_gaps(log.subset(kept), labels=narrow, settings=SETTINGS)
    arms = {gap.region.task: set(gap.arms) for gap in found.of_kind("pool")}
    assert arms["fine"] == {"adapter_0", "adapter_1"}
    assert len(arms["poor"]) == 3
    assert any("In 1 of 4 regions some adapters were played fewer" in n for n in found.notes)


def test_scores_by_hand() -> None:
    log = logged(planted_table([Part("a", 20, 0.5)], adapters=2).data("train", ACCURACY))
    two = log.subset(np.arange(2))
    two = dataclasses.replace(
        two,
        actions=np.array([0, 1]),
        propensities=np.array([0.5, 0.25]),
        rewards=np.array([1.0, 0.0]),
        all_propensities=None,
    )
    predictions = np.array([[0.6, 0.2], [0.5, 0.4]])
    expected = [[0.6 + (1 - 0.6) / 0.5, 0.2], [0.5, 0.4 + (0 - 0.4) / 0.25]]
    assert arm_scores(two, predictions) == pytest.approx(np.array(expected))


def test_refused_logs(data: RoutingData) -> None:
    log = simulated(data, decisions=400)
    with pytest.raises(ValueError, match="150 decisions count, fewer than 200: too few"):
        find_log_gaps(log.subset(np.arange(150)))
    with pytest.raises(ValueError, match="the log holds one adapter only"):
        find_log_gaps(log.subset(log.actions == 0))
    with pytest.raises(ValueError, match="state the range of the logged reward"):
        find_log_gaps(log, policy=OffPolicySettings(reward_high=0.5))
    few = labelled(log.subset(np.arange(10)), data)
    with pytest.raises(ValueError, match="labels are of 10 queries, the log holds 400"):
        find_log_gaps(log, labels=few)
    blind = dataclasses.replace(log, observations=None, encoders=None)
    with pytest.raises(ValueError, match="no level of"):
        find_log_gaps(blind)
