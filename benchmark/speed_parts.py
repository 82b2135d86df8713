"""Finished contests on disk, so that a measurement that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from routing_gym.benchmark.provenance import source_hash
from routing_gym.benchmark.speed import ContestResult, ContestSettings, SpeedRow
from routing_gym.benchmark.statistics import figures_from_json, figures_to_json
from routing_gym.queries.whole_file import write_whole

RECORD = "contest.json"
SOURCES = ("adapters", "agents", "benchmark", "envs", "rewards")


def contest_key(settings: ContestSettings, *, table_hash: str) -> str:
    """Hash what a contest's outcome depends on, the code among it; the machine is not.

    Parameters
    ----------
    settings
        What the contest is told.
    table_hash
        Of the outcome table.
    """
    told = asdict(replace(settings, progress=False)) | {"table": table_hash}
    content = json.dumps([told, source_hash(*SOURCES)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def save_contest(result: ContestResult, folder: Path, *, key: str) -> None:
    """Write a contest and draw its plots; the record comes last, so that it stands for the rest.

    Parameters
    ----------
    result
        What the contest found.
    folder
        Of this contest alone; replaced.
    key
        From `contest_key`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, draw in result.plots.items():
        draw(folder / name)
    content = {
        "key": key,
        "rows": [row.__dict__ for row in result.rows],
        "figures": figures_to_json(result.figures),
        "section": result.section,
        "plots": list(result.plots),
        "versions": list(result.versions),
    }
    write_whole(folder / RECORD, json.dumps(content))


def read_contest(folder: Path, *, key: str) -> ContestResult | None:
    """Read a contest; None if it is missing, broken, or was of other settings or code.

    Parameters
    ----------
    folder
        Of this contest alone.
    key
        From `contest_key`.
    """
    try:
        content = json.loads((folder / RECORD).read_text("utf-8"))
        if content["key"] != key:
            return None
        return ContestResult(
            rows=tuple(SpeedRow(**row) for row in content["rows"]),
            figures=figures_from_json(content["figures"]),
            section=str(content["section"]),
            plots={name: _copy(folder / name) for name in content["plots"]},
            versions=tuple(content["versions"]),
        )
    except (OSError, ValueError, KeyError, TypeError):  # no file, no JSON, no contest
        return None


def _copy(drawn: Path) -> Callable[[Path], None]:
    """Return what puts a drawn plot, in every format that there is, where it is wanted."""

    def put(path: Path) -> None:
        for suffix in {".png", ".svg", path.suffix}:
            if drawn.with_suffix(suffix).is_file():
                shutil.copyfile(drawn.with_suffix(suffix), path.with_suffix(suffix))

    return put
