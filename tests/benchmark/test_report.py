from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark import plots
from routing_gym.benchmark.evaluation import EvaluationRow, Yardstick, measure
from routing_gym.benchmark.report import (
    comparison_table,
    csv_text,
    figures_table,
    format_interval,
    markdown_table,
    write_report,
)
from routing_gym.benchmark.statistics import Interval

PNG = b"\x89PNG"


def stick() -> Yardstick:
    table = np.tile([[0.0, 1.0], [1.0, 0.0]], (3, 1))
    return Yardstick(("base", "code"), np.repeat(["a", "b"], 3), table, table, 0, 0)


def row(agent: str = "oracle", trained_on: str = "reward") -> EvaluationRow:
    yardstick = stick()
    actions = np.array([1, 0] * 3)
    return measure(
        actions,
        yardstick,
        bootstrap=yardstick.bootstrap(resamples=100),
        agent=agent,
        feedback="full",
        privileged=agent == "oracle",
        trained_on=trained_on,
    )


def test_comparison_table() -> None:
    lines = comparison_table([row(), row("knn")]).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "agent",
        "feedback",
        "reward",
        "accuracy",
        "gap closed [95 %]",
        "entropy",
        "tie-set differ / all",
    ]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["oracle*", "full", "1.000", "1.000", "1.00 [1.00, 1.00]", "1.00",
                     "1.000 / 1.000"]  # fmt: skip
    assert lines[3].startswith("| knn ")
    assert len({len(line) for line in lines}) == 1


def test_a_collapse_is_flagged() -> None:
    yardstick = stick()
    rows = [
        measure(actions, yardstick, bootstrap=yardstick.bootstrap(resamples=100), agent=agent)
        for agent, actions in (("stuck", np.zeros(6, dtype=int)), ("awake", np.array([1, 0] * 3)))
    ]
    stuck, awake = comparison_table(rows).splitlines()[2:]
    assert "| 0.00 (collapsed) |" in stuck
    assert "collapsed" not in awake


def test_wide_table_has_every_column() -> None:
    header = comparison_table([row(), row(trained_on="accuracy")], wide=True).splitlines()[0]
    for name in ("trained on", "gap closed in accuracy", "reward gap", "quality", "s/answer"):
        assert name in header


def test_markdown_is_aligned() -> None:
    expected = "| a   |  b |\n| --- | -: |\n| xyz | 10 |"
    assert markdown_table(["a", "b"], [["xyz", "10"]]) == expected


def test_numbers() -> None:
    nan = float("nan")
    assert format_interval(Interval(0.5, 0.25, 1), digits=2, signed=True) == "+0.50 [+0.25, +1.00]"
    assert format_interval(Interval(nan, nan, nan)) == "–"
    assert format_interval(Interval(-1e-9, -1e-9, 0), digits=2) == "0.00 [0.00, 0.00]"
    assert "| `x`    |" in figures_table({"x": 1.0})
    assert csv_text([{"a": 1}, {"a": 2, "b": "x,y"}]) == 'a,b\n1,\n2,"x,y"\n'


def test_csv_needs_rows() -> None:
    with pytest.raises(ValueError, match="rows is empty"):
        csv_text([])


def draw(path: Path) -> None:
    path.write_bytes(PNG)


def test_a_report_is_written_beside_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "x"
    folder.mkdir(parents=True)
    (folder / "memory.json").write_text("{}")
    write_report(
        folder,
        figures={"a": 1.0, "b": float("nan")},
        markdown="# x",
        command="command: x\n",
        plots={"p.png": draw},
        texts={"rows.csv": "a\n"},
    )
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "command.txt",
        "memory.json",
        "p.png",
        "report.md",
        "rows.csv",
        "summary.json",
    ]
    assert json.loads((folder / "summary.json").read_text()) == {"a": 1.0}
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_an_error_leaves_the_old_report(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(PNG)
        raise ValueError("no figure")

    folder = tmp_path / "x"
    write_report(folder, figures={"a": 1.0}, markdown="old", command="c")
    with pytest.raises(ValueError, match="no figure"):
        write_report(folder, figures={}, markdown="new", command="c", plots={"p.png": fail})
    assert (folder / "report.md").read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_plots_are_drawn(tmp_path: Path) -> None:
    rows = [row(), row("knn"), row("knn", "accuracy"), row("mine")]
    references = stick().references
    plots.comparison(rows, references, path=tmp_path / "a.png", caption="c")
    plots.reward_against_truth(rows, references, path=tmp_path / "b.png")
    plots.arm_usage(rows, ("base", "code"), path=tmp_path / "c.png")
    cells = [[Interval(0.2, 0.1, 0.3), Interval(0.9, 0.8, 1.0)]]
    plots.heat_map(
        cells, rows=["x"], columns=["a", "b"], path=tmp_path / "d.png", outlined=[(0, 1)]
    )
    for name in "abcd":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


def test_each_agent_has_its_own_colour() -> None:
    colours = list(plots.AGENT_COLOURS.values())
    assert len(set(colours)) == len(colours)
    assert plots.agent_colour("ppo", []) == plots.AGENT_COLOURS["ppo"]
    assert plots.agent_colour("b", ["a", "ppo", "b"]) != plots.agent_colour("a", ["a", "b"])
