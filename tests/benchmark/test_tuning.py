from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.runs import AgentSpec, RunRecord
from routing_gym.benchmark.tuning import Range, check_spaces, choose_settings, draw_settings

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "hidden_dim": [32, 64, 128]}


def run(reward: float, *, seed: int = 1000, status: str = "finished") -> RunRecord:
    return RunRecord("a", "r", seed, "k", status, validation_reward=reward, train_seconds=2.0)


def test_ranges_by_hand() -> None:
    assert Range(2, 6).at(0.25) == 3.0
    assert Range(1, 100, log=True).at(0.5) == 10.0
    assert Range(1e-4, 1e-2, log=True).at(0.75) == pytest.approx(10**-2.5, rel=1e-3)
    assert [Range(1, 4, integer=True).at(share) for share in (0, 0.4, 0.6, 1)] == [1, 2, 3, 4]
    assert Range(1, 16, log=True, integer=True).at(0.5) == 4
    assert isinstance(Range(1, 4, integer=True).at(0.4), int)
    assert isinstance(Range(1, 4).at(1), float)


def test_settings_are_distinct_and_begin_with_the_defaults() -> None:
    settings = draw_settings(SPACE, trials=7, seed=0)
    assert settings[0] == {}
    assert len(settings) == 7
    assert len({str(setting) for setting in settings}) == 7
    for setting in settings[1:]:
        assert 1e-4 <= setting["learning_rate"] <= 1e-2
        assert setting["hidden_dim"] in (32, 64, 128)
    assert draw_settings(SPACE, trials=7, seed=0) == settings
    assert draw_settings(SPACE, trials=7, seed=1) != settings


def test_a_latin_hypercube_covers_every_range() -> None:
    rates = [s["x"] for s in draw_settings({"x": {"low": 0, "high": 8}}, trials=9, seed=3)[1:]]
    assert sorted(int(rate) for rate in rates) == list(range(8))  # one draw in each eighth


@pytest.mark.parametrize("seed", range(20))
def test_a_small_space_is_used_up(seed: int) -> None:
    space = {"a": [1, 2, 3], "b": [1, 2, 3]}
    settings = draw_settings(space, trials=10, seed=seed)
    pairs = {(setting["a"], setting["b"]) for setting in settings[1:]}
    assert len(pairs) == 9


def test_nothing_to_draw() -> None:
    assert draw_settings({}, trials=5, seed=0) == [{}]
    assert draw_settings(SPACE, trials=1, seed=0) == [{}]


def test_the_highest_mean_on_validation_wins() -> None:
    spec = AgentSpec("knn", {"shared": 1})
    found = choose_settings(
        spec,
        [
            ({}, [run(0.5), run(0.6)]),
            ({"x": 1}, [run(0.9), run(0.2)]),
            ({"x": 2}, [run(0.7), run(0.6)]),
        ],
    )
    assert found.spec == AgentSpec("knn", {"shared": 1, "x": 2})
    assert found.trials == 3
    assert found.default_reward == pytest.approx(0.55)
    assert found.chosen_reward == pytest.approx(0.65)
    assert found.seconds == 12.0


def test_a_setting_with_a_failed_run_loses() -> None:
    trials: list[Any] = [
        ({}, [run(0.5), run(0.5)]),
        ({"x": 1}, [run(0.9), run(0.0, status="failed")]),
    ]
    assert choose_settings(AgentSpec("knn"), trials).spec.options == {}
    found = choose_settings(AgentSpec("knn"), [({}, [run(0, status="failed")]), trials[0]])
    assert found.default_reward == -np.inf
    assert found.chosen_reward == 0.5


def test_of_equals_the_earliest_wins() -> None:
    trials = [({}, [run(0.5)]), ({"x": 1}, [run(0.5)])]
    assert choose_settings(AgentSpec("knn"), trials).spec.options == {}


def test_budgets_are_equal() -> None:
    specs = [AgentSpec("knn"), AgentSpec("ridge"), AgentSpec("task_lookup"), AgentSpec("oracle")]
    spaces: dict[str, Any] = {"knn": {"neighbours": [[1], [3], [5]]}}
    check_spaces(specs, spaces, trials=1, seed=0)  # nothing is tuned
    with pytest.raises(ValueError, match="agent 'ridge' has no search space, but others are tuned"):
        check_spaces(specs, spaces, trials=3, seed=0)
    check_spaces(specs, spaces | {"ridge": {}}, trials=3, seed=0)  # its defaults, on purpose
    check_spaces(specs[:1], spaces | {"ppo": {}}, trials=3, seed=0)  # ppo is not compared


@pytest.mark.parametrize(
    ("spaces", "match"),
    [
        ({"knnn": {}}, r"search names 'knnn', which is neither among agents=\['knn'\]"),
        ({"knn": {"neighbors": [1, 3]}}, "unknown option 'neighbors'"),
        ({"knn": {"neighbours": 3}}, "option 'neighbours' has 3: give a list of values"),
        ({"knn": {"neighbours": "many"}}, "option 'neighbours' has 'many'"),
        ({"knn": {"neighbours": []}}, r"option 'neighbours' has \[\]"),
        ({"knn": {"neighbours": {"low": 3, "high": 1}}}, "low=3 is not below high=1"),
        ({"knn": {"neighbours": {"low": 0, "high": 1, "log": True}}}, "low=0 has no logarithm"),
        ({"knn": {"neighbours": {"min": 0}}}, "A range has low, high, log and integer"),
        ({"knn": {"neighbours": [[1]]}}, r"search of agent 'knn'.*fewer than 3 settings"),
    ],
)
def test_spaces_that_do_not_fit(spaces: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_spaces([AgentSpec("knn")], spaces, trials=3, seed=0)


def test_at_least_the_defaults_are_tried() -> None:
    with pytest.raises(ValueError, match="trials=0 is too small"):
        draw_settings(SPACE, trials=0, seed=0)
