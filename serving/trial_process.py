"""A server in a process of its own, started by the command that users type, for measurements."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

from routing_gym.serving.memory import resident_megabytes

REPOSITORY = Path(__file__).resolve().parents[1]
_URL = re.compile(r"https?://[\w.\[\]:-]+:\d+")


class ServerProcess:
    """Runs ``scripts/serve.py`` and waits until it is ready.

    Parameters
    ----------
    options
        Its command line; ``--port 0`` is added, so that several run side by side.
    log
        File that takes what the server prints.
    environment
        Variables beside those of this process.
    threads
        Of OpenMP in the server.

    Examples
    --------
    >>> with ServerProcess(["--bundle", "bundles/ppo"], log=Path("serve.log")) as server:
    ...     httpx.post(f"{server.url}/route", json={"input": "Hello"})  # doctest: +SKIP
    """

    def __init__(
        self,
        options: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        self._options, self._log = tuple(options), log
        self._environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("the server has not been started: call start.")
        return self._process.pid

    def start(self, *, port: int = 0, timeout: float = 180.0) -> None:
        """Start and wait until ``/readyz`` says so.

        Parameters
        ----------
        port
            0 takes a free one.
        timeout
            Seconds to wait.

        Raises
        ------
        RuntimeError
            If the server ends or is not ready in time; the message holds the end of its output.
        """
        offset = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, str(REPOSITORY / "scripts" / "serve.py"), *self._options]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--port", str(port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=REPOSITORY,
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.alive:
                break
            if self._ready(self._printed(offset)):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the server is not ready:\n{self._printed(offset)[-2000:]}")

    def memory_mb(self, kind: str = "VmRSS") -> float:
        """Return the process's resident memory now, or its peak (``VmHWM``), in MB (10^6 bytes)."""
        return resident_megabytes(self.pid, kind=kind)

    def modules(self, *names: str) -> tuple[str, ...]:
        """Return which shared libraries of these packages the process has mapped."""
        maps = Path(f"/proc/{self.pid}/maps").read_text("utf-8")
        return tuple(name for name in names if f"/{name}/" in maps)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        if self.alive:
            self._signal(signal.SIGKILL)
        self._wait(30.0)

    def stop(self, *, timeout: float = 60.0) -> int:
        """Ask it to drain and stop; return its exit code."""
        if self.alive:
            self._signal(signal.SIGTERM)
        return self._wait(timeout)

    def _ready(self, printed: str) -> bool:
        """Whether the server has printed its address and is ready there."""
        found = _URL.findall(printed)
        if not found:
            return False
        self.url = found[-1]
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def _printed(self, offset: int) -> str:
        """Return what the server has printed since an offset of the log."""
        with self._log.open("rb") as stream:
            stream.seek(offset)
            return stream.read().decode("utf-8", errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self._process is not None:
            self._process.send_signal(number)

    def _wait(self, timeout: float) -> int:
        """Wait for the end; return the exit code."""
        return 0 if self._process is None else self._process.wait(timeout)
