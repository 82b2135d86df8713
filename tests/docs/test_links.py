"""Broken links of built pages are found; others are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the documentation needs routing-gym[docs]")

from docs.links import broken_links

PAGE = '<html><body id="top"><a name="old"></a><h1 id="a b">x</h1>{}</body></html>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text(PAGE.format(""))
    (tmp_path / "picture.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        '<a href="sub/">x</a>',
        '<a href="sub/index.html#a%20b">x</a>',
        '<a href="#old">x</a>',
        '<a href="sub/index.html?q=1#top">x</a>',
        '<img src="picture.png">',
        '<a href="https://example.org/nowhere">x</a>',
        '<a href="mailto:someone@example.org">x</a>',
        '<a href="">x</a>',
    ],
)
def test_right_links_pass(site: Path, link: str) -> None:
    (site / "page.html").write_text(PAGE.format(link))
    assert list(broken_links(site)) == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ('<a href="missing.html">x</a>', "'missing.html' leads to no file"),
        ('<a href="sub/index.html#none">x</a>', "names no anchor of index.html"),
        ('<a href="#none">x</a>', "names no anchor of page.html"),
        ('<img src="sub/picture.png">', "leads to no file"),
        ('<a href="../outside.html">x</a>', "leads to no file"),
    ],
)
def test_broken_links_are_found(site: Path, link: str, fault: str) -> None:
    (site.parent / "outside.html").write_text("")
    (site / "page.html").write_text(PAGE.format(link))
    (found,) = broken_links(site)
    assert found.startswith("page.html: ")
    assert fault in found
