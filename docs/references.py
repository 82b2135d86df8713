"""Names in docstrings and signatures mean what their module means by them."""

from __future__ import annotations

import pkgutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sphinx.addnodes import pending_xref

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement, document
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


def seen_from(module: str, target: str) -> str | None:
    """Return the full name of what a module calls by a name, if it is a class, function or module.

    Parameters
    ----------
    module
        The module whose docstring holds the name.
    target
        The name, with or without a path of attributes: ``OutcomeTable.load``.
    """
    head, *rest = target.split(".")
    found = getattr(sys.modules.get(module), head, None)
    for attribute in rest[:-1]:
        found = getattr(found, attribute, None)
    if rest:
        owners = (found, *getattr(found, "__mro__", ()))  # a method stands where it is written
        found = next(
            (owner for owner in owners if rest[-1] in getattr(owner, "__dict__", {})), None
        )
    name = getattr(found, "__qualname__", getattr(found, "__name__", None))
    home = getattr(found, "__module__", None)
    return ".".join(part for part in (home, name, *rest[-1:]) if part) if name else None


def by_ending(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the full names under their last part and under their last two."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = name.split(".")
        for count in (1, 2):
            found[".".join(parts[-count:])].append(name)
    return found


def has_no_page(target: str) -> bool:
    """Tell whether a name is private or a variable of types: right, and documented nowhere."""
    if target.rpartition(".")[2].startswith("_"):
        return True
    try:
        return isinstance(pkgutil.resolve_name(target), TypeVar)
    except (ImportError, AttributeError, ValueError):
        return False


class Names:
    """Finds what Sphinx has not found."""

    def __init__(self) -> None:
        self._endings: Mapping[str, list[str]] = {}

    def resolve(
        self, app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement
    ) -> Element | None:
        """Link a name as its module sees it, or if only one thing has it.

        The parameters are those of Sphinx's event ``missing-reference``.
        """
        if node.get("refdomain") != "py":
            return None
        domain, target = env.domains.python_domain, str(node["reftarget"]).removesuffix("()")
        full = seen_from(str(node.get("py:module") or ""), target)
        if full not in domain.objects:
            full = self._only_one(domain.objects, target)
        if full is not None:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
        return content if has_no_page(target) else None

    def _only_one(self, names: Iterable[str], target: str) -> str | None:
        """Return the one full name that ends in a class's name, or in a name of two parts."""
        if not target[:1].isupper() and "." not in target:
            return None  # `step` and `budget` are words as well
        if not self._endings:
            self._endings = by_ending(names)
        found = self._endings.get(target, ())
        return found[0] if len(found) == 1 else None


def look_exactly(app: Sphinx, doctree: document) -> None:
    """Have names looked up as they stand; `Names` does the rest.

    Sphinx would compare the exceptions that a function raises with the end of every name there is.
    The parameters are those of Sphinx's event ``doctree-read``.
    """
    for node in doctree.findall(pending_xref):
        if node.get("refdomain") == "py":
            node.attributes.pop("refspecific", None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to the names that were read, and to those that Sphinx has not found."""
    app.connect("doctree-read", look_exactly)
    app.connect("missing-reference", Names().resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
