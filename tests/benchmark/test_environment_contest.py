from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.environment_contest import (
    SIZED,
    environment_figures,
    measure_parts,
    measure_sizes,
    step_in_turns,
)
from routing_gym.benchmark.environment_entries import (
    advance,
    cpu_of,
    draw_actions,
    entries,
    native_name,
)
from routing_gym.benchmark.environment_report import COST, PARTS, environment_section, part_costs
from routing_gym.benchmark.speed import ContestSettings, SpeedRow
from tests.agents.problems import identity

SETTINGS = ContestSettings(table=Path("unused"), repeats=3, scale=0.001, progress=False)
ENTRIES = {entry.name: entry for entry in entries()}
ALONE = [name for name in ENTRIES if name not in ("async", "subproc")]


@pytest.mark.parametrize("name", ALONE)
def test_everybody_answers_as_many_queries_as_it_says(name: str) -> None:
    data = identity("train")
    track = ENTRIES[name].make(data)
    actions = draw_actions(track, arms=4, seed=0)
    assert {len(batch) for batch in actions} == {track.lanes}
    count, reward = advance(track, actions, steps=2 * track.lanes + 1)
    assert count == (3 if track.lanes == 1 else 3 * track.lanes)
    assert 0 < reward < 1
    assert track.workers() == []
    track.close()


def test_the_mean_reward_is_that_of_uniform_actions() -> None:
    data = identity("train")
    expected = float(data.rewards.mean())
    for name in ("dummy", native_name(1024, "index", "none")):
        track = ENTRIES[name].make(data)
        actions = draw_actions(track, arms=4, seed=1)
        _, reward = advance(track, actions, steps=4096)
        assert reward == pytest.approx(expected, abs=0.03)
        track.close()


@pytest.mark.parametrize("name", ["async", "subproc"])
def test_processes_count(name: str) -> None:
    track = ENTRIES[name].make(identity("train"))
    assert len(track.workers()) == 8
    before = cpu_of(track.workers())
    advance(track, draw_actions(track, arms=4, seed=0), steps=400)
    after = cpu_of(track.workers())
    if before is not None and after is not None:  # where the system tells
        assert after > before
    track.close()


def test_unknown_processes_are_said_to_be_unknown() -> None:
    assert cpu_of([]) == 0.0
    assert cpu_of([2**30]) is None
    own = cpu_of([os.getpid()])
    assert own is None or own > 0


def test_competitors_take_turns() -> None:
    chosen = [ENTRIES["scalar"], replace(ENTRIES["dummy"], steps=100_000)]
    rows = step_in_turns(chosen, identity("train"), case="table", settings=SETTINGS)
    assert [(row.repeat, row.competitor) for row in rows] == [
        (repeat, name) for repeat in range(3) for name in ("scalar", "dummy")
    ]
    assert {row.count for row in rows} == {30, 104}
    assert all(row.cpu_seconds > 0 for row in rows)


def test_parts_sum_to_the_step() -> None:
    rows = measure_parts(identity("train"), settings=replace(SETTINGS, scale=0.05))
    costs = part_costs(rows)
    whole = costs.pop("the whole step")
    assert whole > 0
    assert sum(costs.values()) == pytest.approx(whole)


def test_sizes_grow_with_the_scale() -> None:
    rows = measure_sizes(replace(SETTINGS, scale=0.01))
    assert {row.case for row in rows} == {f"{COST}1000", f"{COST}10000"}
    assert {row.competitor for row in rows} == set(SIZED)
    assert len(rows) == 2 * 3 * 3


def made_row(case: str, name: str, repeat: int, seconds: float) -> SpeedRow:
    return SpeedRow("environments", case, name, repeat, "steps", 1000, seconds, seconds, 0.5)


def made_rows() -> list[SpeedRow]:
    native = native_name(2048, "embedding", "light")
    found = []
    for repeat in range(3):
        for case, factor in (("table", 1.0), ("synthetic", 0.5)):
            found += [
                made_row(case, "dummy", repeat, 1.0 * factor),
                made_row(case, native, repeat, 0.01),
            ]
        for size, seconds in ((1_000, 1.0), (1_000_000, 1.5)):
            found += [made_row(f"{COST}{size}", name, repeat, seconds) for name in SIZED]
    return found


def test_headlines_are_those_of_the_worst_case() -> None:
    figures = environment_figures(made_rows())
    assert figures["env_native_over_dummy"].value == pytest.approx(50)
    assert figures["env_native_over_dummy_table"].value == pytest.approx(100)
    assert figures["env_cost_1e6_over_1e3"].value == pytest.approx(1.5)
    assert "env_index_over_dummy" not in figures
    assert "env_cost_1e6_over_1e3_embedding" in figures


def test_section_and_rows_agree() -> None:
    rows = made_rows()
    names = ("draw", "reward", "measures", "outcome", "context", "observe", "step")
    rows += [
        made_row(PARTS, name, repeat, 0.001 * (1 + index))
        for repeat in range(3)
        for index, name in enumerate(names)
    ]
    text = environment_section(
        rows,
        environment_figures(rows),
        entries=entries(),
        ratios=("env_native_over_dummy", "env_index_over_dummy"),
    )
    assert "| `env_native_over_dummy` |" in text
    assert "`env_index_over_dummy`" not in text
    assert "1,000,000" in text
    assert "the whole step" in text
    assert "ours (2,048), embeddings, light info" in text
    assert np.isclose(part_costs(rows)["drawing the next queries"], 1000.0)
