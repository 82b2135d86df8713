"""The trials themselves: what they count, and that they find what is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnx")

from routing_gym.serving import trial_faults
from routing_gym.serving.trial_audit import audit
from routing_gym.serving.trial_faults import Fault, Scene, upstream_fault
from routing_gym.serving.trial_load import Offered
from routing_gym.serving.trial_matrix import fault_matrix
from routing_gym.serving.trial_process import ServerProcess
from routing_gym.serving.trial_traffic import Acknowledged
from tests.serving.bundles import small_bundle, texts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trials")
    small_bundle(folder)
    return folder / "bundle"


def written(folder: Path, decisions: list[tuple[str, str]], feedback: dict[str, float]) -> Path:
    """A log with nothing but what an audit reads."""
    path = folder / "decisions.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE decisions (decision_id TEXT, request_id TEXT)")
        connection.execute("CREATE TABLE feedback (decision_id TEXT, source TEXT, reward REAL)")
        connection.executemany("INSERT INTO decisions VALUES (?, ?)", decisions)
        rows = [(name, "user", reward) for name, reward in feedback.items()]
        connection.executemany("INSERT INTO feedback VALUES (?, ?, ?)", rows)
    return path


TOLD = Acknowledged(
    decisions={"route-1": ("a", "b"), "completions-1": ("c",)}, feedback={"a": 0.5, "c": 1.0}
)
WHOLE = [("a", "route-1"), ("b", "route-1"), ("c", "completions-1")]


@pytest.mark.parametrize(
    ("decisions", "feedback", "lost", "doubled"),
    [
        (WHOLE, {"a": 0.5, "c": 1.0}, 0, 0),
        ([*WHOLE, ("d", "route-2")], {"a": 0.5, "b": 0.1, "c": 1.0}, 0, 0),  # not acknowledged
        (WHOLE[:2], {"a": 0.5, "c": 1.0}, 1, 0),
        (WHOLE, {"a": 0.5}, 1, 0),
        (WHOLE, {"a": 0.4, "c": 1.0}, 1, 0),  # another value
        ([*WHOLE, ("a", "route-1")], {"a": 0.5, "c": 1.0}, 0, 2),  # the id, and the request
        ([*WHOLE, ("e", "completions-1")], {"a": 0.5, "c": 1.0}, 0, 1),
    ],
)
def test_an_audit_finds_what_is_missing_and_what_is_there_twice(
    tmp_path: Path,
    decisions: list[tuple[str, str]],
    feedback: dict[str, float],
    lost: int,
    doubled: int,
) -> None:
    found = audit(written(tmp_path, decisions, feedback), TOLD)
    assert (found.lost, found.doubled) == (lost, doubled)


def test_a_load_is_counted() -> None:
    load = Offered(
        starts=np.array([0.0, 1.0, 2.0, 4.0]),
        seconds=np.array([0.1, 0.3, 0.01, 9.0]),
        statuses=np.array([200, 200, 429, 0]),
        memory=np.array([50.0, 100.0, 100.0, 120.0, 110.0]),
    )
    assert (load.refused, load.failed, load.rate) == (1, 1, 1.0)
    assert load.p99() == pytest.approx(0.298)
    assert load.memory_growth == pytest.approx(1.1)


def test_a_server_survives_faults_and_its_log_is_whole(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_faults, "SECONDS", 0.7)
    monkeypatch.setattr(trial_faults, "KILLS", 1)
    named = {fault.name: fault for fault in trial_faults.FAULTS}
    tried = [upstream_fault("busy", 429), named["kill -9 while logging"], named["tampered bundle"]]
    rows = fault_matrix(bundle, texts(8), folder=tmp_path, faults=tried)
    assert [row.passed for row in rows] == [True, True, True]
    busy, killed, tampered = rows
    assert busy.statuses[429] > 0
    assert killed.statuses[0] > 0
    assert "policy.onnx is not the file that the manifest describes" in tampered.note
    assert all(row.log is not None and row.log.decisions > 0 for row in rows)


def test_a_lost_row_fails_the_trial(bundle: Path, tmp_path: Path) -> None:
    def lose(scene: Scene) -> None:
        scene.during(0.3)
        with sqlite3.connect(scene.log_folder / "decisions.db") as connection:
            connection.execute("DELETE FROM feedback")
        assert scene.traffic is not None
        assert scene.traffic.acknowledged.feedback

    (row,) = fault_matrix(bundle, texts(8), folder=tmp_path, faults=[Fault("loss", lose)])
    assert row.log is not None
    assert row.log.lost > 0
    assert not row.passed


def test_a_fault_that_does_not_happen_does_not_pass(bundle: Path, tmp_path: Path) -> None:
    quiet = Fault("nothing", lambda scene: scene.during(0.3), shows=503)
    (row,) = fault_matrix(bundle, texts(8), folder=tmp_path, faults=[quiet])
    assert row.log is not None
    assert (row.log.lost, row.recovered, row.passed) == (0, True, False)


def test_a_fault_that_cannot_be_made_is_named_and_does_not_pass(
    bundle: Path, tmp_path: Path
) -> None:
    never = Fault("flood", lambda scene: None, impossible=lambda: "needs a river")
    (row,) = fault_matrix(bundle, texts(8), folder=tmp_path, faults=[never])
    assert (row.passed, row.note) == (False, "not done: needs a river")


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = ServerProcess(["--bundle", str(tmp_path / "none")], log=tmp_path / "log")
    with pytest.raises(RuntimeError, match=r"the server is not ready:\n.*none"):
        server.start(timeout=60)
