from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.bandit_contest import (
    Case,
    compete,
    play_in_batches,
    play_sequentially,
    run,
    tune,
)
from routing_gym.benchmark.bandit_entries import competitors
from routing_gym.benchmark.bandit_peers import Competitor
from routing_gym.benchmark.bandit_report import bandit_figures, bandit_section
from routing_gym.benchmark.bandit_streams import Stream, synthetic_stream, table_stream
from routing_gym.benchmark.speed import ContestSettings, SpeedRow
from tests.agents.problems import identity

ENTRIES = {entry.name: entry for entry in competitors()}
SETTINGS = ContestSettings(table=Path("unused"), repeats=3, progress=False)


def entry_of(name: str) -> Competitor:
    entry = ENTRIES[name]
    if not entry.installed:
        pytest.skip(f"{entry.package} is not installed; it comes with the extra 'peers'")
    return entry


class Recorder:
    """Chooses 0, 1, 2, ... and writes down what happens when."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.count = 0

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        self.count += 1
        self.events.append(("choose", id(context)))
        return (self.count - 1) % 3, 0.5

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        self.events.append(("learn", id(context)))
        self.events.append((str(action), reward))
        assert propensity == 0.5

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        self.events.append(("choose", len(contexts)))
        return np.arange(len(contexts)) % 3, np.full((len(contexts), 3), 0.25)

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        self.events.append(("learn", rewards.tolist()))
        assert (propensities == 0.25).all()


def small_stream(rounds: int = 5) -> Stream:
    rewards = np.arange(rounds * 3.0).reshape(rounds, 3)
    return Stream(np.ones((rounds, 2)), rewards, rewards)


def test_each_reward_is_known_before_the_next_decision() -> None:
    learner = Recorder()
    actions, watch = play_sequentially(learner, small_stream(), rounds=3, seed=0)
    assert actions.tolist() == [0, 1, 2]
    kinds = [kind for kind, _ in learner.events]
    assert kinds == ["choose", "learn", "0", "choose", "learn", "1", "choose", "learn", "2"]
    assert [value for kind, value in learner.events if kind in "012"] == [0, 4, 8]
    assert learner.events[0][1] == learner.events[1][1]  # the same array
    assert watch.cpu > 0


def test_rewards_of_a_batch_come_after_its_decisions() -> None:
    learner = Recorder()
    actions, _ = play_in_batches(learner, small_stream(), rounds=5, batch_size=3, seed=0)
    assert actions.tolist() == [0, 1, 2, 0, 1]
    assert learner.events == [
        ("choose", 3),
        ("learn", [0, 4, 8]),
        ("choose", 2),
        ("learn", [9, 13]),
    ]


def test_regret_is_counted_of_expected_rewards() -> None:
    stream = replace(small_stream(2), expected=np.array([[1.0, 0.0, 0.5], [0.0, 0.2, 0.8]]))
    assert stream.regret(np.array([2, 1])) == pytest.approx((0.5 + 0.6) / 2)


def test_table_stream_follows_the_agents_order() -> None:
    data = identity("train")
    stream = table_stream(data, budget=0.5, seed=3)
    assert len(stream) == 480
    assert stream.arms == 4
    same = table_stream(data, budget=0.5, seed=3)
    np.testing.assert_array_equal(stream.contexts, same.contexts)
    assert (stream.rewards != table_stream(data, budget=0.5, seed=4).rewards).any()
    np.testing.assert_array_equal(
        np.sort(stream.rewards[:240].sum(axis=1)),
        np.sort(data.rewards.astype(np.float64).sum(axis=1)),
    )


def test_synthetic_stream_has_the_promised_shape() -> None:
    stream = synthetic_stream(queries=500, seed=1)
    assert stream.contexts.shape == (500, 33)
    assert stream.rewards.shape == stream.expected.shape == (500, 6)
    assert (stream.contexts[:, 0] == 1).all()
    assert 0 <= stream.rewards.min() <= stream.rewards.max() <= 1
    # the reward is seen with noise around its expectation
    assert np.abs((stream.rewards - stream.expected).mean(axis=0)).max() < 0.05
    assert (synthetic_stream(queries=500, seed=2).expected != stream.expected).any()


@pytest.mark.parametrize("name", list(ENTRIES))
def test_every_competitor_plays_and_most_learn(name: str) -> None:
    entry = entry_of(name)
    stream = table_stream(identity("train"), budget=1.0, seed=0)
    # mabwiser expects nothing of what it has not tried, and needs the most curiosity
    settings = ENTRIES[entry.tuned_as or name].grid[-1 if name == "mabwiser_linucb" else 2]
    regret, watch = run(entry, settings, stream, seed=0)
    uniform = float((stream.expected.max(axis=1) - stream.expected.mean(axis=1)).mean())
    assert watch.cpu > 0
    assert regret < (0.95 if name in ("vw_squarecb_k", "vw_cover") else 0.6) * uniform
    again, _ = run(entry, settings, stream, seed=0)
    assert again == regret


def test_equally_many_settings_for_everybody() -> None:
    assert {len(entry.grid) for entry in ENTRIES.values() if not entry.tuned_as} == {6}
    for entry in ENTRIES.values():
        assert bool(entry.grid) != bool(entry.tuned_as)
        assert not entry.tuned_as or ENTRIES[entry.tuned_as].grid


def test_tuning_takes_the_least_regret_and_contests_are_paired() -> None:
    streams = [table_stream(identity("train"), budget=0.5, seed=seed) for seed in range(3)]
    case = Case("identity", lambda repeat: streams[repeat], (streams[0],))
    entries = [ENTRIES["linucb"], ENTRIES["linucb_16"]]
    tuned = tune(entries, case, settings=SETTINGS)
    regrets = [run(entries[0], grid, streams[0], seed=1_000_000)[0] for grid in entries[0].grid]
    assert tuned["linucb"] == entries[0].grid[int(np.argmin(regrets))]
    assert tuned["linucb_16"] == tuned["linucb"]
    rows = compete(entries, case, tuned, settings=SETTINGS)
    assert [(row.repeat, row.competitor) for row in rows] == [
        (repeat, name) for repeat in range(3) for name in ("linucb", "linucb_16")
    ]
    assert rows[0].quality == run(entries[0], tuned["linucb"], streams[0], seed=0)[0]
    assert {row.count for row in rows} == {480}


def made_rows() -> list[SpeedRow]:
    return [
        SpeedRow("bandits", case, name, repeat, "rounds", 100, seconds, seconds, regret)
        for case, factor in (("table", 1.0), ("synthetic", 0.5))
        for repeat in range(3)
        for name, seconds, regret in (
            ("linucb", 1.0, 0.1),
            ("vw_squarecb", 20.0 * factor, 0.2 * factor),
        )
    ]


def test_headlines_are_those_of_the_worst_case() -> None:
    figures = bandit_figures(made_rows())
    assert figures["linucb_rounds_over_vw"].value == pytest.approx(10)
    assert figures["linucb_rounds_over_vw_table"].value == pytest.approx(20)
    assert figures["linucb_regret_minus_vw"].value == pytest.approx(0.0)
    assert figures["linucb_regret_minus_vw_table"].value == pytest.approx(-0.1)
    assert "linucb_rounds_over_mabwiser" not in figures


def test_section_names_absent_libraries() -> None:
    absent = replace(ENTRIES["mabwiser_linucb"], package="no_such_library")
    entries = [ENTRIES["linucb"], ENTRIES["vw_squarecb"], absent]
    rows = made_rows()
    labels = {entry.name: entry.label for entry in entries}
    text = bandit_section(rows, bandit_figures(rows), labels=labels, entries=entries)
    assert "Not installed, so not measured: no_such_library (mabwiser_linucb)" in text
    assert "| `linucb_rounds_over_vw`" in text
    assert not math.isnan(bandit_figures(rows)["linucb_rounds_over_vw"].value)
