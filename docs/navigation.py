"""The navigation beside a page: open where the page stands, closed elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx


def collapse(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Node | None
) -> None:
    """Hand the theme a tree without the closed branches.

    Hundreds of modules would otherwise be in every page, and be written again for each. The
    parameters are those of Sphinx's event ``html-page-context``; ``context`` is changed in place.
    """
    if "toctree" in context:
        context["toctree"] = _collapsed(context["toctree"])


def _collapsed(toctree: Any) -> Any:
    """Overrule what the theme asks for."""

    def tree(**options: Any) -> str:
        return str(toctree(**(options | {"collapse": True})))

    return tree


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen before furo, which asks for the tree at 500."""
    app.connect("html-page-context", collapse, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
