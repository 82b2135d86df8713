"""Every page of the documentation, written before Sphinx reads its sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.commands import command_pages
from docs.environments import environment_pages
from docs.modules import ROOT, module_pages, packages
from docs.registries import registry_pages
from docs.repository import repository_files, repository_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def all_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path of every source file below the folder of sources, and what it holds."""
    names = packages(root)
    for pages in (
        module_pages(names),
        environment_pages(),
        registry_pages(names),
        command_pages(root),
        repository_pages(root),
    ):
        for path, text in pages:
            yield path, text.encode()
    yield from repository_files(root)


def write_pages(folder: Path, root: Path = ROOT) -> None:
    """Write the pages; what has not changed keeps its time, what is no page any more goes.

    Parameters
    ----------
    folder
        Where Sphinx reads; everything else in it is removed.
    root
        The repository.
    """
    kept = set()
    for path, content in all_files(root):
        target = folder / path
        kept.add(target)
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for old in sorted(folder.rglob("*"), reverse=True):
        if old.is_file() and old not in kept:
            old.unlink()
        elif old.is_dir() and not any(old.iterdir()):
            old.rmdir()


def _write(app: Sphinx) -> None:
    """Write the pages into the folder that Sphinx is about to read."""
    if Path(app.srcdir) == Path(app.confdir):
        raise ValueError(
            f"the folder of sources {app.srcdir} is that of conf.py, and its files would be "
            "replaced: give an empty folder, as `make docs` does."
        )
    write_pages(Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Have the pages written first."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
