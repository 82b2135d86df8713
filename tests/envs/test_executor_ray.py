"""A real local Ray cluster of two workers: the same results, and a death costs one item."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.pools import open_pool
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.benchmark.protocol import Comparison, Plan, run_comparison
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits
from routing_gym.envs.collection import collect_all
from routing_gym.envs.collection_parts import Answered, Answering, Part, outcomes_digest
from routing_gym.envs.executor import InProcess, WorkerDied, open_executor
from routing_gym.envs.executor_ray import RayExecutor
from routing_gym.queries.dataset import make_queries
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model
from tests.envs.executor_works import Squaring, numbers
from tests.envs.test_executor import ROOT, alive, values, wait_for
from tests.synthetic import identity_table

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    with closing(RayExecutor(workers=2)) as ours:
        ours.connect()
        yield ours


@dataclass(frozen=True)
class Murdered:
    """Answers parts; the first worker that comes to the second one is killed in its midst."""

    answering: Answering
    folder: Path

    def open(self) -> Callable[[Part], Answered]:
        answer = self.answering.open()
        mark = self.folder / "murdered"

        def answer_or_die(part: Part) -> Answered:
            if part.adapter == "one" and not mark.exists():
                mark.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return answer(part)

        return answer_or_die


def test_a_dead_actor_costs_its_own_item_alone(executor: RayExecutor, tmp_path: Path) -> None:
    work = Squaring(tmp_path, raises=2, kills=(4,), kills_once=(6,))
    found = values(executor.map(work, numbers(*range(10))))
    assert isinstance(found.pop("n2"), ValueError)
    assert isinstance(found.pop("n4"), WorkerDied)
    assert found == {f"n{i}": i**2 for i in (0, 1, 3, 5, 6, 7, 8, 9)}
    assert len((tmp_path / "opened").read_text().split()) in (4, 5)  # two, and one for each death


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
    base = save_tiny_model(tmp_path / "base")
    one = save_tiny_adapter(tmp_path / "one", base, seed=1)
    spec = PoolSpec(str(base), (AdapterSpec("base"), AdapterSpec("one", one)))
    queries = make_queries({"turns": 5, "dates": 5}, seed=0)
    work = Answering(partial(open_pool, spec), 4)
    told: dict[str, Any] = {"spec": spec, "adapters": spec.names, "queries": queries}
    ticks: list[int] = []
    here, there = (
        collect_all(
            **told,
            work=doing,
            executor=where,
            folder=tmp_path / name,
            flush_rows=4,
            on_rows=ticks.append,
        )
        for name, where, doing in (
            ("here", InProcess(threads=1), work),
            ("there", executor, Murdered(work, tmp_path)),
        )
    )
    assert (tmp_path / "murdered").is_file()
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
from tests.envs.executor_works import Squaring, numbers

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
        started = children(driver.pid)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    with sealed.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free at once
    wait_for(lambda: not any(map(alive, [*started, *workers])))
    assert sealed.read_text().endswith("\n")


def children(parent: int) -> list[int]:
    """List the processes that a process has started, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        own = [int(pid) for pid in (task / "children").read_text().split()]
        found += [*own, *(pid for child in own for pid in children(child))]
    return found


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = open_executor("ray", workers=1, ray_address="127.0.0.1:1")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(OSError, match="127.0.0.1:1"):
        list(missing.map(Squaring(Path()), numbers(1)))
