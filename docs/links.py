"""Every link and anchor of the built pages leads somewhere, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LOG = logging.getLogger(__name__)
_LINKING = ("href", "src")


@dataclass
class Page(HTMLParser):
    """The links and the anchors of one page."""

    links: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to and what it is called."""
        for name, value in attrs:
            if value and name in _LINKING:
                self.links.add(value)
            elif value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)


def read_page(path: Path) -> Page:
    """Read the links and anchors of a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken_links(folder: Path) -> Iterator[str]:
    """Yield a sentence for each link of the pages below a folder that leads nowhere in it.

    Parameters
    ----------
    folder
        The built pages. Links to other hosts are not followed: ``sphinx-build -b linkcheck`` is.
    """
    root = folder.resolve()
    pages = {path: read_page(path) for path in sorted(root.rglob("*.html"))}
    for path, page in pages.items():
        for link in sorted(page.links):
            fault = _fault(link, path, pages, root)
            if fault:
                yield f"{path.relative_to(root)}: {link!r} {fault}"


def _fault(link: str, path: Path, pages: dict[Path, Page], root: Path) -> str | None:
    """Say what is wrong with one link."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(root) or not target.is_file():
        return "leads to no file of the documentation"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"names no anchor of {target.name}"
    return None


def _check(app: Sphinx, error: Exception | None) -> None:
    """Warn of every broken link, once the pages are written."""
    if error is None and app.builder.format == "html":
        for sentence in broken_links(Path(app.outdir)):
            _LOG.warning("broken link: %s", sentence)


def setup(app: Sphinx) -> dict[str, Any]:
    """Check the pages when they have been written."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
