from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.pool import (
    accuracy_grid,
    grid_table,
    memory_figures,
    ownership_figures,
)
from routing_gym.benchmark.statistics import Interval, wilson_interval

ADAPTERS = ("base", "code", "creative")


def outcomes(n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Make n queries a domain with fixed counts of successes, in the order of ADAPTERS."""
    counts = {"code": (20, 80, 30), "creative": (25, 10, 75), "general": (50, 40, 45)}
    blocks = [
        np.stack([np.arange(n) < share * n / 100 for share in line], axis=1)
        for line in counts.values()
    ]
    return np.concatenate(blocks).astype(np.float32), np.repeat(list(counts), n)


def figures(accuracy: np.ndarray, domains: np.ndarray, base: str = "base") -> dict:
    return ownership_figures(
        accuracy, domains, adapters=ADAPTERS, base=base, rng=np.random.default_rng(0)
    )


def test_grid_holds_wilson_intervals() -> None:
    grid = accuracy_grid(*outcomes(), adapters=ADAPTERS)
    assert grid.groups == ("code", "creative", "general")
    assert grid.counts == (100, 100, 100)
    assert grid.owners == ("code", "creative")
    assert grid.cell("code", "code") == wilson_interval(80, 100)
    assert grid.cell("base", "general").value == 0.5


def test_owned_groups_come_first_in_the_adapters_order() -> None:
    groups = np.array(["zoo", "b", "a", "general"])
    grid = accuracy_grid(np.eye(4), groups, adapters=("base", "b", "a", "x")).ordered
    assert grid.groups == ("b", "a", "general", "zoo")
    assert grid.cell("b", "b").value == 1.0
    assert grid.cell("base", "zoo").value == 1.0


def test_ownership_by_hand() -> None:
    result = figures(*outcomes())
    ratio = result["own_over_base_min"]
    assert ratio.value == pytest.approx(3.0)  # creative: .75 / .25; code: .8 / .2
    assert ratio.low < 3.0 < ratio.high
    code = wilson_interval(80, 100).low - wilson_interval(30, 100).high
    creative = wilson_interval(75, 100).low - wilson_interval(25, 100).high
    assert result["own_minus_next_low_min"] == pytest.approx(min(code, creative))
    assert result["own_minus_next_low_min"] > 0
    assert result["best_adapter_accuracy"].value == pytest.approx(0.5)
    assert result["oracle_accuracy"].value == pytest.approx((80 + 75 + 50) / 300)
    # outcomes are nested, so arms differ between the least and the most successes
    assert result["arms_differ"] == pytest.approx((60 + 65 + 10) / 300)


def test_overlap_is_negative() -> None:
    accuracy, domains = outcomes()
    accuracy[domains == "code", 2] = accuracy[domains == "code", 1]
    assert figures(accuracy, domains)["own_minus_next_low_min"] < 0


def test_a_base_without_any_success_has_no_ratio() -> None:
    accuracy, domains = outcomes()
    accuracy[domains == "creative", 0] = 0
    assert figures(accuracy, domains)["own_over_base_min"].value == pytest.approx(4.0)
    accuracy[:, 0] = 0
    assert "own_over_base_min" not in figures(accuracy, domains)


def test_table_marks_the_best() -> None:
    text = grid_table(accuracy_grid(*outcomes(), adapters=ADAPTERS))
    line = next(line for line in text.splitlines() if line.startswith("| code"))
    assert "**0.80 [0.71, 0.87]**" in line
    assert line.count("**") == 2


def test_memory_is_read_where_it_was_measured(tmp_path: Path) -> None:
    assert memory_figures(tmp_path) == {}
    (tmp_path / "memory.json").write_text('{"pool_mb": 250, "separate_models_mb": 1000}')
    assert memory_figures(tmp_path) == {"memory_over_separate_models": 0.25}


@pytest.mark.parametrize("text", ["{", '{"pool_mb": 1}', "[]", '{"pool_mb": "x"}'])
def test_broken_memory_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text)
    with pytest.raises(ValueError, match="must hold the numbers pool_mb"):
        memory_figures(tmp_path)


def test_memory_must_be_positive(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"pool_mb": 1, "separate_models_mb": 0}')
    with pytest.raises(ValueError, match="must be positive"):
        memory_figures(tmp_path)


def test_invalid_input() -> None:
    accuracy, domains = outcomes()
    with pytest.raises(ValueError, match="base='raw' is not in the table"):
        figures(accuracy, domains, base="raw")
    with pytest.raises(ValueError, match="named like a domain"):
        figures(accuracy, np.full(len(domains), "general"))
    with pytest.raises(ValueError, match="accuracy has shape"):
        accuracy_grid(accuracy, domains, adapters=("a", "b"))


def test_intervals_are_intervals() -> None:
    assert isinstance(figures(*outcomes())["oracle_accuracy"], Interval)
