"""Made data on disk: samples with their provenance, and a manifest that vouches for them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing_gym.queries.query import Example, Query
from routing_gym.queries.whole_file import write_whole

SAMPLES_FILE, MANIFEST_FILE, REPORT_FILE = "samples.jsonl", "manifest.json", "report.md"
FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """A made query with an answer, and where both came from.

    Parameters
    ----------
    query
        The query; its split is "".
    target
        The answer to train on.
    provenance
        JSON values: ``generator``, ``version``, ``seed``, ``complexity``, ``region``, ``slots``,
        ``phrasing`` (or ``paraphraser``), ``answer`` (its source), ``nearest`` (the evaluation
        query that comes nearest, and how near), ``content_held_out``.
    """

    query: Query
    target: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def example(self) -> Example:
        """The sample as adapters are trained on it."""
        return Example(self.query, self.target)


def write_samples(
    folder: str | os.PathLike[str],
    samples: Sequence[Sample],
    *,
    manifest: Mapping[str, Any],
    report: str = "",
) -> Path:
    """Write ``samples.jsonl``, ``manifest.json`` and ``report.md``.

    Parameters
    ----------
    folder
        Made if it does not exist. The manifest is written last: a folder without one is unfinished.
    samples
        In their order.
    manifest
        Settings and counts; the format, the number of samples and the file's sha256 are added.
    report
        Markdown for people; "" writes none.

    Returns
    -------
    Path
        The folder.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / MANIFEST_FILE).unlink(missing_ok=True)
    content = "".join(
        json.dumps(dataclasses.asdict(sample), ensure_ascii=False) + "\n" for sample in samples
    ).encode()
    write_whole(target / SAMPLES_FILE, content)
    if report:
        write_whole(target / REPORT_FILE, report.rstrip("\n") + "\n")
    record = {
        "format": FORMAT,
        "samples": len(samples),
        "sha256": hashlib.sha256(content).hexdigest(),
        **manifest,
    }
    write_whole(target / MANIFEST_FILE, json.dumps(record, indent=1) + "\n")
    return target


def read_samples(folder: str | os.PathLike[str]) -> list[Sample]:
    """Read what `write_samples` wrote.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the samples are not those that the manifest describes.
    """
    path = Path(folder) / SAMPLES_FILE
    record = read_manifest(folder)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise ValueError(
            f"{path} is not the file that {MANIFEST_FILE} describes (truncated or edited): make "
            "it again with scripts/prepare_data.py."
        )
    entries = map(json.loads, content.decode().splitlines())
    return [Sample(Query(**e["query"]), e["target"], e["provenance"]) for e in entries]


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the manifest of made data.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished data.
    ValueError
        If the manifest is of another format.
    """
    path = Path(folder) / MANIFEST_FILE
    if not path.is_file() or not (Path(folder) / SAMPLES_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished data: make it with scripts/prepare_data.py."
        )
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if record.get("format") != FORMAT:
        raise ValueError(f"{path} is of format {record.get('format')!r}, not {FORMAT}.")
    return record
