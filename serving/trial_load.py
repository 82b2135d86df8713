"""Offering more than a server can take: Locust's clients, their latencies, the server's memory."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.serving.trial_process import REPOSITORY

LOCUSTFILE = REPOSITORY / "deploy" / "load" / "locustfile.py"


@dataclass(frozen=True)
class Offered:
    """What became of the requests of one load.

    Parameters
    ----------
    starts, seconds
        float64 (N,), when a request was sent (UNIX time) and how long it took.
    statuses
        int64 (N,), HTTP status; 0 for a connection that failed.
    memory
        float64 (samples,), the server's resident memory in MB, once a second.
    """

    starts: np.ndarray
    seconds: np.ndarray
    statuses: np.ndarray
    memory: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """float64, the latencies of the answered requests in seconds."""
        return self.seconds[self.statuses == 200]

    @property
    def refused(self) -> int:
        """Requests that were refused for want of room."""
        return int((self.statuses == 429).sum())

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor refused."""
        return len(self.statuses) - len(self.answered) - self.refused

    @property
    def rate(self) -> float:
        """Requests offered per second."""
        return len(self.starts) / max(float(np.ptp(self.starts)), 1e-9)

    @property
    def memory_growth(self) -> float:
        """Median memory of the last fifth over that of the second fifth (the first warms up)."""
        fifth = max(len(self.memory) // 5, 1)
        return float(np.median(self.memory[-fifth:]) / np.median(self.memory[fifth : 2 * fifth]))

    def p99(self) -> float:
        """Seconds within which 99 % of the answers came."""
        return float(np.quantile(self.answered, 0.99)) if len(self.answered) else float("inf")


def offer(
    url: str,
    *,
    rate: int,
    seconds: float,
    folder: Path,
    memory_mb: Callable[[], float],
    max_tokens: int = 16,
) -> Offered:
    """Offer chats at a fixed rate with Locust and watch the server's memory.

    Parameters
    ----------
    url
        Of the server.
    rate
        Requests per second, whatever the server does.
    seconds
        How long.
    folder
        Takes Locust's rows and its output.
    memory_mb
        Returns the server's resident memory.
    max_tokens
        Of every answer.

    Raises
    ------
    RuntimeError
        If Locust did not run; its output is in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"load-{rate}.csv"
    rows.unlink(missing_ok=True)
    samples: list[float] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(memory_mb, samples, stop), daemon=True)
    watcher.start()
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--headless",
        "--only-summary",
    ]
    command += ["--host", url, "--users", str(rate), "--spawn-rate", str(rate)]
    command += ["--run-time", f"{seconds:g}s", "--stop-timeout", "20", "--rows", str(rows)]
    command += ["--max-tokens", str(max_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    stop.set()
    watcher.join()
    if not rows.is_file():
        raise RuntimeError(f"locust did not run:\n{(done.stdout + done.stderr)[-2000:]}")
    with rows.open(encoding="utf-8") as stream:
        table = [(float(a), int(b), float(c)) for a, b, c in list(csv.reader(stream))[1:]]
    starts, statuses, latencies = (np.array(column) for column in zip(*table, strict=True))
    return Offered(starts, latencies, statuses.astype(np.int64), np.array(samples))


def _watch(memory_mb: Callable[[], float], samples: list[float], stop: threading.Event) -> None:
    """Sample the memory once a second until told to stop or the server is gone."""
    while not stop.is_set():
        try:
            samples.append(memory_mb())
        except (OSError, RuntimeError, ValueError):
            return
        stop.wait(1.0)
