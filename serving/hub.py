"""Bundles in a repository folder of the Hugging Face hub, or in any other folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from routing_gym.adapters.hub import pull_folder, push_folder
from routing_gym.adapters.hub_layout import CARD_FILE as PAGE
from routing_gym.adapters.hub_layout import CARD_MARK
from routing_gym.serving.bundle_files import BUNDLE, CARD_FILE, read_manifest
from routing_gym.serving.bundle_manifest import BundleManifest


def push_bundle(folder: Path | str, target: Path | str, *, private: bool = True) -> BundleManifest:
    """Verify a bundle and copy it to a repository folder, or to a folder.

    On the hub its model card is the repository's page, too.

    Parameters
    ----------
    folder
        The bundle's.
    target
        ``hf://owner/name[@revision][/path]``, or a local folder; see
        `routing_gym.adapters.hub.push_folder`.
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
    OSError, ImportError
        If the hub cannot be used.
    """
    source = Path(folder)
    manifest = read_manifest(source)

    def cards(folder: Path) -> Mapping[str, str]:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
        # a bundle's own folder holds what its manifest names and nothing else
        return {PAGE: f"{text}\n{CARD_MARK}\n"} if BUNDLE.address(target) else {}

    return push_folder(
        lambda draft: BUNDLE.copy(source, draft),
        target,
        layout=BUNDLE,
        message=f"Router {manifest.name}, version {manifest.version}",
        cards=cards,
        private=private,
    )


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
    OSError, ImportError
        If the hub cannot be used.
    """
    return pull_folder(source, folder, layout=BUNDLE)
