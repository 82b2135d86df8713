"""What goes wrong in production, done on purpose: afterwards nothing is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from routing_gym.serving.trial_process import ServerProcess
from routing_gym.serving.trial_traffic import BROKEN, Traffic
from routing_gym.serving.trial_upstream import Upstream

SECONDS = 3.0
"""How long requests come while a fault lasts."""
KILLS = 5
_FAKETIME = "faketime/libfaketimeMT.so.1"


@dataclass
class Scene:
    """One server with its log, its upstream server and its clients.

    Parameters
    ----------
    folder
        Takes the log, copies of the bundle, and what the server prints.
    bundle
        What is served.
    upstream
        Writes the answers.
    server
        Under trial.
    traffic
        Its clients; None before the server has started.
    note
        How the fault was made.
    """

    folder: Path
    bundle: Path
    upstream: Upstream
    server: ServerProcess
    traffic: Traffic | None = None
    note: str = ""

    @property
    def log_folder(self) -> Path:
        """Folder of the decision log, which may be a file system of its own."""
        return self.folder / "log"

    def during(self, seconds: float = SECONDS) -> None:
        """Let the clients work for a while."""
        assert self.traffic is not None
        self.traffic.during(seconds)


def _nothing(scene: Scene) -> None:
    """Leave everything as it is."""


def _no_variables(folder: Path) -> Mapping[str, str]:
    """Need no environment variable."""
    return {}


@dataclass(frozen=True)
class Fault:
    """A fault: how it is prepared, and what is done while requests come.

    Parameters
    ----------
    name
        Of the fault.
    act
        Does it while requests come, and removes its cause.
    prepare, tidy
        Come before the server starts and after it has ended.
    environment
        The scene's folder -> variables of the server.
    impossible
        Returns why it cannot be done on this machine; empty if it can.
    shows
        A status that must come, or the fault has not happened; see `Acknowledged.statuses`. None
        where `act` itself sees to that.
    """

    name: str
    act: Callable[[Scene], None]
    prepare: Callable[[Scene], None] = _nothing
    tidy: Callable[[Scene], None] = _nothing
    environment: Callable[[Path], Mapping[str, str]] = _no_variables
    impossible: Callable[[], str] = str
    shows: int | None = None


def upstream_fault(mode: str, shows: int) -> Fault:
    """Make a fault of the upstream server: one of the modes of `Upstream`."""

    def act(scene: Scene) -> None:
        scene.upstream.mode = mode
        scene.during()
        scene.upstream.mode = "fine"

    return Fault(f"upstream: {mode.replace('_', ' ')}", act, shows=shows)


def _kill(scene: Scene) -> None:
    """Kill the server at random moments of the traffic and start it again on its port."""
    rng = random.Random(0)
    port = int(scene.server.url.rpartition(":")[2])
    done = threading.Event()

    def requests() -> None:
        while not done.is_set():
            scene.during(0.5)

    clients = threading.Thread(target=requests, daemon=True)
    clients.start()
    for _ in range(KILLS):
        time.sleep(0.5 + rng.random())
        scene.server.kill()
        scene.server.start(port=port)
    done.set()
    clients.join()
    scene.note = f"{KILLS} kills in the middle of requests"


def _small_disk(scene: Scene) -> None:
    """Give the log a file system of its own, of 16 MB."""
    scene.log_folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs", str(scene.log_folder)]
    subprocess.run(["mount", *options], check=True, capture_output=True)


def _remove_disk(scene: Scene) -> None:
    """Keep the log's files and take the file system away."""
    kept = scene.folder / "kept"
    shutil.copytree(scene.log_folder, kept)
    (kept / "filler").unlink(missing_ok=True)
    subprocess.run(["umount", "-l", str(scene.log_folder)], check=True, capture_output=True)
    shutil.copytree(kept, scene.log_folder, dirs_exist_ok=True)


def _fill_disk(scene: Scene) -> None:
    """Leave no byte on the log's file system, then free it."""
    filler = scene.log_folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while stream.write(bytes(size)):
                    pass
    scene.during()
    filler.unlink()
    scene.note = "a file system of 16 MB, filled to the last byte"


def _no_mounts() -> str:
    """Tell why no file system can be mounted; empty if one can."""
    if os.geteuid() != 0:
        return "needs the right to mount a file system"
    return "" if shutil.which("mount") else "needs the command mount"


def _faketime() -> Path | None:
    """Find libfaketime."""
    found = sorted(Path("/usr/lib").glob(f"*/{_FAKETIME}"))
    return found[0] if found else None


def _clock_variables(folder: Path) -> Mapping[str, str]:
    """Let the server's wall clock follow a file; the monotonic clock goes on."""
    clock = folder / "clock"
    clock.write_text("+0\n", "utf-8")
    return {
        "LD_PRELOAD": str(_faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _step_clock(scene: Scene) -> None:
    """Step the wall clock an hour back, a day forward and back again."""
    for step in ("-3600", "+86400", "+0"):
        (scene.folder / "clock").write_text(f"{step}\n", "utf-8")
        scene.during(SECONDS / 3)
    hours = _logged_hours(scene.log_folder / "decisions.db")
    scene.note = f"an hour back, a day forward, and back: the log spans {hours:.0f} hours"
    if hours < 24:
        scene.note = "DEFECT: the clock did not step"


def _logged_hours(database: Path) -> float:
    """Return the hours between the earliest and the latest time in a log."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        first, last = connection.execute("SELECT MIN(time), MAX(time) FROM decisions").fetchone()
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 3600


def _tamper(scene: Scene) -> None:
    """Restart with a bundle of which one byte was changed, then with the right one."""
    port = int(scene.server.url.rpartition(":")[2])
    policy = scene.bundle / "policy.onnx"
    content = policy.read_bytes()
    scene.server.stop()
    policy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        scene.server.start(port=port, timeout=30.0)
        scene.note = "DEFECT: the server served a changed bundle"
    except RuntimeError as error:
        printed = str(error).replace(f"{scene.folder}/", "")
        told = [line for line in printed.splitlines() if "policy.onnx" in line]
        scene.note = f"refused: {told[-1].strip()[:160]}" if told else "DEFECT: no sentence"
    finally:
        policy.write_bytes(content)
    scene.server.start(port=port)


FAULTS: tuple[Fault, ...] = (
    upstream_fault("hang", 504),
    upstream_fault("hang_later", BROKEN),
    upstream_fault("reset", BROKEN),
    upstream_fault("cut", BROKEN),
    upstream_fault("busy", 429),
    upstream_fault("error", 502),
    upstream_fault("broken_json", 502),
    upstream_fault("broken_later", BROKEN),
    Fault("disk full", _fill_disk, _small_disk, _remove_disk, impossible=_no_mounts, shows=503),
    Fault("kill -9 while logging", _kill, shows=0),
    Fault(
        "clock steps",
        _step_clock,
        environment=_clock_variables,
        impossible=lambda: "" if _faketime() else "needs libfaketime (Debian: faketime)",
    ),
    Fault("tampered bundle", _tamper),
)
