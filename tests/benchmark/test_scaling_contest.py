"""The contest of executors: what is counted, what is compared, what is written."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec
from routing_gym.benchmark import scaling_contest
from routing_gym.benchmark.scaling_contest import (
    COMPETITORS,
    LOCAL,
    ONE,
    RAY,
    CollectionRun,
    Idle,
    Together,
    contest_figures,
    idle_runs,
    race,
)
from routing_gym.benchmark.scaling_report import contest_section, draw_executors
from routing_gym.benchmark.statistics import Interval
from tests.envs.executor_works import BatchPool
from tests.synthetic import identity_table

FEW = tuple(replace(entry, items=20) for entry in COMPETITORS if entry.name != RAY)


def runs(**digests: str) -> list[CollectionRun]:
    """Two repeats: Ray is 1.8 and 1.6 times as fast, and takes 10 seconds to start."""
    times = {ONE: ((18.0, 20.0), (16.0, 18.0)), RAY: ((10.0, 20.0), (10.0, 20.0))}
    return [
        CollectionRun(name, repeat, 90, warm, total, digests.get(name, "same"))
        for name, own in times.items()
        for repeat, (warm, total) in enumerate(own)
    ]


def value(figure: float | Interval) -> float:
    return figure.value if isinstance(figure, Interval) else figure


def test_figures_by_hand() -> None:
    idle = [CollectionRun(RAY, repeat, 300, 1.5, 9.0) for repeat in range(2)]
    figures = {name: value(v) for name, v in contest_figures(runs(), idle).items()}
    assert figures == pytest.approx(
        {
            "one_answers_per_second": (90 / 18 + 90 / 16) / 2,
            "one_start_seconds": 2.0,
            "ray_answers_per_second": 9.0,
            "ray_start_seconds": 10.0,
            "ray_items_per_second": 200.0,
            "ray_speedup": 1.7,
            "ray_speedup_with_start": 0.95,
            "ray_identical": 1.0,
        }
    )
    assert contest_figures(runs(ray="other"), [])["ray_identical"] == 0.0


def test_the_section_and_the_picture(tmp_path: Path) -> None:
    section = contest_section(runs(), contest_figures(runs(), []), flush_rows=8)
    assert "| Ray, 2 workers " in section
    assert "1.70 [1.60, 1.80]" in section
    assert "in parts of 8 rows" in section
    draw_executors(runs(), tmp_path / "executors.png")
    assert (tmp_path / "executors.png").read_bytes().startswith(b"\x89PNG")
    broken = contest_figures(runs(ray="other"), [])
    assert "not all" in contest_section(runs(ray="other"), broken, flush_rows=8)


def test_a_race(tmp_path: Path) -> None:
    for file in (WEIGHTS_FILE, CONFIG_FILE):
        (tmp_path / file).write_text("{}")
    spec = PoolSpec("some/model", (AdapterSpec("base"), AdapterSpec("two", tmp_path)))
    seen: list[str] = []
    settings: dict[str, Any] = {"count": 9, "repeats": 1, "flush_rows": 2, "seed": 0}
    settings |= {"opening": BatchPool, "on_run": seen.append}
    race(identity_table(60), spec, competitors=FEW[:1], **settings)  # imports are no one's start
    seen.clear()
    found = race(identity_table(60), spec, competitors=FEW, **settings)
    assert seen == [ONE, LOCAL]
    assert [run.items for run in found] == [18, 18]
    assert all(0 < run.warm_seconds < run.total_seconds for run in found)
    figures = contest_figures(found, [])
    assert figures["local_identical"] == 1.0
    assert value(figures["local_start_seconds"]) > value(figures["one_start_seconds"])


def test_empty_items() -> None:
    (run,) = idle_runs(repeats=1, competitors=FEW[:1])
    assert (run.competitor, run.items) == (ONE, 20)
    assert 0 < run.warm_seconds <= run.total_seconds


def test_a_worker_that_is_alone_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_contest, "PATIENCE", 0.01)
    with pytest.raises(TimeoutError, match="not all of 2 workers"):
        Together(Idle(), tmp_path, 2).open()
    assert Together(Idle(), tmp_path, 1).open()(-3) == 3


def test_competitors_differ() -> None:
    assert len({entry.name for entry in COMPETITORS}) == len(COMPETITORS)
    for one, other in itertools.combinations(COMPETITORS, 2):
        assert (one.executor, one.workers) != (other.executor, other.workers)
