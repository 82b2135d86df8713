"""Formulas as MathML: browsers show it by themselves, no script comes from another host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils.nodes import Element, SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

_LOG = logging.getLogger(__name__)


def write_math(translator: HTML5Translator, node: Element, *, block: bool) -> None:
    """Write a formula; one that MathML's writer does not understand is a warning.

    Parameters
    ----------
    translator
        Writes the page.
    node
        Holds the formula in LaTeX.
    block
        Whether it stands on lines of its own.
    """
    try:
        translator.body.append(tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        _LOG.warning("no formula in LaTeX: %s (%s)", node.astext(), error, location=node)
    raise SkipNode


def _inline(translator: HTML5Translator, node: Element) -> None:
    """Write a formula within a line."""
    write_math(translator, node, block=False)


def _block(translator: HTML5Translator, node: Element) -> None:
    """Write a formula on lines of its own."""
    write_math(translator, node, block=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
