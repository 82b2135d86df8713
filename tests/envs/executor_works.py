"""Works for the tests of executors; workers import them from here."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.executor import Item


class Squared(NamedTuple):
    """What `Squaring` makes of a number."""

    value: int
    worker: int
    threads: str


@dataclass(frozen=True)
class Squaring:
    """Square numbers; some are awkward.

    Parameters
    ----------
    folder
        Where workers leave their marks.
    raises
        The number over which it raises.
    kills
        Numbers over which the worker kills itself, every time.
    kills_once
        Numbers over which it does so the first time.
    seconds
        That an item takes.
    broken
        Whether it cannot be opened.
    """

    folder: Path
    raises: int | None = None
    kills: tuple[int, ...] = ()
    kills_once: tuple[int, ...] = ()
    seconds: float = 0.0
    broken: bool = False

    def open(self) -> Callable[[int], Squared]:
        """Leave a mark."""
        if self.broken:
            raise OSError("there is no model")
        with (self.folder / "opened").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return self._square

    def _square(self, number: int) -> Squared:
        with (self.folder / "begun").open("a") as file:
            file.write(f"{number}\n")
        time.sleep(self.seconds)
        if number == self.raises:
            raise ValueError(f"number={number} is out of luck")
        mark = self.folder / f"tried-{number}"
        if number in self.kills or (number in self.kills_once and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Squared(number**2, os.getpid(), os.environ.get("OMP_NUM_THREADS", ""))


@dataclass(frozen=True)
class Nothing:
    """Do nothing."""

    def open(self) -> Callable[[int], None]:
        """Open nothing."""
        return lambda _: None


def numbers(*values: int) -> list[Item[int]]:
    """Make items of numbers."""
    return [Item(f"n{value}", value) for value in values]


@dataclass(frozen=True)
class BatchPool:
    """A pool whose token signals depend on the company in a batch, as rounding does.

    Parameters
    ----------
    spec
        The pool.
    dies
        Where the first worker that is asked for the adapter ``one`` leaves a mark and dies; None
        dies nowhere.
    """

    spec: PoolSpec
    dies: Path | None = None

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> list[Completion]:
        """Answer, or die."""
        if self.dies is not None and name == "one" and not self.dies.exists():
            self.dies.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        company = -math.log(sum(map(len, texts)) + batch_size)
        return [
            Completion(f"{name}: {text}\u2028", 7, 3, time.perf_counter(), True, (company,), (0.5,))
            for text in texts
        ]
