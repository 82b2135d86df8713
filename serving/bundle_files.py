"""The files of a bundle: what is in the folder has to be what the manifest says, byte by byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from routing_gym.adapters.folder import replaced_folder
from routing_gym.adapters.hub_layout import Layout
from routing_gym.serving.bundle_manifest import MANIFEST_FILE, BundleManifest, FileRecord

POLICY_FILE, CARD_FILE = "policy.onnx", "MODEL_CARD.md"
GOLDEN_TEXTS, GOLDEN_ARRAYS = "golden.json", "golden.safetensors"
REQUIRED = (POLICY_FILE, CARD_FILE, GOLDEN_TEXTS, GOLDEN_ARRAYS)
_REMEDY = "pull or export the bundle again"


@dataclass(frozen=True)
class Golden:
    """Inputs whose outputs are known: what a bundle must still compute when it is loaded.

    Parameters
    ----------
    texts
        N texts.
    embeddings
        float32 (N, D), the exported encoder's.
    probabilities
        float64 (N, K), the original agent's on these embeddings.
    actions
        int64 (N,), the original agent's greedy choices.
    """

    texts: tuple[str, ...]
    embeddings: np.ndarray
    probabilities: np.ndarray
    actions: np.ndarray

    def files(self) -> dict[str, bytes]:
        """Return both files."""
        arrays = {name: getattr(self, name) for name in ("embeddings", "probabilities", "actions")}
        texts = json.dumps(list(self.texts), indent=1, ensure_ascii=False) + "\n"
        return {GOLDEN_TEXTS: texts.encode(), GOLDEN_ARRAYS: save_arrays(arrays)}

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Golden:
        """Take back what `files` returned.

        Raises
        ------
        ValueError
            If a file is not what it should be.
        """
        try:
            arrays = load_arrays(files[GOLDEN_ARRAYS])
            texts = tuple(json.loads(files[GOLDEN_TEXTS]))
            golden = cls(texts, *(arrays[n] for n in ("embeddings", "probabilities", "actions")))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the golden files are unreadable ({error}): {_REMEDY}.") from error
        if not len(texts) == len(golden.embeddings) == len(golden.actions) > 0:
            raise ValueError(f"the golden files hold different numbers of rows: {_REMEDY}.")
        return golden


def read_manifest(folder: Path) -> BundleManifest:
    """Read a bundle's manifest.

    Raises
    ------
    FileNotFoundError
        If the folder holds none.
    ValueError
        If it is unreadable or was changed.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: give a folder that scripts/export_policy.py wrote."
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text ({error}): {_REMEDY}.") from error
    try:
        return BundleManifest.from_json(text)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def read_files(
    folder: Path, manifest: BundleManifest, *, verify: bool = True, others: bool = False
) -> dict[str, bytes]:
    """Read every file that a manifest names.

    Parameters
    ----------
    folder
        The bundle's.
    manifest
        Its manifest.
    verify
        Whether to compare sizes and hashes, and to refuse files that the manifest does not name.
    others
        Whether such files may lie there nevertheless, as in a repository.

    Returns
    -------
    dict
        Name -> bytes: those that were verified, so that no later change of the folder matters.

    Raises
    ------
    ValueError
        If a file is missing, unknown, of another size or of other content.
    """
    absent = [name for name in (*REQUIRED, *manifest.files) if name not in manifest.files]
    absent += [name for name in manifest.files if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"{folder} lacks the file {absent[0]!r} of its bundle: {_REMEDY}.")
    if verify and not others:
        known = {MANIFEST_FILE, *manifest.files}
        unknown = sorted(entry.name for entry in folder.iterdir() if entry.name not in known)
        if unknown:
            raise ValueError(
                f"{folder} holds {unknown[0]!r}, which its manifest does not name: remove it, or "
                f"{_REMEDY}."
            )
    return {
        name: _read(folder / name, record, verify=verify) for name, record in manifest.files.items()
    }


def write_bundle(
    folder: Path, manifest: BundleManifest, files: Mapping[str, bytes]
) -> BundleManifest:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    folder
        Replaced if it holds a bundle or nothing.
    manifest
        Its ``files`` are filled in here.
    files
        Name -> bytes.

    Returns
    -------
    BundleManifest
        As written.

    Raises
    ------
    ValueError
        If the folder holds anything else.
    """
    BUNDLE.check_replaceable(folder)
    records = {
        name: FileRecord(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in sorted(files.items())
    }
    manifest = replace(manifest, files=records)
    with replaced_folder(folder) as draft:
        for name, content in files.items():
            (draft / name).write_bytes(content)
        (draft / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def verify_bundle(folder: Path) -> BundleManifest:
    """Verify a bundle's files.

    Returns
    -------
    BundleManifest
        Of the bundle.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no intact bundle.
    """
    manifest = read_manifest(folder)
    read_files(folder, manifest)
    return manifest


BUNDLE: Layout[BundleManifest] = Layout(
    "bundle", "model", lambda folder: read_manifest(folder).files, verify_bundle
)


def _read(file: Path, record: FileRecord, *, verify: bool) -> bytes:
    """Read one file and compare it."""
    size = file.stat().st_size  # first: a file that was exchanged may not fit into memory
    if verify and size != record.bytes:
        raise ValueError(
            f"{file} has {size} bytes, not the {record.bytes} of the manifest (truncated or "
            f"exchanged): {_REMEDY}."
        )
    content = file.read_bytes()
    if verify and hashlib.sha256(content).hexdigest() != record.sha256:
        raise ValueError(f"{file} is not the file that the manifest describes: {_REMEDY}.")
    return content
