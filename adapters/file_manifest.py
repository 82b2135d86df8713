"""manifest.json of folders that have no description of their own: their files, byte by byte."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from routing_gym.adapters.folder import file_names

MANIFEST_FILE = "manifest.json"
FORMAT = 1
_NAME = re.compile(r"(\w[\w.-]*|\.\w[\w.-]*)(/(\w[\w.-]*|\.\w[\w.-]*))*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "pull or push it again"


@dataclass(frozen=True)
class FileManifest:
    """What a folder holds.

    Parameters
    ----------
    kind
        Of the folder, such as ``"pool"``.
    files
        Name, relative to the folder with "/" between its parts -> sha256 of its bytes.
    facts
        What else is to be known before a file is opened; JSON values only.
    format
        Of this schema.

    Raises
    ------
    ValueError
        If an entry has another type, a name leaves the folder, a hash is none, or the format is
        another.
    """

    kind: str
    files: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(
                f"format {self.format} is not {FORMAT}, the one that this version reads: upgrade "
                "routing-gym."
            )
        for name in ("files", "facts"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} is no mapping.")
        for name, sha256 in self.files.items():
            if not _NAME.fullmatch(name) or name == MANIFEST_FILE:
                raise ValueError(f"files: {name!r} is no name of a file below the manifest.")
            if not _SHA256.fullmatch(str(sha256)):
                raise ValueError(f"files: {name!r} has {sha256!r}, which is no sha256.")

    @classmethod
    def of(cls, folder: Path, kind: str, **facts: Any) -> FileManifest:
        """Describe the files that lie in a folder."""
        names = [name for name in file_names(folder) if name != MANIFEST_FILE]
        return cls(kind, {name: _sha256(folder / name) for name in names}, facts)

    @classmethod
    def read(cls, folder: Path, kind: str) -> FileManifest:
        """Read the manifest of a folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is unreadable, or describes something else.
        """
        file = folder / MANIFEST_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: give a folder that holds a {kind}.")
        try:
            manifest = cls(**json.loads(file.read_text(encoding="utf-8")))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} is no manifest of a {kind} ({error}): {_REMEDY}.") from error
        if manifest.kind != kind:
            raise ValueError(f"{file} describes a {manifest.kind}, not a {kind}: check the kind.")
        return manifest

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")

    def verify(self, folder: Path) -> None:
        """Compare every file with its hash.

        Raises
        ------
        ValueError
            If one is missing or of other content.
        """
        for name, stated in self.files.items():
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name} is missing: {_REMEDY}.")
            found = _sha256(folder / name)
            if found != stated:
                raise ValueError(
                    f"{folder / name} is truncated or edited: its sha256 is {found:.12}, the "
                    f"manifest states {stated:.12}: {_REMEDY}."
                )


def _sha256(file: Path) -> str:
    """Hash a file's bytes without holding them all."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
