"""Folders on the Hugging Face hub, or in any other folder: pushed and pulled whole, verified.

A `Layout` says which files belong to a folder and how they are verified. Whatever moves is staged
first: the files are copied or fetched, verified where they then lie, and only then do they take
their place, so that what was verified is what arrives, and an interruption leaves the old state.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from routing_gym.adapters.folder import replaced_folder
from routing_gym.adapters.hub_layout import Layout, is_readers_own
from routing_gym.adapters.hub_repository import commit_folder, fetch_folder

T = TypeVar("T")


def push_folder(
    fill: Callable[[Path], None],
    target: Path | str,
    *,
    layout: Layout[T],
    message: str,
    cards: Callable[[Path], Mapping[str, str]] = lambda folder: {},
    private: bool = True,
) -> T:
    """Verify a folder and copy it to a repository folder, or to a folder.

    Parameters
    ----------
    fill
        Writes the files into an empty folder.
    target
        Address of the hub (the repository is made if need be; of what was pushed there before,
        what the new one lacks is removed, and other files stay), or a local folder.
    layout
        What belongs to it.
    message
        Of the commit.
    cards
        Pages for readers beside the files: name -> text with `CARD_MARK`. They are not verified,
        and a page without that mark which lies there already stays.
    private
        Whether a repository that is made is private.

    Returns
    -------
    object
        What ``layout.verify`` returned.

    Raises
    ------
    ValueError
        If the files are not intact, or the target holds anything else.
    OSError
        If the hub cannot be reached or refuses.
    ImportError
        If the hub is meant and huggingface_hub is not installed.
    """
    place = layout.address(target)
    if place is not None:
        with tempfile.TemporaryDirectory() as scratch:
            known, pages = _staged(fill, Path(scratch), layout, cards)
            commit_folder(
                place, Path(scratch), pages, layout=layout, message=message, private=private
            )
        return known
    folder = Path(target)
    with replaced_folder(folder) as draft:
        known, pages = _staged(fill, draft, layout, cards)
        layout.check_replaceable(folder, pages)
        for name in pages:
            if is_readers_own(folder / name):
                shutil.copyfile(folder / name, draft / name)
    return known


def pull_folder(source: Path | str, folder: Path | str, *, layout: Layout[T]) -> T:
    """Fetch a folder, verify it and write it, whole or not at all.

    Parameters
    ----------
    source
        Address of the hub, or a local folder. Files that its manifest does not name stay behind.
    folder
        Replaced if it holds such a folder or nothing.
    layout
        What belongs to it.

    Returns
    -------
    object
        What ``layout.verify`` returned.

    Raises
    ------
    FileNotFoundError, ValueError
        If the source holds no intact folder of this layout, or the folder holds anything else.
    OSError
        If the hub cannot be reached or refuses.
    ImportError
        If the hub is meant and huggingface_hub is not installed.
    """
    place = layout.address(source)
    layout.check_replaceable(Path(folder))
    with replaced_folder(Path(folder)) as draft:
        if place is None:
            layout.copy(Path(source), draft)
        else:
            fetch_folder(place, draft, layout=layout)
        try:
            return layout.verify(draft)
        except (ValueError, FileNotFoundError) as error:
            text = str(error).replace(f"{draft}/", "").replace(str(draft), str(source))
            raise ValueError(f"{source} holds no intact {layout.noun}: {text}") from error


def _staged(
    fill: Callable[[Path], None],
    draft: Path,
    layout: Layout[T],
    cards: Callable[[Path], Mapping[str, str]],
) -> tuple[T, list[str]]:
    """Fill and verify a folder, then put the cards beside the files."""
    fill(draft)
    known = layout.verify(draft)
    pages = cards(draft)
    for name, text in pages.items():
        (draft / name).write_text(text, encoding="utf-8")
    return known, list(pages)
