"""The repository's own texts as pages: README, reports, changelog, citation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from cffconvert import Citation

from docs.modules import NAMESPACE, contents, heading, page_of

# [text](target) and ![text](target), with neither address nor anchor alone
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(?=[)#])")
FENCED = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)
ENTRIES = ("environments", "registries", "commands", "results", "reference")


def rewrite_links(text: str, change: Callable[[str], str]) -> str:
    """Change every relative link of a text in Markdown, outside its blocks of code."""
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda found: change(found.group(1)), part)
        for part in FENCED.split(text)
    )


def linked(text: str) -> list[str]:
    """Return the relative targets of a text in Markdown, each once."""
    prose = (part for part in FENCED.split(text) if not part.startswith("```"))
    return list(dict.fromkeys(target for part in prose for target in LINK.findall(part)))


def destination(target: str, root: Path) -> str:
    """Return where a link of the README leads within the documentation.

    Parameters
    ----------
    target
        A path in the repository: a file, a module, or a folder with or without a report.
    root
        The repository.
    """
    path, module = root / target, PurePosixPath(target).with_suffix("")
    if (path / "report.md").is_file():
        return f"{target.rstrip('/')}/report.md"
    if path.is_dir():
        return f"{target.rstrip('/')}/index.md"
    if target.endswith(".py") and (root / module.parts[0] / "__init__.py").is_file():
        return f"{page_of(NAMESPACE + '.'.join(module.parts))}.rst"
    return {"CHANGELOG.md": "changelog.md", "CITATION.cff": "citation.md"}.get(target, target)


def repository_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the landing page, the list of the reports, the changelog and the citation."""
    entries = [*(f"{name}/index" for name in ENTRIES), "changelog", "citation"]
    lines = ["```{toctree}", ":hidden:", "", *entries, "```"]
    page = rewrite_links(_read(root / "README.md"), lambda target: destination(target, root))
    yield "index.md", "\n".join([page, *lines]) + "\n"
    yield "changelog.md", _read(root / "CHANGELOG.md")
    yield "citation.md", citation_page(root)
    folder = root / "results"
    found = [path.parent.relative_to(folder).as_posix() for path in _reports(root)]
    listed = contents([f"{name} <{name}/report>" for name in found], hidden=False)
    yield "results/index.rst", "\n".join([heading("Reports"), listed])


def citation_page(root: Path) -> str:
    """Write how the project is cited, from its CITATION.cff.

    Parameters
    ----------
    root
        The repository.
    """
    text = _read(root / "CITATION.cff")
    citation = Citation(text)
    forms = {
        "APA": ("text", citation.as_apalike()),
        "BibTeX": ("bibtex", citation.as_bibtex(reference="routing_gym")),
        "CITATION.cff": ("yaml", text),
    }
    blocks = [
        f"## {name}\n\n```{kind}\n{form.strip()}\n```" for name, (kind, form) in forms.items()
    ]
    return "\n\n".join(["# Citation", *blocks]) + "\n"


def repository_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the reports and whatever a page of the repository links to, where it lies there."""
    pages = [root / "README.md", *_reports(root)]
    sent: set[Path] = set()
    for page in pages:
        for target in linked(_read(page)):
            path = page.parent / target
            for found in _files(path):
                if found not in sent and not _is_page(found, root):
                    sent.add(found)
                    yield found.relative_to(root).as_posix(), found.read_bytes()
            if path.is_dir() and not (path / "report.md").is_file():
                yield f"{path.relative_to(root).as_posix()}/index.md", folder_page(path)
    for page in pages[1:]:
        yield page.relative_to(root).as_posix(), page.read_bytes()


def _reports(root: Path) -> list[Path]:
    """Return the committed reports, sorted."""
    return sorted(root.glob("results/**/report.md"))


def folder_page(folder: Path) -> bytes:
    """List a folder's files, to be fetched."""
    lines = [f"- [{path.name}]({path.name})" for path in _files(folder)]
    return "\n".join([f"# {folder.name}", "", *lines, ""]).encode()


def _files(path: Path) -> list[Path]:
    """Return a file, or the files of a folder that has no report."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    if (path / "report.md").is_file():
        return []
    return sorted(part for part in path.iterdir() if part.is_file())


def _is_page(path: Path, root: Path) -> bool:
    """Tell whether a file is shown as a page of its own."""
    relative = path.relative_to(root).as_posix()
    return path.name == "report.md" or destination(relative, root) != relative


def _read(path: Path) -> str:
    """Read a text."""
    return path.read_text(encoding="utf-8")
