"""The members of every registry, with the first sentence of what each name stands for."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from sphinx.pycode import ModuleAnalyzer

from docs.modules import NAMESPACE, ROOT, contents, heading, modules, summary, table
from routing_gym.adapters.pools import POOLS
from routing_gym.queries.registry import resolve

POOL_FILES = ROOT / "configs" / "pools"


def is_registry(values: Any) -> bool:
    """Tell whether something maps names to ``"package.module:attribute"`` or to our classes."""
    return (
        isinstance(values, dict)
        and len(values) > 0
        and all(isinstance(name, str) and _is_target(value) for name, value in values.items())
    )


def _is_target(value: Any) -> bool:
    """Tell whether a registry may hold this."""
    if isinstance(value, str):
        return re.fullmatch(r"routing_gym[\w.]*:\w+", value) is not None
    return isinstance(value, type) and value.__module__.startswith(NAMESPACE)


def registries(names: Sequence[str]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Find every registry of some packages: each annotated constant that is one.

    Returns
    -------
    dict
        (module, name of the constant) -> the registry.
    """
    found = {}
    for package in names:
        for module in (importlib.import_module(package), *modules(package)):
            # Only where it was assigned, not where it was imported.
            for name in getattr(module, "__annotations__", {}):
                if name.isupper() and is_registry(vars(module).get(name)):
                    found[module.__name__, name] = vars(module)[name]
    return found


def registry_pages(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a page for each registry, the page of the pools among them, and their list."""
    rows, entries = [], []
    pages = {place: _members(values) for place, values in registries(names).items()}
    pages["routing_gym.adapters.pools", "POOLS"] = _pools()
    for (module, name), (text, count) in pages.items():
        page = f"{module.removeprefix(NAMESPACE).replace('.', '-')}-{name.lower()}"
        said = said_of(module, name)
        rows.append([f":doc:`{name} <{page}>`", str(count), f":py:mod:`{module}`", said])
        entries.append(f"{name} <{page}>")
        lead = f"{said}\n\nIt stands in :py:mod:`{module}`.\n"
        yield f"registries/{page}.rst", "\n".join([heading(name), lead, text])
    text = table(["registry", "members", "module", "what it holds"], rows)
    yield "registries/index.rst", "\n".join([heading("Registries"), text, contents(entries)])


def said_of(module: str, name: str) -> str:
    """Return what stands under a constant, or what its module is for."""
    said = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
    return " ".join(said).strip() if said else summary(importlib.import_module(module))


def _members(values: Mapping[str, Any]) -> tuple[str, int]:
    """Write a registry's names, what they stand for, and how many they are."""
    rows = []
    for name, value in values.items():
        target = resolve(values, name) if isinstance(value, str) else value
        path = f"{target.__module__}.{target.__qualname__}"
        role = "class" if isinstance(target, type) else "func"
        rows.append([f"``{name}``", f":py:{role}:`~{path}`", summary(target)])
    return table(["name", "what it stands for", "its first sentence"], rows), len(rows)


def _pools() -> tuple[str, int]:
    """Write the names of the pools, and what their files hold."""
    head = ["name", "file", "base model", "adapters, in the order of the actions"]
    rows = []
    for name, file in POOLS.items():
        pool = yaml.safe_load((POOL_FILES / file).read_text(encoding="utf-8"))
        adapters = ", ".join(f"``{adapter}``" for adapter in pool["adapters"])
        base = f"``{pool['base_model']}``"
        rows.append([f"``{name}``", f"``configs/pools/{file}``", base, adapters])
    return table(head, rows), len(rows)
