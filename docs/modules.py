"""The reference of the code: one page per module, found by walking the packages."""

from __future__ import annotations

import configparser
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "routing_gym."


def packages(root: Path = ROOT) -> list[str]:
    """Return the packages with code in the order of setup.cfg, the lowest floor first."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    names = setup["options"]["packages"].split()
    return [name for name in names if (_folder(name, root) / "__init__.py").is_file()]


def _folder(package: str, root: Path) -> Path:
    """Return where setup.cfg's mapping has a package."""
    return root.joinpath(*package.removeprefix(NAMESPACE).split("."))


def modules(package: str) -> list[ModuleType]:
    """Import a package's modules, sorted by name.

    Raises
    ------
    ImportError
        If one of them cannot be imported.
    """
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    public = (part.name for part in found if not part.name.rpartition(".")[2].startswith("_"))
    return [importlib.import_module(name) for name in sorted(public)]


def summary(described: object) -> str:
    """Return the first sentence of a docstring, on one line."""
    paragraph = " ".join((inspect.getdoc(described) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)`\]][.])\s+(?=[A-Z`])", paragraph, maxsplit=1)[0]


def page_of(module: str) -> str:
    """Return the page of a module: ``reference/envs/table`` of ``routing_gym.envs.table``."""
    path = module.removeprefix(NAMESPACE).replace(".", "/")
    return f"reference/{path}" if "/" in path else f"reference/{path}/index"


def heading(text: str, sign: str = "=") -> str:
    """Underline a heading in reStructuredText."""
    return f"{text}\n{sign * len(text)}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: str = "auto") -> str:
    """Write a table in reStructuredText, one cell a line."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def contents(entries: Sequence[str], *, hidden: bool = True) -> str:
    """Write a table of contents in reStructuredText."""
    options = ["   :hidden:"] * hidden
    return "\n".join([".. toctree::", *options, "", *(f"   {entry}" for entry in entries)]) + "\n"


def module_pages(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pages of all modules, of their packages, and the list of the packages."""
    rows, entries = [], []
    for name in names:
        package, parts = importlib.import_module(name), modules(name)
        short = name.removeprefix(NAMESPACE)
        rows.append([f":doc:`{name} <{short}/index>`", str(len(parts)), summary(package)])
        entries.append(f"{short} <{short}/index>")
        yield f"{page_of(name)}.rst", _package_page(name, parts)
        for part in parts:
            text = heading(part.__name__) + f"\n.. automodule:: {part.__name__}\n"
            yield f"{page_of(part.__name__)}.rst", text
    text = table(["package", "modules", "the question it answers"], rows)
    yield "reference/index.rst", "\n".join([heading("Reference"), text, contents(entries)])


def _package_page(name: str, parts: Sequence[ModuleType]) -> str:
    """Write what a package says of itself, and its modules with their first sentences."""
    own = [part.__name__.removeprefix(f"{name}.") for part in parts]
    paths = [short.replace(".", "/") for short in own]
    rows = [
        [f":doc:`{short} <{path}>`", summary(part)]
        for short, path, part in zip(own, paths, parts, strict=True)
    ]
    listed = table(["module", "what it is"], rows) if rows else ""
    entries = [f"{short} <{path}>" for short, path in zip(own, paths, strict=True)]
    parts_text = [heading(name), f".. automodule:: {name}\n", heading("Modules", "-"), listed]
    return "\n".join([*parts_text, contents(entries)])
