from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.axes
import numpy as np
import pytest

from routing_gym.benchmark import learning_plots
from routing_gym.benchmark.learning import LearningCurve
from routing_gym.benchmark.trade_off import FixedArms, TradeOff

PNG = b"\x89PNG"
CELLS = 1000
STEPS = np.array([0, 10, 100, 400])
REWARD = np.array([[0.2, 0.3, 0.6, 0.7], [0.1, 0.4, 0.6, 0.8]])
BANDIT = LearningCurve("linucb", "bandit", "r", STEPS, REWARD, np.cumsum(REWARD, axis=1))
FULL = LearningCurve("knn", "full", "r", np.array([500, 1000]), REWARD[:, 2:])
LEVELS = {"oracle": 0.9, "best_single": 0.1}


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Limits of the vertical axes that are drawn."""
    seen: list[Any] = []
    inner = matplotlib.axes.Axes.set_ylim

    def note(self: Any, *values: Any, **options: Any) -> Any:
        if len(values) == 2:
            seen.append(values)
        return inner(self, *values, **options)

    monkeypatch.setattr(matplotlib.axes.Axes, "set_ylim", note)
    return seen


def drawn(path: Path) -> bool:
    return path.read_bytes().startswith(PNG) and "<svg" in path.with_suffix(".svg").read_text()


def test_every_plot_is_drawn_as_png_and_svg(tmp_path: Path) -> None:
    curves, rng = [BANDIT, FULL], np.random.default_rng(0)
    learning_plots.learning_curves(
        curves, LEVELS, cells=CELLS, path=tmp_path / "a.png", caption="c"
    )
    learning_plots.regret_curves(curves, path=tmp_path / "b.png", caption="c")
    scores = {"knn": rng.random((3, 4)), "linucb": rng.random((3, 4))}
    learning_plots.profiles(scores, rng=rng, path=tmp_path / "c.png", caption="")
    arms = FixedArms(("base", "code"), np.array([1.0, 2.0]), np.array([0.4, 0.6]), best=1)
    hull = TradeOff("knn", np.array([1.0, 2.0]), np.array([0.4, 0.7]), np.ones(2), np.ones(2))
    learning_plots.cost_accuracy({"knn": hull}, arms, path=tmp_path / "d.png", caption="c")
    assert all(drawn(tmp_path / f"{name}.png") for name in "abcd")


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        learning_plots.regret_curves([BANDIT], path=tmp_path / name / "a.png", caption="c")
    for kind in ("png", "svg"):
        one, two = (tmp_path / name / f"a.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("curves", "levels", "low", "high"),
    [
        ([BANDIT, FULL], LEVELS, 0.59, 0.905),  # from 2 % of the outcomes on: .6; to the oracle
        ([BANDIT], {}, 0.59, 0.755),  # to the curve's own end
        ([FULL], {"best_single": 0.1}, 0.59, 0.755),
    ],
)
def test_all_that_is_drawn_can_be_seen(
    curves: list[LearningCurve],
    levels: dict[str, float],
    low: float,
    high: float,
    limits: list[Any],
    tmp_path: Path,
) -> None:
    learning_plots.learning_curves(curves, levels, cells=CELLS, path=tmp_path / "a.png", caption="")
    assert limits[-1] == pytest.approx((low, high))


def test_a_learner_that_pays_for_next_to_nothing(limits: list[Any], tmp_path: Path) -> None:
    learning_plots.learning_curves(
        [BANDIT], {}, cells=1_000_000, path=tmp_path / "a.png", caption=""
    )
    assert limits[-1] == pytest.approx((0.74, 0.755))


def test_no_two_agents_look_alike() -> None:
    names = [f"agent_{number}" for number in range(32)]
    styles = {str(learning_plots.line_style(name, names)) for name in names}
    assert len(styles) == 32


def test_the_widest_figure_has_an_agent_without_regret(tmp_path: Path) -> None:
    many = [replace(BANDIT, agent=f"bandit_{number}") for number in range(20)]
    learning_plots.regret_curves([FULL, *many], path=tmp_path / "a.png", caption="c")
    assert drawn(tmp_path / "a.png")
