from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.agents.random import RandomAgent
from routing_gym.benchmark.execution import Job, run_job, run_jobs
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits, read_record
from routing_gym.benchmark.traces import frontier, learning_curve
from routing_gym.envs.executor import Done, Failure, Item, Worker, WorkerDied
from tests.agents.problems import by_hand
from tests.synthetic import identity_table


class BrokenAgent(BestSingleAgent):
    """An agent whose training fails."""

    name = "broken"

    def _fit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("the reward\nwent away")


class SlowAgent(BestSingleAgent):
    """An agent that takes its time."""

    name = "slow"

    def _fit(self, *parts: Any, **options: Any) -> None:
        time.sleep(0.5)
        super()._fit(*parts, **options)


class LopsidedAgent(RandomAgent):
    """An agent whose probabilities do not sum to one."""

    name = "lopsided"

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return np.full((len(observations), len(self.adapters)), 0.3)

    def decide(self, observations: np.ndarray, **options: Any) -> Any:
        return super(RandomAgent, self).decide(observations, **options)


class CurveAgent(BestSingleAgent):
    """An agent that has recorded a curve."""

    feedback = "bandit"

    def __init__(self, rows: list[tuple[int, str, str, float]]) -> None:
        super().__init__()
        names = ("step", "split", "quantity", "value")
        self.curves = [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def splits() -> Splits:
    table = identity_table(n=120)
    return Splits(*(table.data(name) for name in ("train", "validation", "test")))


def job(folder: Path, name: str = "knn", *, seed: int = 0, **changes: Any) -> Job:
    spec = AgentSpec(name, changes.pop("options", {}))
    path = folder / f"{spec.label}-{seed}.json"
    return Job(spec, "r", seed, f"{name}-{seed}", path, **changes)


def timeless(records: list[RunRecord]) -> list[RunRecord]:
    return [replace(record, train_seconds=0.0) for record in records]


def test_a_learning_curve_by_hand() -> None:
    agent = CurveAgent(
        [
            (0, "validation", "reward", 0.5),
            (10, "train", "regret", 0.4),  # of each of the first 10 outcomes
            (10, "validation", "reward", 0.6),
            (30, "train", "regret", 0.1),  # of each of the next 20
            (30, "validation", "accuracy", 0.9),
            (20, "validation", "reward", 0.7),  # between two accounts of the regret
            (30, "validation", "reward", 0.8),
        ]
    )
    curve = learning_curve(agent)
    assert [point.outcomes for point in curve] == [0, 10, 20, 30]
    assert [point.reward for point in curve] == [0.5, 0.6, 0.7, 0.8]
    assert [point.regret for point in curve] == pytest.approx([0, 4, 5, 6])


def test_an_agent_without_a_stream_has_no_curve() -> None:
    assert learning_curve(CurveAgent([])) == ()
    assert learning_curve(BestSingleAgent()) == ()


def test_regret_of_a_bandit_is_what_its_history_says(splits: Splits) -> None:
    agent = AgentSpec("linucb", {"evaluate_every": 32}).build()
    agent.train(splits.train, validation=splits.validation, seed=0)
    curve = learning_curve(agent)
    history: Any = agent.history  # type: ignore[attr-defined]
    assert [point.outcomes for point in curve] == [point.outcomes for point in history]
    assert [point.regret for point in curve] == pytest.approx([p.regret for p in history], abs=1e-4)


def priced(costs: Mapping[str, list[list[float]]]) -> Splits:
    data = by_hand([[0.2, 0.9], [0.4, 0.5]])
    arrays = {name: np.array(values, dtype=np.float32) for name, values in costs.items()}
    return Splits(*[replace(data, costs=arrays)] * 3)


def test_operating_points_by_hand() -> None:
    data = priced({"completion_tokens": [[10, 20], [10, 40]]})
    oracle = AgentSpec("oracle").build()
    oracle.train(data.train, validation=data.validation, seed=0)
    points = frontier(oracle, data)
    found = {(round(point.cost, 4), round(point.accuracy, 4)) for point in points}
    assert found == {(30.0, 0.7), (15.0, 0.65), (10.0, 0.3)}  # both, the first, no query upgraded
    assert points[-1].price == 0
    best = AgentSpec("best_single").build()
    best.train(data.train, validation=data.validation, seed=0)
    assert len({(point.cost, point.accuracy) for point in frontier(best, data)}) <= 2
    random = AgentSpec("random").build()
    random.train(data.train, validation=data.validation, seed=0)
    assert len(frontier(random, data)) == 1  # it predicts nothing


def test_without_measured_costs_there_are_no_points() -> None:
    data = priced({"seconds": [[1, 2], [1, 2]]})
    agent = AgentSpec("oracle").build()
    agent.train(data.train, validation=data.validation, seed=0)
    assert frontier(agent, data) == ()


def test_a_record_says_what_was_paid(splits: Splits, tmp_path: Path) -> None:
    cells = splits.train.rewards.size
    paid = {
        name: run_job(job(tmp_path, name, options=options), splits).outcomes
        for name, options in (("knn", {}), ("random", {}), ("linucb", {"budget": 0.25}))
    }
    assert paid == {"knn": cells, "random": 0, "linucb": cells // 4}
    half = run_job(job(tmp_path, share=0.5), splits)
    assert half.outcomes == cells // 2
    assert half.share == 0.5


def test_what_only_validation_may_see_has_no_decisions(splits: Splits, tmp_path: Path) -> None:
    record = run_job(job(tmp_path, judged=False), splits)
    assert record.finished
    assert record.test_actions == record.frontier == ()
    assert record.validation_accuracy > 0.9


def test_a_failed_run_is_a_record(splits: Splits, tmp_path: Path) -> None:
    (record,) = run_jobs([job(tmp_path, f"{__name__}:BrokenAgent")], {"r": splits})
    assert not record.finished
    assert record.error == "RuntimeError: the reward went away"
    assert "Traceback" in record.details
    assert (tmp_path / "BrokenAgent-0.json").exists()


def test_probabilities_that_do_not_sum_to_one(splits: Splits, tmp_path: Path) -> None:
    record = run_job(job(tmp_path, f"{__name__}:LopsidedAgent"), splits)
    assert not record.finished
    assert record.error.startswith("ValueError: probabilities[0] = [0.3, 0.3, 0.3, 0.3] is no dis")
    assert record.error.endswith("give values of at least 0 that sum to 1.")
    agent = LopsidedAgent()
    agent.train(splits.train, validation=splits.validation, seed=0)
    for rng in (None, np.random.default_rng(0)):
        with pytest.raises(ValueError, match="is no distribution"):
            agent.decide(splits.test.observations, rng=rng)


def test_a_stop_is_not_swallowed(splits: Splits, tmp_path: Path) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    jobs = [job(tmp_path, "random", seed=seed) for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, {"r": splits}, on_record=stop)
    assert [each.path.exists() for each in jobs] == [True, False, False]


def test_parallel_runs_are_the_same_runs_and_can_be_stopped(splits: Splits, tmp_path: Path) -> None:
    names = ["linear_thompson", "epsilon_greedy", "knn"]
    alone, jobs = (
        [job(tmp_path / place, name, seed=2) for name in names] for place in ("alone", "together")
    )
    slow = [job(tmp_path / "together", f"{__name__}:SlowAgent", seed=seed) for seed in range(20)]
    seen: dict[str, RunRecord] = {}

    def keep(record: RunRecord, skipped: bool) -> None:
        assert not skipped
        seen[record.agent] = record
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([*jobs, *slow], {"r": splits}, workers=2, on_record=keep)
    expected = run_jobs(alone, {"r": splits})
    assert all(record.finished for record in expected)
    assert timeless([seen[name] for name in names]) == timeless(expected)
    assert [read_record(each.path, key=each.key) for each in jobs] == [seen[name] for name in names]
    assert not slow[-1].path.exists()  # what had not begun is not begun


@dataclass
class Dying:
    """An executor whose workers die over some seeds."""

    seeds: tuple[int, ...]
    workers: int = 2
    swept: list[str] = field(default_factory=list)

    def map(self, work: Any, items: Sequence[Item[Job]]) -> Iterator[Done[Job, Any]]:
        for item in reversed(items):
            if item.content.seed in self.seeds:
                yield Done(item, failure=Failure(WorkerDied("died")))
            else:
                yield Done(item, *Worker(work)(item.content))

    def sweep(self, work: Any, items: Sequence[Item[Job]], *, metric: str) -> Iterator[Any]:
        self.swept.append(metric)
        return self.map(work, items)

    def close(self) -> None:
        """Hold nothing."""


def test_a_dead_worker_costs_its_own_job_alone(splits: Splits, tmp_path: Path) -> None:
    jobs = [job(tmp_path, "random", seed=seed) for seed in range(6)]
    seen: list[int] = []
    records = run_jobs(
        jobs,
        {"r": splits},
        executor=Dying((3, 4)),
        on_record=lambda run, _: seen.append(run.seed),
    )
    assert [record.seed for record in records] == list(range(6))
    assert [record.seed for record in records if not record.finished] == [3, 4]
    assert records[3].error == "WorkerDied: died"
    assert seen == list(reversed(range(6)))
    assert '"failed"' in jobs[3].path.read_text()
    again = run_jobs(jobs, {"r": splits}, executor=Dying(()))  # only what failed is tried again
    assert all(record.finished for record in again)


def test_trials_are_a_sweep(splits: Splits, tmp_path: Path) -> None:
    executor = Dying(())
    run_jobs([job(tmp_path)], {"r": splits}, executor=executor, tuning=True)
    assert executor.swept == ["validation_reward"]
