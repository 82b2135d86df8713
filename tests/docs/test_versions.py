"""Changelog, citation and package name one version; the citation keeps its schema."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return dict(setup["metadata"])


@pytest.fixture(scope="module")
def citation() -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    return loaded


def released(text: str) -> list[str]:
    """The versions of a changelog, the newest first."""
    return re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$", text, flags=re.MULTILINE)


def test_version_is_one(metadata: dict[str, str], citation: dict[str, object]) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert citation["version"] == metadata["version"]
    assert released(changelog)[0] == metadata["version"]


def test_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert len(released("\n".join(f"## {h}" for h in headings))) == len(headings) - 1


def test_citation_is_valid_and_invents_nothing(
    metadata: dict[str, str], citation: dict[str, object]
) -> None:
    cffconvert = pytest.importorskip("cffconvert")
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    cffconvert.Citation(text).validate()
    assert citation["license"] == metadata["license"]
    assert citation["authors"] == [{"name": "The Routing Gym authors"}]
    assert {"doi", "url", "identifiers", "repository-code"}.isdisjoint(citation)
