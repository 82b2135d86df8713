"""The judge's verdicts on disk, by the content of what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1


class JudgeCache:
    """A folder of small JSON files, one per question to the judge.

    Several processes may share it: a file appears whole or not at all, and who writes last wins
    with the same content. A file that is not what was written, by its own hash, counts as missing.

    Parameters
    ----------
    folder
        Where to; made with the first verdict.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def __repr__(self) -> str:
        return f"JudgeCache({str(self._folder)!r})"

    @staticmethod
    def key(**content: Any) -> str:
        """Hash everything that decides a verdict.

        Parameters
        ----------
        **content
            JSON values: model, server, prompt version, texts, settings.

        Returns
        -------
        str
            sha256 in hexadecimal.
        """
        text = json.dumps({"format": FORMAT, **content}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Read an entry; None if there is none, or it is damaged.

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        try:
            stored = json.loads(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):  # cut off or overwritten
            return None
        if not isinstance(stored, dict) or not isinstance(stored.get("entry"), dict):
            return None
        entry: dict[str, Any] = stored["entry"]
        return entry if stored.get("sha256") == _digest(key, entry) else None

    def put(self, key: str, entry: Mapping[str, Any]) -> None:
        """Write an entry.

        Parameters
        ----------
        key
            From `key`.
        entry
            JSON values.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"entry": dict(entry), "sha256": _digest(key, entry)}
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    def _path(self, key: str) -> Path:
        """Where an entry lies; 256 folders keep each of them small."""
        return self._folder / key[:2] / f"{key}.json"


def _digest(key: str, entry: Mapping[str, Any]) -> str:
    """Hash an entry together with its key, so that a file under another's name is noticed."""
    text = json.dumps([key, dict(entry)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
