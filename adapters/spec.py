"""What an adapter and a pool are: names, weights, order, and the fingerprint that binds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from routing_gym.adapters.base_model import EMBEDDED
from routing_gym.adapters.http_server import ServedAdapter, ServerSpec

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
        base model itself, or an adapter that only a server has.
    served
        What a server's adapter is called there and which weights those are.
    template
        What is applied where it is not the project's prompt alone: ``"chat"`` for a server's
        template; see `ServerSpec.template`.

    Raises
    ------
    ValueError
        If the name is empty or has a dot, which peft's layers cannot hold.
    FileNotFoundError
        If the folder lacks the weights.
    """

    name: str
    path: Path | None = None
    served: ServedAdapter | None = None
    template: str = ""

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
    def is_base(self) -> bool:
        """Whether this is the base model itself."""
        return self.path is None and (self.served is None or not self.served.revision)

    @property
    def sha256(self) -> str:
        """Hash of the weights and of the settings that scale them; of nothing for the base.

        Where only a server has them, it is of what is stated about them. A prompt template that
        is not the project's changes the answers, and so the hash.
        """
        weights = self._weights_sha256()
        if not self.template:
            return weights
        return hashlib.sha256(json.dumps([weights, self.template]).encode()).hexdigest()

    def _weights_sha256(self) -> str:
        if self.path is None:
            if self.served is not None and not self.is_base:
                return self.served.sha256(self.name)
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
    server
        The server that answers; None is this machine.

    Raises
    ------
    ValueError
        If there are fewer than two adapters, a name stands twice, or only a server has an adapter
        and none is named.
    """

    base_model: str
    adapters: tuple[AdapterSpec, ...]
    server: ServerSpec | None = None

    def __post_init__(self) -> None:
        names = self.names
        if len(names) < 2:
            raise ValueError(f"adapters={names} leaves nothing to route: give at least two.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"adapter name {twice[0]!r} stands twice in the pool: rename one.")
        away = [a.name for a in self.adapters if a.path is None and not a.is_base]
        if away and self.server is None:
            raise ValueError(
                f"adapter {away[0]!r} has no local folder: give its `path`, or the pool a `server`."
            )

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

        Folders are relative to the file. With ``server`` (see `ServerSpec`) an entry can also be
        a mapping: the fields of `ServedAdapter`, and ``path``.

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
        known = {"base_model", "adapters", "server"}
        if not isinstance(content, Mapping) or set(content) - known:
            extra = sorted(set(content) - known) if isinstance(content, Mapping) else content
            raise ValueError(f"pool file {path}: unknown keys {extra}; known are {sorted(known)}.")
        entries = content.get("adapters")
        if not isinstance(entries, Mapping):
            raise ValueError(f"pool file {path}: `adapters` must map names to folders (or null).")
        server = ServerSpec.from_mapping(content["server"]) if "server" in content else None
        template = "" if server is None else server.template
        adapters = [
            _spec(str(name), entry, folder=path.parent, template=template)
            for name, entry in entries.items()
        ]
        return cls(str(content.get("base_model", EMBEDDED)), tuple(adapters), server)


def _spec(name: str, entry: object, *, folder: Path, template: str) -> AdapterSpec:
    """Make a spec of a pool file's entry."""
    served = ServedAdapter.from_entry(name, entry) if isinstance(entry, Mapping) else None
    place = entry.get("path") if isinstance(entry, Mapping) else entry
    path = None if place is None else (folder / str(place)).resolve()
    return AdapterSpec(name, path, served, template)
