from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents.ppo_watch import WatchedPoint
from routing_gym.benchmark.contest_plots import gap_over_time
from routing_gym.benchmark.ppo_contest import (
    FAST,
    LONGER,
    PPOEntry,
    Run,
    entries,
    ppo_figures,
    rows_of_run,
    time_ratio,
    train_all,
)
from routing_gym.benchmark.ppo_report import ppo_section
from routing_gym.benchmark.speed import ContestSettings, SpeedRow
from routing_gym.envs.data import RoutingData
from tests.agents.problems import identity

SETTINGS = ContestSettings(table=Path("unused"), repeats=3, scale=0.05, progress=False)


def point(steps: int, seconds: float, reward: float) -> WatchedPoint:
    return WatchedPoint(steps, seconds, 2 * seconds, reward)


def run_of(competitor: str, seed: int, *points: WatchedPoint, case: str = "synthetic") -> Run:
    return Run(case, competitor, seed, points, best_single=0.5, oracle=0.7)


def test_share_of_the_gap_by_hand() -> None:
    run = run_of("fast", 0, point(10, 1.0, 0.6), point(20, 2.0, 0.695), point(30, 3.0, 0.68))
    np.testing.assert_allclose(run.gaps, [0.5, 0.975, 0.9])
    assert run.reached(0.95) == run.points[1]
    assert run.reached(0.99) is None
    whole, reached = rows_of_run(run)
    assert (whole.case, whole.count, whole.cpu_seconds) == ("synthetic", 30, 3.0)
    assert whole.quality == pytest.approx(0.975)
    assert whole.settings == "last=0.9000"
    assert (reached.case, reached.count, reached.cpu_seconds) == ("synthetic, to 95%", 20, 2.0)
    assert len(rows_of_run(run_of("fast", 0, point(10, 1.0, 0.6)))) == 1


def made_rows(*, reached: bool = True) -> list[SpeedRow]:
    runs = []
    for seed in range(3):
        runs.append(run_of("fast", seed, point(10, 0.1, 0.699), point(100, 1.0, 0.699)))
        last = 0.695 if reached or seed else 0.6
        runs.append(run_of("sb3_dummy", seed, point(100, 4.0 + seed, last)))
    return [row for run in runs for row in rows_of_run(run)]


def test_figures_are_paired_by_seed() -> None:
    figures = ppo_figures(made_rows())
    assert figures["ppo_time_to_95_ratio"].value == pytest.approx(50)  # 40, 50, 60
    assert figures["ppo_time_to_95_ratio"].low == pytest.approx(40)
    assert figures["ppo_time_to_95_ratio_wall"].value == pytest.approx(50)
    assert figures["ppo_final_gap_difference"].value == pytest.approx(0.02)
    assert figures["ppo_steps_ratio"].value == pytest.approx(5)
    assert "ppo_time_to_95_ratio_agent" not in figures


def test_a_share_that_is_not_reached_has_no_figure() -> None:
    rows = made_rows(reached=False)
    assert "ppo_time_to_95_ratio" not in ppo_figures(rows)
    text = ppo_section(
        rows,
        ppo_figures(rows),
        labels={"sb3_dummy": "theirs"},
        shares={"synthetic": 0.95},
        fast={},
        longer=2,
    )
    assert "only 2 of 3" in text


def test_ratio_of_unequal_seeds_is_refused() -> None:
    rows = made_rows()
    with pytest.raises(ValueError, match="shorter"):
        time_ratio(rows[:2], rows[:1])


def test_everybody_trains_with_every_seed() -> None:
    seen: list[tuple[str, int, int]] = []

    def entry(name: str) -> PPOEntry:
        def train(
            train: RoutingData, validation: RoutingData, seed: int, steps: int
        ) -> list[WatchedPoint]:
            seen.append((name, seed, steps))
            return [point(steps, 1.0, float(validation.rewards.max(axis=1).mean()))]

        return PPOEntry(name, name, train)

    cases = {"identity": (identity("train"), identity("validation"))}
    runs = train_all([entry("a"), entry("b")], cases, settings=SETTINGS)
    assert seen[1:] == [(name, seed, 4096) for seed in range(3) for name in "ab"]
    assert [run.gaps[-1] for run in runs] == pytest.approx([1.0] * 6)


def test_our_entries_learn_and_the_watch_leaves_evaluations_out() -> None:
    train, validation = identity("train"), identity("validation")
    for entry in entries():
        if entry.name not in ("agent", "fast"):
            continue
        points = entry.train(train, validation, 0, 8192)
        longer = LONGER if entry.name == "fast" else 1
        assert [p.steps for p in points] == list(range(2048, longer * 8192 + 1, 2048))
        assert all(
            a.cpu_seconds < b.cpu_seconds and a.wall_seconds < b.wall_seconds
            for a, b in pairwise(points)
        )
        assert points[-1].reward > validation.rewards.mean()
    assert set(FAST) <= set(type(_config()).__dataclass_fields__)


def _config() -> object:
    from routing_gym.agents.ppo import PPOConfig

    return PPOConfig()


def test_section_and_plot(tmp_path: Path) -> None:
    rows = made_rows()
    labels = {"sb3_dummy": "theirs", "fast": "ours"}
    text = ppo_section(
        rows, ppo_figures(rows), labels=labels, shares={"synthetic": 0.95}, fast=FAST, longer=2
    )
    assert "`ppo_time_to_95_ratio`" in text
    assert "learning_rate=" in text
    curve = (np.array([1.0, 2.0]), np.array([0.7, 0.96]))
    gap_over_time(
        {"synthetic": {"fast": [curve, curve], "sb3_dummy": [curve]}},
        path=tmp_path / "ppo.png",
        labels=labels,
        shares={"synthetic": 0.95},
    )
    assert (tmp_path / "ppo.png").stat().st_size > 5000
    assert (tmp_path / "ppo.svg").exists()
