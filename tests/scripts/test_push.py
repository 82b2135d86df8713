"""The two commands, as processes that speak to a hub on loopback through HF_ENDPOINT."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from routing_gym.adapters.folder import file_names
from routing_gym.adapters.pools import load_pool
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.scripts.pull import main as pull
from routing_gym.scripts.push import main as push
from tests.hub_stand_in import HubStandIn

ROOT = Path(__file__).resolve().parents[2]
POOL = ["--kind", "pool", "--source"]

pytestmark = pytest.mark.skipif(
    not (ROOT / "adapters" / "weights").is_dir(), reason="the trained adapters are not here"
)


def command(hub: HubStandIn, name: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *options],
        env={**os.environ, **hub.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_embedded_pool_goes_to_the_hub_and_comes_back(tmp_path: Path) -> None:
    """Two processes; a third is killed in the middle of a download."""
    here = tmp_path / "here"
    with HubStandIn() as hub:
        pushed = command(hub, "push", *POOL, "default", "--target", "hf://me/pool")
        said, errors = pushed.communicate(timeout=240)
        assert pushed.returncode == 0, errors
        assert said.splitlines()[-1] == "pushed: hf://me/pool"

        reached, go_on = threading.Event(), threading.Event()

        def hold(path: str, content: bytes) -> bytes:
            if path.endswith(".safetensors"):
                reached.set()
                go_on.wait(60)
            return content

        hub.spoil = hold
        killed = command(hub, "pull", *POOL, "hf://me/pool", "--target", str(here))
        assert reached.wait(240)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
        go_on.set()
        assert not here.exists()

        pulled = command(hub, "pull", *POOL, "hf://me/pool", "--target", str(here))
        said, errors = pulled.communicate(timeout=240)
        assert pulled.returncode == 0, errors
        assert f"--pool {here / 'pool.yaml'}" in said
    spec = load_pool(str(here / "pool.yaml"))
    assert spec.fingerprint == load_pool("default").fingerprint
    assert [entry.name for entry in tmp_path.iterdir()] == ["here"]
    weights = sorted(name for name in file_names(here) if name.endswith(".safetensors"))
    for name in weights:
        assert (here / name).read_bytes() == (ROOT / "adapters" / "weights" / name).read_bytes()
    assert len(weights) == 4


def test_the_embedded_table_is_pushed_and_pulled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not DEFAULT_TABLE.is_dir():
        pytest.skip("no embedded table")
    table = OutcomeTable.load(DEFAULT_TABLE)
    shelf, here = str(tmp_path / "shelf"), str(tmp_path / "here")
    assert push(["--kind", "table", "--target", shelf, "--licence", "cc-by-4.0"]) == 0
    assert pull(["--kind", "table", "--source", shelf, "--target", here]) == 0
    said = capsys.readouterr().out
    assert f"table {table.fingerprint[:12]}: {len(table)} queries x 5" in said
    assert f"use it with --table {here}" in said
    for name in file_names(Path(here)):
        assert (Path(here) / name).read_bytes() == (DEFAULT_TABLE / name).read_bytes()
    assert "license: cc-by-4.0" in (tmp_path / "shelf" / "README.md").read_text()


@pytest.mark.parametrize("main", [push, pull])
def test_help_keeps_each_command_on_its_line(
    main: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0  # type: ignore[operator]
    lines = capsys.readouterr().out.splitlines()
    name = main.__module__.rpartition(".")[2]
    commands = [line for line in lines if line.startswith(f"    python scripts/{name}.py --kind ")]
    assert len(commands) >= 3
    assert all("--target" in line for line in commands)


@pytest.mark.parametrize(
    ("main", "options", "code", "message"),
    [
        (push, ["--kind", "pool"], 2, "target"),
        (push, ["--kind", "pool", "--target", ""], 2, "target='' is no place"),
        (push, ["--kind", "pools", "--target", "x"], 2, "kind"),
        (push, ["--kind", "pool", "--target", "hf://me"], 1, "is no repository folder"),
        (push, ["--kind", "table", "--target", "hf://me/x"], 1, "write hf://datasets/me/x"),
        (push, ["--kind", "space", "--target", "hf://me/x"], 1, "write hf://spaces/me/x"),
        (
            push,
            ["--kind", "bundle", "--source", "nowhere", "--target", "x"],
            1,
            "manifest.json is missing",
        ),
        (push, ["--kind", "pool", "--target", "hf://me/pool"], 1, "unset HF_HUB_OFFLINE"),
        (pull, ["--kind", "pool", "--target", "x", "--source", ""], 2, "source='' is no place"),
        (pull, ["--kind", "pool", "--target", "x", "--source", "hf://me/pool"], 1, "hub cannot be"),
        (
            pull,
            ["--kind", "table", "--target", "x", "--source", "nowhere"],
            1,
            "manifest.json is missing",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    main: object,
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert main(options) == code  # type: ignore[operator]
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
