"""What a collection keeps on disk: lines of JSON that survive a kill, one writer per file."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Tick = Callable[[int], Any]
SIGNAL_DIGITS = 4  # a token's signals on disk; a ten-thousandth of a nat decides nothing


@dataclass(frozen=True)
class Cell:
    """One answer on disk.

    Parameters
    ----------
    key
        Binds the answer to the query's text and the adapter's weights; see `cell_key`.
    query_id, response, prompt_tokens, completion_tokens, seconds, finished
        As in the outcome table.
    token_log_probs, token_entropies
        See `routing_gym.rewards.metric.Answer`; None where they were not recorded.
    """

    key: str
    query_id: str
    response: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finished: bool
    token_log_probs: tuple[float, ...] | None = None
    token_entropies: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("token_log_probs", "token_entropies"):
            values = getattr(self, name)
            object.__setattr__(self, name, None if values is None else tuple(values))


def rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Round a token's signals as they are kept on disk."""
    return tuple(round(float(value), SIGNAL_DIGITS) for value in values)


def digest(parts: Sequence[Any]) -> str:
    """Hash a list of JSON values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append values to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def whole_lines(path: Path) -> list[Any]:
    """Read a file of JSON lines; cut off a last line that a kill left unfinished.

    Raises
    ------
    ValueError
        If a line is not JSON; the message names the file and the remedy.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    try:
        return [json.loads(line) for line in whole.decode("utf-8").splitlines()]
    except ValueError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ValueError:
    """Make the error for a line that is not what the file should hold."""
    return ValueError(
        f"{path} holds a line that does not belong there ({error}): delete the line, or the file "
        "to collect its content again."
    )


@contextmanager
def locked(path: Path, *, busy: str = "") -> Iterator[None]:
    """Hold a file of the collection, or another that is written to, for this process alone.

    Parameters
    ----------
    path
        The file; the lock lies beside it.
    busy
        What is said if another process holds it; empty speaks of a collection.

    Raises
    ------
    OSError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = "is being collected by another process: wait, or choose other adapters."
            raise OSError(busy or f"{path} {other}") from error
        yield
