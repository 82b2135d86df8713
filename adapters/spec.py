"""What an adapter and a pool are: names, weights, order, and the fingerprint that binds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from routing_gym.adapters.base_model import EMBEDDED

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_SCALING = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
BASE = "base"


@dataclass(frozen=True)
class AdapterSpec:
    """One arm of the pool: the base model itself, or a LoRA adapter on it.

    Parameters
    ----------
    name
        Unique in the pool.
    path
        The adapter's folder (``adapter_config.json``, ``adapter_model.safetensors``); None is the
        base model itself.

    Raises
    ------
    ValueError
        If the name is empty or has a dot, which peft's layers cannot hold.
    FileNotFoundError
        If the folder lacks the weights.
    """

    name: str
    path: Path | None = None

    def __post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise ValueError(f"adapter name {self.name!r}: give a name without dots, not empty.")
        for file in (WEIGHTS_FILE, CONFIG_FILE):
            if self.path is not None and not (self.path / file).is_file():
                raise FileNotFoundError(
                    f"adapter {self.name!r}: {self.path / file} is missing; train the adapter with "
                    "scripts/train_adapter.py on the pool's base model."
                )

    @property
    def sha256(self) -> str:
        """Hash of the weights and of the settings that scale them; of nothing for the base."""
        if self.path is None:
            return hashlib.sha256(b"").hexdigest()
        digest = hashlib.sha256((self.path / WEIGHTS_FILE).read_bytes())
        settings = json.loads((self.path / CONFIG_FILE).read_text(encoding="utf-8"))
        digest.update(json.dumps([settings.get(name) for name in _SCALING]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class PoolSpec:
    """An ordered pool of adapters on one base model; an adapter's position is its action id.

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`.
    adapters
        At least two, with different names.

    Raises
    ------
    ValueError
        If there are fewer than two adapters or a name stands twice.
    """

    base_model: str
    adapters: tuple[AdapterSpec, ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(names) < 2:
            raise ValueError(f"adapters={names} leaves nothing to route: give at least two.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"adapter name {twice[0]!r} stands twice in the pool: rename one.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the action ids."""
        return tuple(adapter.name for adapter in self.adapters)

    @property
    def fingerprint(self) -> str:
        """Hash of the base model's name and of each adapter's name and weights, in order."""
        parts = [self.base_model, *(f"{a.name}={a.sha256}" for a in self.adapters)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def position(self, name: str) -> int:
        """Return an adapter's action id.

        Raises
        ------
        ValueError
            If no adapter has that name; the message lists the known ones.
        """
        if name not in self.names:
            raise ValueError(f"unknown adapter {name!r}: the pool has {', '.join(self.names)}.")
        return self.names.index(name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> PoolSpec:
        """Read a pool file: ``base_model`` and ``adapters``, name -> folder or null for the base.

        Folders are relative to the file.

        Raises
        ------
        FileNotFoundError
            If the file or an adapter's weights are missing.
        ValueError
            If a key is unknown or a value has the wrong type.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"pool file {path} does not exist: give one of configs/pools/.")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"pool file {path} is not valid YAML ({reason}): repair it."
            ) from error
        known = {"base_model", "adapters"}
        if not isinstance(content, Mapping) or set(content) - known:
            extra = sorted(set(content) - known) if isinstance(content, Mapping) else content
            raise ValueError(f"pool file {path}: unknown keys {extra}; known are {sorted(known)}.")
        entries = content.get("adapters")
        if not isinstance(entries, Mapping):
            raise ValueError(f"pool file {path}: `adapters` must map names to folders (or null).")
        adapters = _specs(entries, path.parent)
        return cls(str(content.get("base_model", EMBEDDED)), tuple(adapters))


def _specs(entries: Mapping[str, Any], folder: Path) -> Sequence[AdapterSpec]:
    """Make specs of a pool file's entries."""
    return [
        AdapterSpec(str(name), None if place is None else (folder / str(place)).resolve())
        for name, place in entries.items()
    ]
