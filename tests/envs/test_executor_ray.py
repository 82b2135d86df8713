"""A real local Ray cluster of two workers: the same results, and a death costs one item."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec
from routing_gym.benchmark.protocol import Comparison, Plan, run_comparison
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits
from routing_gym.envs.collection import collect_all
from routing_gym.envs.collection_parts import Answering, outcomes_digest
from routing_gym.envs.executor import InProcess, WorkerDied, open_executor
from routing_gym.envs.executor_ray import RayExecutor
from routing_gym.queries.dataset import make_queries
from tests.envs.executor_works import BatchPool, Squaring, numbers
from tests.envs.test_executor import ROOT, alive, values, wait_for
from tests.synthetic import identity_table

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    with closing(RayExecutor(workers=2)) as ours:
        ours.connect()
        yield ours


def test_a_dead_actor_costs_its_own_item_alone(executor: RayExecutor, tmp_path: Path) -> None:
    work = Squaring(tmp_path, raises=2, kills=(4,))
    found = values(executor.map(work, numbers(*range(8))))
    assert isinstance(found.pop("n2"), ValueError)
    assert isinstance(found.pop("n4"), WorkerDied)
    assert found == {f"n{i}": i**2 for i in (0, 1, 3, 5, 6, 7)}


def test_a_sweep_is_a_run_of_tune(executor: RayExecutor, tmp_path: Path) -> None:
    work = Squaring(tmp_path, raises=1, kills_once=(2,))
    found = values(executor.sweep(work, numbers(*range(4)), metric="value"))
    assert isinstance(found.pop("n1"), ValueError)
    assert found == {"n0": 0, "n2": 4, "n3": 9}


def test_nothing_to_do_starts_nothing() -> None:
    idle = RayExecutor(workers=2)
    work = Squaring(Path())
    assert list(idle.map(work, [])) == list(idle.sweep(work, [], metric="value")) == []
    idle.close()


def test_collection_is_the_same_to_the_byte(executor: RayExecutor, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        (one / file).write_text("{}")
    spec = PoolSpec("some/model", (AdapterSpec("base"), AdapterSpec("one", one)))
    queries = make_queries({"turns": 5, "dates": 5}, seed=0)
    ticks: list[int] = []
    here, there = (
        collect_all(
            spec,
            spec.names,
            queries,
            work=Answering(partial(BatchPool, spec, dies), 4),
            executor=where,
            folder=tmp_path / name,
            flush_rows=4,
            on_rows=ticks.append,
        )
        for name, where, dies in (
            ("here", InProcess(), None),
            ("there", executor, tmp_path / "died"),
        )
    )
    assert (tmp_path / "died").is_file()
    assert outcomes_digest(here) == outcomes_digest(there)
    for name in spec.names:
        assert lines(tmp_path / "here", name) == lines(tmp_path / "there", name)
    assert sum(ticks) == 40
    assert len(ticks) == 2 * 7  # progress is told part by part


def lines(folder: Path, adapter: str) -> list[str]:
    """Read the answers in canonical order; measured seconds differ by nature."""
    content = (folder / f"answers-{adapter}.jsonl").read_text().splitlines()
    return sorted(re.sub(r'"seconds": [\d.]+', "", line) for line in content)


def test_a_comparison_is_the_same(executor: RayExecutor, tmp_path: Path) -> None:
    table = identity_table(n=120)
    splits = {"r": Splits(*(table.data(name) for name in ("train", "validation", "test")))}
    plan = Plan(seeds=[0, 1], trials=3, spaces={"knn": {"neighbours": [[1], [3], [5]]}})
    here, there = (
        run_comparison(
            [AgentSpec("knn"), AgentSpec("random")],
            splits,
            plan=plan,
            folder=tmp_path / name,
            settings={"table": "t"},
            executor=where,
        )
        for name, where in (("here", None), ("there", executor))
    )
    assert timeless(here) == timeless(there)
    assert len(there.trials) == 3
    assert here.tuned[("knn", "r")].spec == there.tuned[("knn", "r")].spec


def timeless(comparison: Comparison) -> list[RunRecord]:
    """List the runs without their training times, which are measured."""
    runs = (*comparison.records, *comparison.trials)
    assert all(run.finished for run in runs)
    return [replace(run, train_seconds=0.0) for run in runs]


DRIVER = """
import sys
from pathlib import Path
from routing_gym.envs.collection_files import append_lines, locked
from routing_gym.envs.executor_ray import RayExecutor
from tests.envs.executor_works import BatchPool, Squaring, numbers

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with locked(folder / "sealed"):
        for done in RayExecutor(workers=2).map(Squaring(folder, seconds=0.5), numbers(*range(99))):
            append_lines(folder / "sealed", [done.result.value])
"""


def test_a_killed_driver_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)]
    driver = subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.DEVNULL)
    sealed = tmp_path / "sealed"
    try:
        wait_for(lambda: sealed.exists() and sealed.read_text().count("\n") > 1)
        workers = [int(pid) for pid in (tmp_path / "opened").read_text().split()]
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    with sealed.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free at once
    wait_for(lambda: not any(map(alive, workers)))  # Ray's own agents take a minute longer
    assert sealed.read_text().endswith("\n")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", {"address": "local", "include_dashboard": False, "num_cpus": 6}),
        ("auto", {"address": "auto"}),
        ("ray://head:10001", {"address": "ray://head:10001"}),
    ],
)
def test_what_ray_is_told(
    monkeypatch: pytest.MonkeyPatch, address: str, told: dict[str, Any]
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **options: seen.update(options))
    executor = open_executor("ray", workers=3, threads=2, ray_address=address)
    assert isinstance(executor, RayExecutor)
    executor.connect()
    assert {name: seen.get(name) for name in ("address", "include_dashboard", "num_cpus")} == {
        name: told.get(name) for name in ("address", "include_dashboard", "num_cpus")
    }
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
