"""Folders that change as a whole: a reader sees the old one or the new one, nothing between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the target, which takes the target's place in the end.

    What an interrupted call has left is removed by the next one; if it was interrupted between the
    two renames, the old folder comes back first.

    Parameters
    ----------
    folder
        The target; replaced if it exists. Where it is a link, the folder behind it is.

    Yields
    ------
    Path
        The empty folder to fill. If the block raises, it is removed and the target stays.
    """
    folder = folder.resolve()
    draft, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("partial", "old"))
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if folder.exists():
            os.replace(folder, old)
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def file_names(folder: Path) -> list[str]:
    """List the files below a folder, sorted, with "/" between the parts of a name."""
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in files)
