"""Repositories of the Hugging Face hub: one commit per push, one commit's files per pull."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from routing_gym.adapters.file_manifest import MANIFEST_FILE
from routing_gym.adapters.folder import file_names
from routing_gym.adapters.hub_address import HubFolder
from routing_gym.adapters.hub_layout import CARD_FILE, Layout, is_own_card, is_readers_own

_FETCHED = ".fetched"


def commit_folder(
    place: HubFolder,
    folder: Path,
    cards: Collection[str],
    *,
    layout: Layout[Any],
    message: str,
    private: bool,
) -> None:
    """Add the files of a folder in one commit, which removes what an older version left behind.

    Parameters
    ----------
    place
        Where to; the repository is made if need be.
    folder
        Holds the files and nothing else.
    cards
        Those of its files that are pages for readers: one there that somebody else has written
        stays.
    layout
        What belongs to an older version.
    message
        Of the commit.
    private
        Whether a repository that is made is private.

    Raises
    ------
    ValueError
        If something else lies there.
    OSError
        If the hub cannot be reached or refuses.
    ImportError
        If huggingface_hub is not installed.
    """
    hub = _hub()
    api, names, revision = hub.HfApi(), set(file_names(folder)), place.revision or None
    options = {"space_sdk": "docker"} if place.kind == "space" else {}
    with _reported(place):
        api.create_repo(**_place(place), private=private, exist_ok=True, **options)
        head = api.repo_info(**_place(place), revision=revision).sha
        present = set(api.list_repo_files(**_place(place), revision=head))
    with tempfile.TemporaryDirectory() as scratch:
        held = {name for name in (*cards, MANIFEST_FILE) if place.inside(name) in present}
        old = _download(place, held, head, Path(scratch))
        names -= {name for name in cards if is_readers_own(old / name)}
        former = _former(place, old, layout) if MANIFEST_FILE in held else set()
        gone = {name for name in former - names if place.inside(name) in present}
        pages = {str(PurePosixPath(name).with_name(CARD_FILE)) for name in gone} - names - held
        pages = {name for name in pages if place.inside(name) in present}
        _download(place, pages, head, Path(scratch))
        gone |= {name for name in pages if is_own_card(old / name)}
    with _reported(place):
        api.create_commit(
            **_place(place),
            operations=[
                *(hub.CommitOperationAdd(place.inside(n), folder / n) for n in sorted(names)),
                *(hub.CommitOperationDelete(place.inside(n)) for n in sorted(gone)),
            ],
            revision=revision,
            commit_message=message,
            parent_commit=head,  # a push that came between is an error, never mixed with this one
        )


def _former(place: HubFolder, folder: Path, layout: Layout[Any]) -> set[str]:
    """Name the files of the older version, by its own manifest."""
    try:
        return set(layout.listed(folder))
    except ValueError as error:
        raise ValueError(
            f"{place} holds a {MANIFEST_FILE} of something else ({error}): name a folder of its "
            "own."
        ) from error


def fetch_folder(place: HubFolder, folder: Path, *, layout: Layout[Any]) -> None:
    """Download what a repository folder's manifest names, all of one commit.

    Parameters
    ----------
    place
        Where from.
    folder
        An empty folder.
    layout
        Reads the manifest.

    Raises
    ------
    FileNotFoundError, ValueError
        If no such manifest lies there.
    OSError
        If the hub cannot be reached or refuses.
    ImportError
        If huggingface_hub is not installed.
    """
    api, scratch = _hub().HfApi(), folder / _FETCHED
    with _reported(place):
        head = api.repo_info(**_place(place), revision=place.revision or None).sha
        present = set(api.list_repo_files(**_place(place), revision=head))
    if place.inside(MANIFEST_FILE) not in present:
        raise FileNotFoundError(f"{place} holds no {layout.noun}: {MANIFEST_FILE} is missing.")
    names = layout.listed(_download(place, [MANIFEST_FILE], head, scratch))
    layout.copy(_download(place, names, head, scratch), folder)
    shutil.rmtree(scratch)


def _download(place: HubFolder, names: Collection[str], revision: str, scratch: Path) -> Path:
    """Download files of a repository folder; return where they then lie."""
    if names:
        with _reported(place):
            _hub().HfApi().snapshot_download(
                **_place(place),
                revision=revision,
                allow_patterns=[glob.escape(place.inside(name)) for name in names],
                local_dir=scratch,
            )
    return scratch / place.path


@contextmanager
def _reported(place: HubFolder) -> Iterator[None]:
    """Turn the many errors of the hub's library into one sentence with a remedy."""
    from huggingface_hub.errors import HfHubHTTPError

    # its bases are the errors of the HTTP library that this version speaks with
    faults: tuple[Any, ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        yield
    except faults as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise OSError(
            f"{place}: the hub cannot be used ({type(error).__name__}: {reason}): check the name "
            "and the network, log in with 'hf auth login' or set HF_TOKEN, and unset "
            "HF_HUB_OFFLINE."
        ) from error


def _place(place: HubFolder) -> dict[str, Any]:
    """Return the repository as the library's calls take it."""
    return {"repo_id": place.repository, "repo_type": place.kind}


def _hub() -> Any:
    """Import the library of the hub."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "hf:// needs huggingface_hub, which is not installed: pip install 'routing-gym[hub]'."
        ) from error
    return huggingface_hub
