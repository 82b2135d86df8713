"""Opening a pool on a server: every adapter is listed there, loaded if need be, and active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routing_gym.adapters.http_connection import ServerConnection, ServerError
from routing_gym.adapters.http_retry import CallError
from routing_gym.adapters.spec import AdapterSpec, PoolSpec

BASE_MODEL = "base.model"  # what the base is called here; no adapter's name has a dot
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ServedModels:
    """What the adapters of a pool are called at its server.

    Parameters
    ----------
    of
        Adapter, or `BASE_MODEL` -> model name.
    others
        The same -> names of other models, with which its answers may not be signed.
    """

    of: Mapping[str, str]
    others: Mapping[str, frozenset[str]]

    def check_signature(self, name: str, content: Any, root: str) -> None:
        """Refuse an answer that another model signs.

        Parameters
        ----------
        name
            Who was asked.
        content
            The answer's JSON.
        root
            The replica that answered.

        Raises
        ------
        CallError
            If what stands there is no name.
        ServerError
            If it is another model's.
        """
        signed = content.get("model") if isinstance(content, Mapping) else None
        if not isinstance(signed, str | None):
            raise CallError(f"the answer is signed by {signed!r:.60}", again=True)
        if signed in self.others[name]:
            raise ServerError(
                f"{root} let {signed!r} answer for adapter {name!r} (model {self.of[name]!r}): "
                "load the adapter there again."
            )


def find_models(spec: PoolSpec, connection: ServerConnection) -> ServedModels:
    """Find every adapter in the list of every replica; load those that are missing.

    Parameters
    ----------
    spec
        A pool with a server.
    connection
        To that server.

    Raises
    ------
    ServerError
        If a replica cannot be reached, or an adapter is missing and cannot be loaded.
    """
    found = [_find(spec, connection, root) for root in connection.server.roots]
    if any(models != found[0] for models in found):
        raise ServerError(
            f"the servers {', '.join(connection.server.roots)} list different models: start them "
            "with the same base model and the same adapters."
        )
    return found[0]


def _find(spec: PoolSpec, connection: ServerConnection, root: str) -> ServedModels:
    """Find the models of one replica."""
    entries = _listed(connection, root)
    own = {a.name: _model(a) for a in spec.adapters if not a.is_base}
    missing = [a for a in spec.adapters if a.name in own and own[a.name] not in _ids(entries)]
    for adapter in missing:
        _load(adapter, own[adapter.name], connection, root)
    if missing:
        entries = _listed(connection, root)
    _check_listed(spec, own, entries, root)
    base = connection.server.base or _base_of(entries, own, root)
    if base not in _ids(entries):
        raise ServerError(f"{root} has no model {base!r}: it has {', '.join(_ids(entries))}.")
    of = {BASE_MODEL: base} | {a.name: own.get(a.name, base) for a in spec.adapters}
    # The base may have several names, without a parent; what has one is an adapter.
    adapters = {str(e["id"]) for e in entries if e.get("parent")} | set(own.values())
    others = {
        name: frozenset((adapters if model == base else set(_ids(entries))) - {model})
        for name, model in of.items()
    }
    return ServedModels(of, others)


def _listed(connection: ServerConnection, root: str) -> Entries:
    """Read a replica's list of models."""
    try:
        content = connection.get(root, "/models")
    except CallError as error:
        raise ServerError(f"{root} does not list its models: {error}.") from None
    entries = content.get("data") if isinstance(content, Mapping) else None
    usable = isinstance(entries, list) and all(
        isinstance(entry, Mapping) and isinstance(entry.get("id"), str) for entry in entries
    )
    if not usable:
        raise ServerError(f"{root} sent no list of models: is it an OpenAI-compatible server?")
    return entries  # type: ignore[return-value]


def _ids(entries: Entries) -> list[str]:
    return [str(entry["id"]) for entry in entries]


def _model(adapter: AdapterSpec) -> str:
    """Name an adapter as its server does."""
    return (adapter.served.model if adapter.served else "") or adapter.name


def _load(adapter: AdapterSpec, model: str, connection: ServerConnection, root: str) -> None:
    """Let a replica load an adapter; without a place to load it from, leave it to the check."""
    source = adapter.served.source if adapter.served else ""
    if not source:
        return
    try:
        connection.tell(root, "/load_lora_adapter", {"lora_name": model, "lora_path": source})
    except (CallError, ServerError) as error:
        if model in _ids(_listed(connection, root)):
            return  # by another process meanwhile, or by a request whose answer was lost
        raise ServerError(
            f"adapter {adapter.name!r}: {root} did not load {source!r} ({error}): start vLLM with "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or name the adapter in --lora-modules."
        ) from None


def _check_listed(spec: PoolSpec, own: Mapping[str, str], entries: Entries, root: str) -> None:
    """Refuse an adapter that is not in the list, or is there with the weights of another place."""
    places = {str(entry["id"]): entry.get("root") for entry in entries}
    for adapter in spec.adapters:
        model = own.get(adapter.name)
        if model is None:
            continue
        if model not in places:
            raise ServerError(
                f"adapter {adapter.name!r}: {root} has no model {model!r}; it has "
                f"{', '.join(places)}. Load it there, name its model in `model`, or give the place "
                "of its weights there in `source`."
            )
        source = adapter.served.source if adapter.served else ""
        if source and places[model] not in (None, source, model):
            raise ServerError(
                f"adapter {adapter.name!r}: {root} has {model!r} from {places[model]!r}, not from "
                f"{source!r}: unload it there (/v1/unload_lora_adapter), or correct `source`."
            )


def _base_of(entries: Entries, own: Mapping[str, str], root: str) -> str:
    """Find the only model without a parent that is no adapter of the pool."""
    loaded = set(own.values())
    bases = [str(e["id"]) for e in entries if not e.get("parent") and e["id"] not in loaded]
    if len(bases) != 1:
        raise ServerError(
            f"{root} lists {len(bases)} models that could be the base ({', '.join(bases)}): name "
            "it in server.base."
        )
    return bases[0]
