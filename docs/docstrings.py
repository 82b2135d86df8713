"""Docstrings on their way into the reference: numpy's convention, read by napoleon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import desc_annotation
from sphinx.ext.napoleon import Config, NumpyDocstring

from docs.environments import environment_classes, short_name, split_docstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Attributes become fields: as objects they would be there twice where a property has the name.
CONVENTION: Any = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)
LONGEST_VALUE = 160  # characters


def read_docstring(
    app: Sphinx, what: str, name: str, described: Any, options: Any, lines: list[str]
) -> None:
    """Turn a docstring into reStructuredText; an environment's Markdown is left to its page.

    Of napoleon only the reader is used: its extension takes what stands before a colon in an
    attribute's docstring for a type. The parameters are those of Sphinx's event
    ``autodoc-process-docstring``; ``lines`` is changed in place.
    """
    if what == "class" and described in environment_classes().values():
        lines[:] = _environment(described, lines, no_index=bool(options.get("no-index")))
    kind: Any = "object" if what in ("attribute", "data", "property") else what
    lines[:] = NumpyDocstring(lines, CONVENTION, app, kind, name, described, options).lines()


def _environment(described: Any, lines: list[str], *, no_index: bool) -> list[str]:
    """Return an environment's sentence, the way to its page and its numpy sections."""
    sentence, _, sections = split_docstring("\n".join(lines))
    (identifier,) = (name for name, kind in environment_classes().items() if kind is described)
    page = f"Its page is :doc:`/environments/{short_name(identifier)}`."
    lead = [] if no_index else [*sentence.splitlines(), "", page, ""]
    return [*lead, *sections.splitlines(), ""]


def leave_out_object(
    app: Sphinx, name: str, described: Any, options: Any, bases: list[Any]
) -> None:
    """Name no base where it is `object` alone; the parameters are those of Sphinx's event."""
    if bases == [object]:
        bases.clear()


def shorten_values(app: Sphinx, doctree: nodes.document) -> None:
    """Leave out the values of constants that would fill lines: registries have pages.

    The parameters are those of Sphinx's event ``doctree-read``.
    """
    for annotation in doctree.findall(desc_annotation):
        value = annotation.children[-1]
        if isinstance(value, nodes.Text) and len(value) > LONGEST_VALUE:
            annotation.replace(value, nodes.Text("..."))


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to docstrings, bases and values."""
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-bases", leave_out_object)
    app.connect("doctree-read", shorten_values)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
