"""Bundles in a repository folder of the Hugging Face hub, or in any other folder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing_gym.serving.bundle_files import read_files, read_manifest, write_bundle
from routing_gym.serving.bundle_manifest import MANIFEST_FILE, BundleManifest

PREFIX = "hf://"


@dataclass(frozen=True)
class HubFolder:
    """A folder of a repository of models.

    Parameters
    ----------
    repository
        ``owner/name``.
    path
        Of the folder; empty is the whole repository.
    revision
        Branch, tag or commit; empty is the default branch.
    """

    repository: str
    path: str = ""
    revision: str = ""

    @classmethod
    def parse(cls, address: str) -> HubFolder:
        """Read ``hf://owner/name[@revision][/path]``.

        Raises
        ------
        ValueError
            If it names no repository.
        """
        owner, _, rest = address.removeprefix(PREFIX).partition("/")
        name, _, path = rest.partition("/")
        name, _, revision = name.partition("@")
        if not address.startswith(PREFIX) or not owner or not name:
            raise ValueError(
                f"address={address!r} is no repository folder: write hf://owner/name, "
                "hf://owner/name@revision or hf://owner/name/folder."
            )
        return cls(f"{owner}/{name}", path.strip("/"), revision)

    def inside(self, name: str) -> str:
        """Return the repository's path of a file of the folder."""
        return f"{self.path}/{name}" if self.path else name


def push_bundle(folder: Path | str, target: Path | str, *, private: bool = True) -> BundleManifest:
    """Verify a bundle and copy it to a repository folder, or to a folder.

    Parameters
    ----------
    folder
        The bundle's.
    target
        ``hf://owner/name[@revision][/path]`` (the repository is made if need be; of a bundle that
        lies there, what the new one lacks is removed, and other files stay), or a local folder.
    private
        Whether a repository that is made is private.

    Returns
    -------
    BundleManifest
        Of what was pushed.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no intact bundle, or the target holds anything else.
    ImportError
        If a repository is meant and huggingface_hub is not installed.
    """
    manifest = read_manifest(Path(folder))
    files = read_files(Path(folder), manifest)
    if not str(target).startswith(PREFIX):
        return write_bundle(Path(target), manifest, files)
    place, hub = HubFolder.parse(str(target)), _hub()
    hub.create_repo(place.repository, private=private, exist_ok=True)
    files |= {MANIFEST_FILE: manifest.to_json().encode()}
    # what an older version left behind would be unknown to the new manifest
    left_behind = sorted(_remote_files(place, hub) - set(files))
    hub.create_commit(
        place.repository,
        [
            *(hub.CommitOperationAdd(place.inside(name), files[name]) for name in files),
            *(hub.CommitOperationDelete(place.inside(name)) for name in left_behind),
        ],
        revision=place.revision or None,
        commit_message=f"Router {manifest.name}, version {manifest.version}",
    )
    return manifest


def pull_bundle(source: Path | str, folder: Path | str) -> BundleManifest:
    """Fetch a bundle, verify it and write it, whole or not at all.

    Parameters
    ----------
    source
        ``hf://owner/name[@revision][/path]``, or a local folder. Files that the manifest does not
        name stay behind.
    folder
        Replaced if it holds a bundle or nothing.

    Returns
    -------
    BundleManifest
        Of what was pulled.

    Raises
    ------
    FileNotFoundError, ValueError
        If the source holds no intact bundle, or the folder holds anything else.
    ImportError
        If a repository is meant and huggingface_hub is not installed.
    """
    if not str(source).startswith(PREFIX):
        return _copy(Path(source), Path(folder))
    place, hub = HubFolder.parse(str(source)), _hub()
    with tempfile.TemporaryDirectory() as download:
        root = Path(
            hub.snapshot_download(
                place.repository,
                revision=place.revision or None,
                allow_patterns=[f"{place.path}/*"] if place.path else None,
                local_dir=download,
            )
        )
        return _copy(root / place.path, Path(folder))


def _copy(source: Path, folder: Path) -> BundleManifest:
    """Copy what the manifest names."""
    manifest = read_manifest(source)
    return write_bundle(folder, manifest, read_files(source, manifest, others=True))


def _remote_files(place: HubFolder, hub: Any) -> set[str]:
    """Name the files of the bundle that lies in a repository folder, by its own manifest."""
    revision, manifest = place.revision or None, place.inside(MANIFEST_FILE)
    address = PREFIX + "/".join(part for part in (place.repository, place.path) if part)
    present = set(hub.list_repo_files(place.repository, revision=revision))
    if manifest not in present:
        return set()
    with tempfile.TemporaryDirectory() as download:
        file = hub.hf_hub_download(
            place.repository, manifest, revision=revision, local_dir=download
        )
        try:
            old = read_manifest(Path(file).parent)
        except ValueError as error:
            raise ValueError(
                f"{address} holds a {MANIFEST_FILE} of something else "
                f"({error}): name a folder of its own."
            ) from error
    return {name for name in old.files if place.inside(name) in present}


def _hub() -> Any:
    """Import the library of the hub."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "hf:// needs huggingface_hub, which is not installed: pip install huggingface_hub."
        ) from error
    return huggingface_hub
