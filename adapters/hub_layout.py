"""What belongs to a folder that is pushed and pulled: which files, and how they are verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from routing_gym.adapters.file_manifest import MANIFEST_FILE
from routing_gym.adapters.hub_address import PREFIX, HubFolder, RepositoryKind

CARD_FILE = "README.md"
CARD_MARK = "<!-- Written by routing-gym at every push; without this line the page stays yours. -->"
T = TypeVar("T")


@dataclass(frozen=True)
class Layout(Generic[T]):
    """What belongs to a folder.

    Parameters
    ----------
    noun
        What the folder is called in messages, such as ``"pool"``.
    repository
        Kind of repository that holds it.
    listed
        Reads the folder's ``manifest.json`` alone and names the files that belong to it; raises
        FileNotFoundError if there is none and ValueError if it is of something else.
    verify
        Verifies the files of a folder that holds nothing else and returns what is known of them;
        raises ValueError.
    """

    noun: str
    repository: RepositoryKind
    listed: Callable[[Path], Collection[str]]
    verify: Callable[[Path], T]

    def address(self, text: Path | str) -> HubFolder | None:
        """Read an address of the hub; None if it is a local folder.

        Raises
        ------
        ValueError
            If it is an address of another kind of repository.
        """
        if not str(text).startswith(PREFIX):
            return None
        place = HubFolder.parse(str(text))
        if place.kind != self.repository:
            raise ValueError(
                f"address={str(text)!r} is no place for a {self.noun}: write "
                f"{replace(place, kind=self.repository)}."
            )
        return place

    def copy(self, source: Path, target: Path) -> None:
        """Copy the manifest and what it names; a file that is missing is left to `verify`."""
        for name in (*self.listed(source), MANIFEST_FILE):
            if (source / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target / name)

    def check_replaceable(self, folder: Path, cards: Collection[str] = ()) -> None:
        """Refuse to write over a folder that holds more than such files and their cards.

        Raises
        ------
        ValueError
            If it does.
        """
        if not folder.exists():
            return
        files = self._own(folder) | set(cards)
        parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}

        def ours(path: Path) -> bool:
            name = path.relative_to(folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                return name in parents
            return name in files or is_own_card(path)

        if not folder.is_dir() or not all(map(ours, folder.rglob("*"))):
            raise ValueError(
                f"{folder} holds other files than those that a {self.noun}'s manifest names: give "
                f"the {self.noun} a folder of its own."
            )

    def _own(self, folder: Path) -> set[str]:
        """Name what belongs to the layout in a folder; nothing if it is not one."""
        try:
            return {MANIFEST_FILE, *self.listed(folder)}
        except (FileNotFoundError, ValueError):
            return set()


def is_own_card(file: Path) -> bool:
    """Whether a file is a page for readers that a push has written."""
    return file.name == CARD_FILE and file.is_file() and CARD_MARK in _text(file)


def is_readers_own(card: Path) -> bool:
    """Whether a page for readers is there and somebody else has written it."""
    return card.is_file() and CARD_MARK not in _text(card)


def _text(file: Path) -> str:
    """Read a page whatever it is encoded in."""
    return file.read_text(encoding="utf-8", errors="replace")
