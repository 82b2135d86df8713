"""Pages are made from the code: whatever is registered or written has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the documentation needs routing-gym[docs]")
pytest.importorskip("cffconvert", reason="the documentation needs routing-gym[docs]")

from myst_parser.mdit_to_docutils.base import default_slugify

from docs.environments import environment_page, short_name, split_docstring
from docs.modules import ROOT, packages, page_of, summary
from docs.pages import all_files, write_pages
from docs.registries import is_registry, registries
from docs.repository import destination, linked, rewrite_links
from routing_gym.adapters.pools import POOLS
from routing_gym.agents import AGENTS
from routing_gym.envs import ENVS, VECTOR_ENVS
from routing_gym.envs.cascade import CascadeEnv
from routing_gym.queries import TASKS
from routing_gym.queries.registry import resolve
from routing_gym.rewards import METRICS


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    found = {path: text for path, text in all_files(ROOT) if path.endswith((".md", ".rst"))}
    return {path: text.decode() for path, text in found.items()}


def test_every_public_module_has_a_page(pages: dict[str, str]) -> None:
    for package in packages():
        for path in (ROOT / package.removeprefix("routing_gym.")).rglob("*.py"):
            name = ".".join(("routing_gym", *path.relative_to(ROOT).with_suffix("").parts))
            name = name.removesuffix(".__init__")
            if not path.stem.startswith("_") or path.stem == "__init__":
                assert f".. automodule:: {name}\n" in pages[f"{page_of(name)}.rst"]


@pytest.mark.parametrize("name", ENVS)
def test_environment_has_its_page(pages: dict[str, str], name: str) -> None:
    page = pages[f"environments/{short_name(name)}.md"]
    described = resolve(ENVS, name)
    sections = re.findall(r"^ *(## .+)$", described.__doc__, flags=re.MULTILINE)
    assert {"## Description", "## Action Space", "## Observation Space", "## Rewards"} <= {
        *sections
    }
    for section in sections:
        assert f"\n{section}\n" in page
    assert VECTOR_ENVS[name].replace(":", ".") in page
    assert f"autoclass:: {ENVS[name].replace(':', '.')}" in page
    assert "Parameters\n---" not in page  # shown by the constructor


def test_a_new_environment_is_described_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class NewEnv(CascadeEnv):
        """Do something new.

        ## Description

        It is new.

        Parameters
        ----------
        table
            The table.
        """

    monkeypatch.setitem(VECTOR_ENVS, "RoutingGym/New-v0", "somewhere:NewVectorEnv")
    page = environment_page("RoutingGym/New-v0", NewEnv)
    assert page.startswith("# New-v0\n\nDo something new.\n")
    assert "## Description\n\nIt is new.\n" in page
    assert "The table." not in page


def test_an_environment_without_sections_is_refused() -> None:
    with pytest.raises(ValueError, match="has no section '## Description'"):
        split_docstring("One sentence.\n\nParameters\n----------\nx\n    A number.\n")


def test_docstring_is_split() -> None:
    text = "One.\n\n## Description\n\nTwo.\n\nParameters\n----------\nx\n    A number.\n"
    numpy = "Parameters\n----------\nx\n    A number."
    assert split_docstring(text) == ("One.", "## Description\n\nTwo.", numpy)


@pytest.mark.parametrize(
    ("page", "registry"),
    [
        ("queries-tasks-tasks", TASKS),
        ("rewards-registry-metrics", METRICS),
        ("agents-agents", AGENTS),
        ("envs-envs", ENVS),
        ("adapters-pools-pools", POOLS),
    ],
)
def test_registry_is_listed(pages: dict[str, str], page: str, registry: dict[str, str]) -> None:
    text = pages[f"registries/{page}.rst"]
    assert f" <{page}>\n" in pages["registries/index.rst"]
    for name, target in registry.items():
        row = text.split(f"   * - ``{name}``\n")[1].split("   * - ")[0]
        if ":" in target:
            assert target.partition(":")[2] in row
            assert summary(resolve(registry, name)) in row


def test_registries_are_found_where_they_are_assigned() -> None:
    found = registries(["routing_gym.queries"])
    assert ("routing_gym.queries.tasks", "TASKS") in found
    assert ("routing_gym.queries", "TASKS") not in found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": "routing_gym.x:Y"}, True),
        ({"a": CascadeEnv}, True),
        ({"a": "x"}, False),
        ({"a": int}, False),
        ({}, False),
        ({1: "routing_gym.x:Y"}, False),
        (("a", "b"), False),
    ],
)
def test_what_a_registry_is(value: object, expected: bool) -> None:
    assert is_registry(value) is expected


def test_every_command_shows_its_help(pages: dict[str, str]) -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        if "\ndef main(" in path.read_text("utf-8"):
            page = pages[f"commands/{path.stem}.rst"]
            assert f"usage: {path.name}" in page
            assert "--config FILE" in page


def test_reports_changelog_and_citation_are_pages(pages: dict[str, str]) -> None:
    for path in ROOT.glob("results/**/report.md"):
        assert path.relative_to(ROOT).as_posix() in pages
    assert "## Unreleased" in pages["changelog.md"]
    assert "@misc{routing_gym," in pages["citation.md"]


def test_links_of_the_readme_lead_to_pages(pages: dict[str, str]) -> None:
    for target in linked((ROOT / "README.md").read_text("utf-8")):
        leads = destination(target, ROOT)
        assert leads in pages or (ROOT / leads).is_file(), target


def test_anchors_of_the_readme_are_headings() -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text("utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {default_slugify(heading) for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= slugs
    for target, anchor in re.findall(r"\]\(((?!http)[^)#]+\.md)#([^)]+)\)", text):
        other = (ROOT / target).read_text("utf-8")
        found = re.findall(r"^#+ (.+)$", other, flags=re.MULTILINE)
        assert anchor in {default_slugify(heading) for heading in found}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("results/pool", "results/pool/report.md"),
        ("results/pool/report.md", "results/pool/report.md"),
        ("deploy/kubernetes", "deploy/kubernetes/index.md"),
        ("envs/table.py", "reference/envs/table.rst"),
        ("deploy/load/locustfile.py", "deploy/load/locustfile.py"),
        ("CHANGELOG.md", "changelog.md"),
        ("Makefile", "Makefile"),
    ],
)
def test_destination(target: str, expected: str) -> None:
    assert destination(target, ROOT) == expected


def test_links_in_blocks_of_code_stay() -> None:
    text = "[a](b) ![c](d#e) [f](https://g) [h](#i)\n```\n[a](b)\n```\n"
    changed = rewrite_links(text, str.upper)
    assert changed == "[a](B) ![c](D#e) [f](https://g) [h](#i)\n```\n[a](b)\n```\n"
    assert linked(text) == ["b", "d"]


def test_only_what_changed_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a/one.rst": b"1", "two.rst": b"2"}
    monkeypatch.setattr("docs.pages.all_files", lambda root: iter(files.items()))
    write_pages(tmp_path)
    before = (tmp_path / "two.rst").stat().st_mtime_ns
    files.pop("a/one.rst")
    files["two.rst"] = b"2"
    write_pages(tmp_path)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "two.rst").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First. Second.", "First."),
        ("Ratio of 1.5 to\n2. Second.", "Ratio of 1.5 to 2."),
        ("Spans\ntwo lines.\n\nMore.", "Spans two lines."),
        ("", ""),
    ],
)
def test_summary(text: str, expected: str) -> None:
    class Described:
        pass

    Described.__doc__ = text
    assert summary(Described) == expected
