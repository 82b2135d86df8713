from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.speed import (
    ContestSettings,
    SpeedRow,
    Stopwatch,
    mean_interval,
    median_interval,
    quality_difference,
    rate_ratio,
    rows_of,
    speed_table,
)
from routing_gym.benchmark.speed_plots import rate_against_quality


def row(competitor: str, repeat: int, seconds: float, quality: float = math.nan) -> SpeedRow:
    return SpeedRow(
        contest="bandits",
        case="table",
        competitor=competitor,
        repeat=repeat,
        unit="rounds",
        count=100,
        cpu_seconds=seconds,
        wall_seconds=2 * seconds,
        quality=quality,
    )


ROWS = [
    *(row("fast", repeat, seconds, 0.1) for repeat, seconds in enumerate((1.0, 2.0, 1.0))),
    *(row("slow", repeat, seconds, 0.3 + 0.1 * repeat) for repeat, seconds in enumerate((4, 8, 8))),
]


def of(competitor: str) -> list[SpeedRow]:
    return rows_of(ROWS, case="table", competitor=competitor)


def test_tidy_columns() -> None:
    values = row("fast", 0, 0.5).as_dict()
    assert values["per_cpu_second"] == 200
    assert values["per_wall_second"] == 100
    assert values["microseconds"] == 5000
    assert values["competitor"] == "fast"


def test_ratios_are_paired() -> None:
    ratio = rate_ratio(of("fast"), of("slow"))  # 4, 4, 8
    assert ratio.value == 4
    assert ratio.low == 4
    assert ratio.high == 8


def test_differences_are_paired() -> None:
    found = quality_difference(of("fast"), of("slow"))  # -.2, -.3, -.4
    assert found.value == pytest.approx(-0.3)
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's t at two degrees of freedom
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-5)


def test_intervals_by_hand() -> None:
    assert median_interval([3.0]).as_dict() == {"value": 3.0, "low": 3.0, "high": 3.0}
    assert mean_interval([1.0, 1.0, 1.0]).as_dict() == {"value": 1.0, "low": 1.0, "high": 1.0}
    wide = median_interval(np.arange(101.0))
    assert wide.low < 50 < wide.high


def test_other_repeats_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="different repeats"):
        rate_ratio(of("fast"), of("slow")[:2])


def test_table_lists_who_was_measured() -> None:
    text = speed_table(
        ROWS,
        case="table",
        names={"fast": "ours", "absent": "nobody", "slow": "theirs"},
        unit="rounds",
        quality="regret per round",
    )
    lines = text.splitlines()
    assert len(lines) == 4
    assert "100 [50, 100]" in lines[2]
    assert "10,000.0" in lines[2]
    assert "0.4000" in lines[3]
    assert "nobody" not in text


def test_stopwatch_measures() -> None:
    with Stopwatch() as watch:
        sum(range(200_000))
    assert 0 < watch.cpu < 5
    assert 0 < watch.wall < 5


def test_plot_is_drawn(tmp_path: Path) -> None:
    rate_against_quality(
        ROWS,
        path=tmp_path / "plot.png",
        labels={"fast": "ours", "slow": "theirs", "absent": "nobody"},
        own=["fast"],
        unit="rounds",
        quality="regret",
    )
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 2}, "repeats=2 is too few"),
        ({"scale": 0.0}, r"scale=0.0 is outside \(0, 1\]"),
        ({"scale": 1.5}, "scale=1.5"),
    ],
)
def test_refuses_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContestSettings(table=Path("table"), **options)
