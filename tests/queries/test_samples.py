"""Made data on disk: read back as it was, refused when edited or unfinished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample, read_manifest, read_samples, write_samples

SAMPLES = [
    Sample(Query("a", "Ünder {which} sky?", "open", "open", form="word"), "blue", {"seed": 1}),
    Sample(Query("b", "Two\nlines?", "open", "open"), "yes", {"slots": {"x": "1"}}),
]


def test_written_samples_are_read_back(tmp_path: Path) -> None:
    write_samples(tmp_path, SAMPLES, manifest={"seed": 1}, report="# Data")
    assert read_samples(tmp_path) == SAMPLES
    assert read_manifest(tmp_path)["samples"] == 2
    assert (tmp_path / "report.md").read_text() == "# Data\n"
    assert SAMPLES[0].example.target == "blue"


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, SAMPLES, manifest={})
    path = tmp_path / "samples.jsonl"
    path.write_text(path.read_text().replace("blue", "red"))
    with pytest.raises(ValueError, match="truncated or edited"):
        read_samples(tmp_path)


def test_unfinished_data_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, SAMPLES, manifest={})
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="no finished data"):
        read_samples(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, SAMPLES, manifest={})
    record = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**record, "format": 9}))
    with pytest.raises(ValueError, match="of format 9, not 1"):
        read_samples(tmp_path)
