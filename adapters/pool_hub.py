"""Pools of adapters on the Hugging Face hub, in PEFT's layout: one folder per adapter.

`pool.yaml` lies beside the folders, so that a pulled pool is a pool as it stands:
``--pool folder/pool.yaml``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from routing_gym.adapters.file_manifest import FileManifest
from routing_gym.adapters.hub import pull_folder, push_folder
from routing_gym.adapters.hub_layout import CARD_FILE, Layout
from routing_gym.adapters.pool_card import adapter_card, pool_card
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, PoolSpec
from routing_gym.adapters.training_run import RECORD_FILE

POOL_FILE = "pool.yaml"
_ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def push_pool(
    spec: PoolSpec, target: Path | str, *, licence: str = "mit", private: bool = True
) -> PoolSpec:
    """Copy a pool to a repository folder, or to a folder.

    Parameters
    ----------
    spec
        The pool.
    target
        ``hf://owner/name[@revision][/path]``, or a local folder; see
        `routing_gym.adapters.hub.push_folder`.
    licence
        Of the adapters, as the hub names it.
    private
        Whether a repository that is made is private.

    Returns
    -------
    PoolSpec
        The pool that was pushed.

    Raises
    ------
    FileNotFoundError, ValueError
        If the pool cannot be loaded elsewhere, or the target holds anything else.
    OSError, ImportError
        If the hub cannot be used.
    """
    _check_portable(spec)

    def cards(folder: Path) -> Mapping[str, str]:
        pages = {
            f"{adapter.name}/{CARD_FILE}": adapter_card(spec, adapter, licence=licence)
            for adapter in spec.adapters
            if adapter.path is not None
        }
        return pages | {CARD_FILE: pool_card(spec, licence=licence)}

    push_folder(
        lambda folder: write_pool(spec, folder),
        target,
        layout=POOL,
        message=f"Pool {spec.fingerprint[:12]}: {', '.join(spec.names)}",
        cards=cards,
        private=private,
    )
    return spec


def pull_pool(source: Path | str, folder: Path | str) -> PoolSpec:
    """Fetch a pool, verify it and write it, whole or not at all.

    Parameters
    ----------
    source
        ``hf://owner/name[@revision][/path]``, or a local folder.
    folder
        Replaced if it holds such a pool or nothing.

    Returns
    -------
    PoolSpec
        The pool; its file is ``folder / POOL_FILE``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the source holds no intact pool, or the folder holds anything else.
    OSError, ImportError
        If the hub cannot be used.
    """
    pull_folder(source, folder, layout=POOL)
    return PoolSpec.from_yaml(Path(folder) / POOL_FILE)


def write_pool(spec: PoolSpec, folder: Path) -> None:
    """Write a pool's files, its `POOL_FILE` and the manifest into an empty folder."""
    for adapter in spec.adapters:
        if adapter.path is not None:
            (folder / adapter.name).mkdir()
            for name in _ADAPTER_FILES:
                if (adapter.path / name).is_file():
                    shutil.copyfile(adapter.path / name, folder / adapter.name / name)
    places = {a.name: None if a.path is None else a.name for a in spec.adapters}
    content = {"base_model": spec.base_model, "adapters": places}
    (folder / POOL_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    FileManifest.of(folder, POOL.noun, fingerprint=spec.fingerprint).write(folder)


def verify_pool(folder: Path) -> PoolSpec:
    """Verify the files of a pool, their fingerprint, and that each is used from this folder.

    Parameters
    ----------
    folder
        What `write_pool` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If anything is missing, edited, or leads out of the folder.
    """
    manifest = FileManifest.read(folder, POOL.noun)
    manifest.verify(folder)
    spec = PoolSpec.from_yaml(folder / POOL_FILE)
    if spec.server is not None:  # it would be sent an environment variable of its own choice
        raise ValueError(f"{POOL_FILE} names a server: push a pool that holds its own weights.")
    _check_base(spec.base_model)
    for adapter in spec.adapters:
        if adapter.path is not None:
            _check_weights(adapter.path, adapter.name, folder, manifest)
    stated = manifest.facts.get("fingerprint")
    if spec.fingerprint != stated:
        raise ValueError(
            f"{POOL_FILE}: the pool's fingerprint is {spec.fingerprint:.12}, the manifest states "
            f"{stated!s:.12}: push the pool again."
        )
    return spec


def _listed(folder: Path) -> Collection[str]:
    """Name the files of a pool by its manifest."""
    return FileManifest.read(folder, POOL.noun).files


def _check_weights(path: Path, name: str, folder: Path, manifest: FileManifest) -> None:
    """Refuse an adapter that lies elsewhere, or whose weights are none."""
    from safetensors import SafetensorError, safe_open

    needed = {f"{name}/{file}" for file in (CONFIG_FILE, WEIGHTS_FILE)}
    if not needed <= set(manifest.files) or path != (folder / name).resolve():
        raise ValueError(
            f"{POOL_FILE}: adapter {name!r} lies at {path}, not in the folder {name!r} of the "
            "manifest: push the pool again."
        )
    weights = path / WEIGHTS_FILE
    try:
        with safe_open(weights, framework="numpy") as tensors:
            tensors.keys()
    except SafetensorError as error:
        raise ValueError(f"{weights} holds no weights ({error}): train it again.") from error


def _check_base(name: str) -> None:
    """Refuse a base model that is named by its place."""
    if name.startswith(("/", "~", ".")) or "\\" in name:
        raise ValueError(
            f"base_model={name!r} is a folder of one machine: name the model by its hub id in the "
            "pool file."
        )


def _check_portable(spec: PoolSpec) -> None:
    """Refuse what another machine could not load."""
    if Path(spec.base_model).is_dir():
        _check_base(str(Path(spec.base_model).resolve()))
    _check_base(spec.base_model)
    for adapter in spec.adapters:
        if not _FOLDER_NAME.fullmatch(adapter.name):
            raise ValueError(
                f"adapter name {adapter.name!r} cannot name a folder: use letters, digits, '_' "
                "and '-'."
            )
    if spec.server is not None or all(adapter.path is None for adapter in spec.adapters):
        raise ValueError(
            f"the pool of {', '.join(spec.names)} has its weights at a server: name a pool file "
            "with the adapters' local folders and without `server`."
        )


POOL: Layout[PoolSpec] = Layout("pool", "model", _listed, verify_pool)
