"""The fault matrix: every fault on a server of its own, and an audit of its log."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routing_gym.adapters.spec import BASE
from routing_gym.serving.bundle_files import read_manifest
from routing_gym.serving.trial_audit import Audit, audit
from routing_gym.serving.trial_faults import FAULTS, Fault, Scene
from routing_gym.serving.trial_process import ServerProcess
from routing_gym.serving.trial_traffic import BROKEN, Traffic
from routing_gym.serving.trial_upstream import Upstream

RECOVERY_SECONDS = 20.0
ALLOWED = frozenset({BROKEN, 0, 200, 429, 502, 503, 504})
"""Statuses that a fault may cause; 0 is a connection that failed."""


@dataclass(frozen=True)
class FaultRow:
    """What became of a server under one fault.

    Parameters
    ----------
    fault
        Its name.
    statuses
        HTTP status -> how often it came, 0 for a connection that failed.
    log
        What the log lacks or holds twice; None if the fault could not be done.
    recovered
        Whether a whole round of requests succeeded after the fault.
    note
        How the fault was made, or why it could not be.
    shows
        See `Fault`.
    """

    fault: str
    statuses: Counter[int]
    log: Audit | None
    recovered: bool
    note: str
    shows: int | None = None

    @property
    def passed(self) -> bool:
        """Whether it happened, nothing was lost or doubled, and the server answered again."""
        if self.log is None:
            return False
        if self.shows is not None and not self.statuses[self.shows]:
            return False
        clean = self.log.lost == self.log.doubled == 0 and "DEFECT" not in self.note
        return clean and self.recovered and set(self.statuses) <= ALLOWED


def fault_matrix(
    bundle: Path, texts: Sequence[str], *, folder: Path, faults: Sequence[Fault] = FAULTS
) -> list[FaultRow]:
    """Try every fault.

    Parameters
    ----------
    bundle
        Served with the openai back end; copied, never changed.
    texts
        What clients ask.
    folder
        For logs; one folder per fault, replaced.
    faults
        What to try.
    """
    return [_try(fault, bundle, texts, folder / _name(fault.name)) for fault in faults]


def _try(fault: Fault, bundle: Path, texts: Sequence[str], folder: Path) -> FaultRow:
    """Start a server, let the fault happen, and audit the log."""
    reason = fault.impossible()
    if reason:
        return FaultRow(fault.name, Counter(), None, False, f"not done: {reason}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = folder / "bundle"
    shutil.copytree(bundle, own)
    base, *others = upstream_names(bundle)
    with Upstream(others) as upstream:
        server = ServerProcess(
            _options(own, folder, upstream.url, base),
            log=folder / "server.log",
            environment=fault.environment(folder),
        )
        scene = Scene(folder, own, upstream, server)
        fault.prepare(scene)
        scene.log_folder.mkdir(exist_ok=True)
        try:
            server.start()
            scene.traffic = traffic = Traffic(server.url, texts)
            traffic.during(1.0)
            fault.act(scene)
            recovered = traffic.answers_again(within=RECOVERY_SECONDS)
            server.stop()
        finally:
            server.kill()
            fault.tidy(scene)
    found = audit(scene.log_folder / "decisions.db", traffic.acknowledged)
    return FaultRow(
        fault.name, traffic.acknowledged.statuses, found, recovered, scene.note, fault.shows
    )


def upstream_names(bundle: Path) -> list[str]:
    """Return a bundle's adapters, the base first: by its name, or else the first adapter."""
    names = list(read_manifest(bundle).adapters)
    base = BASE if BASE in names else names[0]
    return [base, *(name for name in names if name != base)]


def _options(bundle: Path, folder: Path, upstream: str, base: str) -> list[str]:
    """Return the server's command line."""
    values = {
        "bundle": bundle,
        "backend": "openai",
        "upstream_url": upstream,
        "upstream_base": base,
        "log_url": f"sqlite:///{folder / 'log' / 'decisions.db'}",
        "exploration": "epsilon",
        "epsilon": 0.2,
        "first_token_timeout": 1.0,
        "request_timeout": 3.0,
        "log_level": "error",
    }
    return [text for name, value in values.items() for text in (f"--{name}", str(value))]


def _name(fault: str) -> str:
    """Make a folder's name of a fault's."""
    return "-".join("".join(c if c.isalnum() else " " for c in fault).split())
