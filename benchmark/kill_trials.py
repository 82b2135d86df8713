"""Commands that are killed with SIGKILL at random moments, and what is then found on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from routing_gym.benchmark.cycle_history import (
    HISTORY,
    Entry,
    current_version,
    read_history,
)
from routing_gym.benchmark.cycle_versions import VersionStore, read_version
from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES
from routing_gym.envs.manifest import MANIFEST
from routing_gym.envs.table import OutcomeTable

REPOSITORY = Path(__file__).resolve().parents[1]
MEASURED = "seconds"
"""The one quantity that two runs never share."""
RESTARTS = 3


@dataclass(frozen=True)
class Trial:
    """One command that was killed once and started again until it ended.

    Parameters
    ----------
    command
        ``"improve"`` or ``"collect_outcomes"``.
    number
        Of the trial.
    moment
        Seconds after its start at which it was killed.
    found
        What lay on disk then: the stages that were sealed, the answers collected.
    faults
        What was wrong afterwards; empty if nothing was.
    """

    command: str
    number: int
    moment: float
    found: str
    faults: tuple[str, ...]

    @property
    def survived(self) -> bool:
        """Whether everything was as without the kill."""
        return not self.faults


@dataclass(frozen=True)
class Subject:
    """A command under trial.

    Parameters
    ----------
    name
        Of the command.
    arguments
        Folder of a trial -> the script and its command line.
    ended
        Whether a folder holds its finished result, so that it need not be started again.
    look
        Folder -> what lies there while it is unfinished, in words; raises if that is not sound.
    faults
        ``(folder, reference folder) -> what differs`` from a run that nobody killed.
    """

    name: str
    arguments: Callable[[Path], Sequence[str]]
    ended: Callable[[Path], bool]
    look: Callable[[Path], str]
    faults: Callable[[Path, Path], list[str]]

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own; what it prints goes to ``log.txt``."""
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with (folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *self.arguments(folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=REPOSITORY,
                start_new_session=True,
            )

    def finish(self, folder: Path) -> list[str]:
        """Start it again until it ends; return what was wrong: a start that fails is a fault."""
        faults: list[str] = []
        for _ in range(RESTARTS):
            if self.ended(folder) or self.start(folder).wait() == 0:
                return faults
            printed = (folder / "log.txt").read_text("utf-8", errors="replace").splitlines()
            faults.append(f"a start after the kill failed: {printed[-1] if printed else ''}")
        return [*faults, f"did not end after {RESTARTS} starts"]

    def reference(self, folder: Path) -> float:
        """Run it without a kill; return its seconds."""
        shutil.rmtree(folder, ignore_errors=True)
        start = time.perf_counter()
        if self.start(folder).wait() != 0:
            raise ChildProcessError(f"{self.name} fails without a kill: see {folder / 'log.txt'}.")
        return time.perf_counter() - start

    def try_kill(self, folder: Path, reference: Path, *, number: int, moment: float) -> Trial:
        """Kill it at a moment, start it again until it ends, and look for faults.

        Parameters
        ----------
        folder
            Of the trial; replaced.
        reference
            Of the run that nobody killed.
        number
            Of the trial.
        moment
            Seconds after the start; a tenth less each time that the command ended before.
        """
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            process = self.start(folder)
            time.sleep(moment)
            if process.poll() is None:
                break
            moment *= 0.9
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        faults: list[str] = []
        try:
            found = self.look(folder)
        except (ValueError, OSError) as error:
            found, faults = "unsound", [f"right after the kill: {error}"]
        faults += self.finish(folder)
        try:
            faults += self.faults(folder, reference)
        except (ValueError, OSError, StopIteration) as error:
            faults.append(f"{type(error).__name__}: {error}")
        return Trial(self.name, number, round(moment, 2), found, tuple(faults))


def moments(seconds: float, count: int, *, seed: int) -> list[float]:
    """Draw moments at random, one from each of `count` equal parts of a duration."""
    rng = np.random.default_rng(seed)
    return [float(seconds * (part + rng.random()) / count) for part in range(count)]


def sealed_stages(folder: Path) -> str:
    """Say how far a killed improvement had come; refuse one that is half promoted."""
    entries = read_history(folder / "report" / HISTORY)
    if (version := current_version(entries)) != "v0000":
        read_version(folder / "store" / "versions" / version)
    stages = sorted((folder / "store" / "cycles").glob("c*/*/seal.json"), key=_modified)
    lines = _count_lines(folder / "store")
    last = stages[-1].parent.name.rpartition("-")[0] if stages else "nothing"
    return f"{last} sealed, {lines} answers" + (", entry written" if entries else "")


def collected_lines(folder: Path) -> str:
    """Say how far a killed collection had come."""
    table = " and the table" if (folder / "table" / MANIFEST).is_file() else ""
    return f"{_count_lines(folder)} answers{table}"


def improvement_faults(folder: Path, reference: Path) -> list[str]:
    """Compare a finished improvement with one that nobody killed."""
    entries = read_history(folder / "report" / HISTORY)
    own, other = entries[0], read_history(reference / "report" / HISTORY)[0]
    faults = [] if len(entries) == 1 else [f"{len(entries)} entries for one cycle"]
    faults += [f"entry: {name} differs" for name in _differing(own, other)]
    store = VersionStore((folder / "store" / "versions",), "default", Path("results/table"))
    version = store.open(current_version(entries))
    if version.sha256 != own.version_sha256:
        faults.append(f"the current version {version.name} is not the one of its entry")
    faults += table_differences(version.table(), _current_table(reference))
    stage, whole = (next((f / "store/cycles/c0001").glob("table-*")) for f in (folder, reference))
    faults += line_faults(stage, whole)
    if not (folder / "report" / "summary.json").is_file():
        faults.append("the report is missing")
    return faults + stray_files(folder)


def collection_faults(folder: Path, reference: Path) -> list[str]:
    """Compare a finished collection with one that nobody killed."""
    own, other = (OutcomeTable.load(f / "table") for f in (folder, reference))
    faults = table_differences(own, other)
    return faults + line_faults(folder / "work", reference / "work") + stray_files(folder)


def table_differences(own: OutcomeTable, other: OutcomeTable) -> list[str]:
    """Name the columns in which two tables differ, the measured seconds left out."""
    names = [name for name in (*QUERY_DTYPES, *OUTCOME_DTYPES, "embeddings") if name != MEASURED]
    pairs = {name: (getattr(own, name), getattr(other, name)) for name in names}
    scores = [name for name in other.scores if name != MEASURED]
    pairs |= {f"score {name}": (own.scores[name], other.scores[name]) for name in scores}
    faults = [f"table: {n} differs" for n, (a, b) in pairs.items() if not np.array_equal(a, b)]
    if own.manifest.pool_fingerprint != other.manifest.pool_fingerprint:
        faults.append("table: it is of another pool")
    return faults


def line_faults(folder: Path, reference: Path) -> list[str]:
    """Find answers that are missing, there twice, or in a damaged line."""
    faults = []
    for path in sorted(reference.glob("answers-*.jsonl")):
        lines = [_cell(line) for line in (folder / path.name).read_text("utf-8").splitlines()]
        wanted = sorted(_cell(line)[0] for line in path.read_text("utf-8").splitlines())
        if damaged := sum(not name for name, _ in lines):
            faults.append(f"{path.name}: {damaged} damaged lines")
        if sorted(name for name, _ in lines) != wanted:
            faults.append(f"{path.name}: not every answer is there exactly once")
    return faults


def stray_files(folder: Path) -> list[str]:
    """Find drafts and work that nobody will clear away."""
    marks = (".part", ".draft", ".old")
    strays = [p for p in folder.rglob(".*") if any(mark in p.name for mark in marks)]
    strays += [p for p in folder.glob("store/cycles/*/work/*")]
    strays += [p for p in folder.glob(".report-*")]
    return [f"left behind: {path.relative_to(folder)}" for path in strays]


def trial_to_json(trial: Trial) -> dict[str, object]:
    """Return JSON values."""
    return asdict(trial)


def _differing(own: Entry, other: Entry) -> list[str]:
    """Name what should be equal in the entries of two runs of one cycle, and is not."""
    same = "verdict reasons before candidate current region adapter figures adapters pools cycle"
    names = [*same.split(), "signed_by"]
    return [name for name in names if getattr(own, name) != getattr(other, name)]


def _current_table(folder: Path) -> OutcomeTable:
    """Load the table of the version that a reference run ended on."""
    name = current_version(read_history(folder / "report" / HISTORY))
    return read_version(folder / "store" / "versions" / name).table()


def _cell(line: str) -> tuple[str, str]:
    """Read a line's query and response; empty if it is damaged."""
    try:
        content = json.loads(line)
        return str(content["query_id"]), str(content["response"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def _count_lines(folder: Path) -> int:
    """Count the answers that lie below a folder."""
    files = folder.rglob("answers-*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in files)


def _modified(path: Path) -> float:
    """Return when a file was written."""
    return path.stat().st_mtime
