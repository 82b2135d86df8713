"""One map, here and in local processes: the same results, and a death costs one item."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from routing_gym.envs.executor import (
    Failure,
    InProcess,
    Worker,
    WorkerDied,
    limited_threads,
    open_executor,
)
from routing_gym.envs.executor_local import LocalProcesses
from tests.envs.executor_works import Squaring, numbers

ROOT = Path(__file__).resolve().parents[2]


def values(done: Any) -> dict[str, Any]:
    """Item -> its result's value, or its error."""
    return {d.item.key: d.failure.error if d.failure else d.result.value for d in done}


def test_in_this_process(tmp_path: Path) -> None:
    done = list(InProcess().map(Squaring(tmp_path, raises=1), numbers(3, 1, 2)))
    assert [d.item.key for d in done] == ["n3", "n1", "n2"]
    assert done[0].result is not None
    assert done[0].result.worker == os.getpid()
    assert done[1].result is None
    assert done[1].failure is not None
    assert str(done[1].failure.error) == "number=1 is out of luck"
    assert "Traceback" in done[1].failure.details
    assert (tmp_path / "opened").read_text() == f"{os.getpid()}\n"  # once
    assert values(InProcess().sweep(Squaring(tmp_path), numbers(5), metric="value")) == {"n5": 25}


def test_a_work_that_cannot_be_opened_fails_item_by_item(tmp_path: Path) -> None:
    done = list(InProcess().map(Squaring(tmp_path, broken=True), numbers(1, 2)))
    assert [str(d.failure and d.failure.error) for d in done] == ["there is no model"] * 2


def test_a_stop_in_this_process_passes_through(tmp_path: Path) -> None:
    class Stopping(Squaring):
        def open(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(InProcess().map(Stopping(tmp_path), numbers(1)))


def test_what_cannot_travel_is_a_failure() -> None:
    class Stubborn(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    try:
        raise Stubborn("no")
    except Stubborn as error:
        failure = Failure.of(error)
    assert repr(failure.error) == "RuntimeError('Stubborn: no')"
    assert "Stubborn: no" in failure.details

    class Handing:
        def open(self) -> Any:
            return lambda content: lambda: content

    import pickle

    result, failed = pickle.loads(Worker(Handing()).packed(pickle.dumps(1)))
    assert result is None
    assert "pickle" in str(failed.error)


def test_threads_are_limited_for_a_while() -> None:
    import torch

    before = torch.get_num_threads()
    with limited_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with limited_threads(0):
        assert torch.get_num_threads() == before


def test_dead_processes_cost_their_own_items_alone(tmp_path: Path) -> None:
    work = Squaring(tmp_path, raises=2, kills=(4,), seconds=0.02)
    found = values(LocalProcesses(2).map(work, numbers(*range(7))))
    assert isinstance(found.pop("n2"), ValueError)
    assert isinstance(found.pop("n4"), WorkerDied)
    assert found == {f"n{i}": i**2 for i in (0, 1, 3, 5, 6)}


def test_processes_compute_on_one_thread_and_stop_when_told(tmp_path: Path) -> None:
    with closing(LocalProcesses(2).map(Squaring(tmp_path, seconds=0.1), numbers(*range(50)))) as it:
        first = next(it)
        assert first.result is not None
        assert first.result.threads == "1"
        assert first.result.worker != os.getpid()
    begun = (tmp_path / "begun").read_text().split()
    assert len(begun) < 50  # what had not begun never began
    assert not alive(first.result.worker)


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from routing_gym.envs.executor_local import LocalProcesses\n"
        "from tests.envs.executor_works import Squaring, numbers\n"
        "if __name__ == '__main__':\n"
        "    work = Squaring(Path(sys.argv[1]), seconds=60)\n"
        "    list(LocalProcesses(2).map(work, numbers(1, 2)))\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(program)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=env, cwd=ROOT)
    opened = tmp_path / "opened"
    try:
        wait_for(lambda: opened.exists() and len(opened.read_text().split()) == 2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    workers = [int(pid) for pid in opened.read_text().split()]
    wait_for(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("locall", {}, "unknown executor 'locall': known are local, ray; did you mean 'local'"),
        ("local", {"workers": -1}, "workers=-1"),
        ("local", {"threads": -1}, "threads=-1"),
        ("ray", {"gpus": -0.5}, "gpus=-0.5"),
    ],
)
def test_executors_that_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_executor(name, **options)


def test_executors_by_name() -> None:
    assert open_executor("local", threads=3) == InProcess(3)
    assert open_executor("local", workers=2) == LocalProcesses(2, 1)
    assert open_executor("local", workers=0).workers == os.cpu_count()
    with pytest.raises(ValueError, match="workers=0"):
        LocalProcesses(0)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing_gym.envs.executor_ray.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'routing-gym\[ray\]'"):
        open_executor("ray")


def wait_for(condition: Any, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
