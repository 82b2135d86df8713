"""Registries are dictionaries of strings; this module turns a name into the object behind it."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from typing import Any


def resolve(registry: Mapping[str, str], name: str, *, kind: str = "entry") -> Any:
    """Import the object that a registry knows under a name.

    Parameters
    ----------
    registry
        Name -> ``"package.module:attribute"``.
    name
        A key of the registry, or a ``"package.module:attribute"`` of outside code.
    kind
        What the registry holds, for the error message ("agent", "metric", ...).

    Raises
    ------
    ValueError
        If the name is neither known nor importable.
    """
    target = name if ":" in name else registry.get(name)
    if target is None:
        close = difflib.get_close_matches(name, registry, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"unknown {kind} {name!r}: known are {', '.join(sorted(registry))}{hint}")
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} {name!r} cannot be imported from {target!r}: {error}.") from error
