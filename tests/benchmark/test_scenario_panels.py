"""Panels: bins by hand, bands over seeds, and figures that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.axes
import numpy as np
import pytest

from routing_gym.benchmark.scenario_panels import Line, Panel, binned, draw_panels, middles, spread

X = np.arange(3.0)


def test_bins_by_hand() -> None:
    x = np.array([0.1, 0.2, 0.9, 1.5, 7.0, -3.0])
    y = np.array([1.0, 3.0, 5.0, 7.0, 100.0, 100.0])
    edges = np.array([0.0, 0.5, 1.0, 2.0])
    assert binned(x, y, edges, least=1).tolist() == [2.0, 5.0, 7.0]
    rare = binned(x, y, edges, least=2)
    assert rare[0] == 2.0
    assert np.isnan(rare[1:]).all()
    assert middles(edges).tolist() == [0.25, 0.75, 1.5]


def test_the_band_spans_the_seeds() -> None:
    runs = [np.array([1.0, 2.0, np.nan]), np.array([3.0, np.nan, np.nan])]
    line = spread("ppo", X, runs, role="ppo")
    np.testing.assert_array_equal(line.y, [2.0, 2.0, np.nan])
    assert line.low is not None
    assert line.high is not None
    np.testing.assert_array_equal(line.low, [1.0, 2.0, np.nan])
    np.testing.assert_array_equal(line.high, [3.0, 2.0, np.nan])


def test_figures_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[float] = []
    inner = matplotlib.axes.Axes.axhline

    def note(self: Any, y: float, **options: Any) -> Any:
        levels.append(y)
        return inner(self, y, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "axhline", note)
    lines = (
        spread("PPO", X, [X, X + 1], role="ppo"),
        Line("rule", np.zeros(1), np.array([0.7]), "rule"),
        Line("arm", X, X, "arm1"),
        Line("arm of the rule", X, X, "arm1/rule"),
    )
    panels = (
        Panel("a", "x", "y", lines, floor=-1.0),
        Panel("b", "kind", "y", (Line("PPO", X, X, "ppo"),), ticks=("p", "q", "r")),
    )
    draw_panels(panels, path=tmp_path / "figure.png", caption="two seeds")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    assert levels == [0.7]


def test_equal_panels_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        panel = Panel("t", "x", "y", (Line("l", X, X, "bound"),))
        draw_panels([panel], path=tmp_path / name / "figure.png")
    first, second = ((tmp_path / name / "figure.svg").read_bytes() for name in ("a", "b"))
    assert first == second
