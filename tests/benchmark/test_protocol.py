from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.agents.knn import KNNAgent
from routing_gym.benchmark.protocol import (
    Comparison,
    Plan,
    evaluate,
    number_of_runs,
    run_comparison,
)
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits
from tests.synthetic import identity_table

SETTINGS: dict[str, Any] = {"table": "t", "rewards": {"r": {"relevance": 1.0}}}
SPACE = {"knn": {"neighbours": [[1], [3], [5], [9]]}}
TUNED: dict[str, Any] = {"trials": 3, "spaces": SPACE, "tuning_seeds": (1000, 1001)}
TEST_QUERIES = 30  # of 120; train has 72, validation 18


class BrokenAgent(BestSingleAgent):
    """An agent whose training fails."""

    name = "broken"

    def _fit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("the reward\nwent away")


class SpyAgent(KNNAgent):
    """An agent that is never to see the test split while it is tuned."""

    name = "spy"
    judged: ClassVar[list[int]] = []
    seed = 0

    def _fit(self, train: Any, *, seed: int, **options: Any) -> None:
        self.seed = seed
        super()._fit(train, seed=seed, **options)

    def values(self, observations: np.ndarray) -> np.ndarray:
        if len(observations) == TEST_QUERIES:
            if self.seed >= 1000:
                raise AssertionError("the test split was looked at")
            self.judged.append(self.seed)
        return super().values(observations)


class PickyAgent(KNNAgent):
    """An agent that one of its settings breaks."""

    name = "picky"

    def _fit(self, *parts: Any, **options: Any) -> None:
        if self.config.neighbours == (1,):
            raise RuntimeError("one neighbour is too lonely")
        super()._fit(*parts, **options)


@pytest.fixture(scope="module")
def splits() -> Splits:
    table = identity_table(n=120)
    return Splits(*(table.data(name) for name in ("train", "validation", "test")))


def compare(splits: Splits, folder: Path, *names: str | AgentSpec, **options: Any) -> Comparison:
    plan = {key: options.pop(key) for key in Plan.__dataclass_fields__ if key in options}
    return run_comparison(
        [name if isinstance(name, AgentSpec) else AgentSpec(name) for name in names],
        options.pop("rewards", {"r": splits}),
        plan=Plan(**{"seeds": [0]} | plan),
        folder=folder,
        settings=options.pop("settings", SETTINGS),
        **options,
    )


def kept(splits: Splits, folder: Path, *names: str | AgentSpec, **options: Any) -> list[bool]:
    """Compare, and return which of the runs were already there."""
    seen: list[bool] = []

    def note(_: RunRecord, skipped: bool) -> None:
        seen.append(skipped)

    compare(splits, folder, *names, on_record=note, **options)
    return seen


def test_evaluate_knows_the_identity_problem(splits: Splits) -> None:
    agent = AgentSpec("oracle").build()
    agent.train(splits.train, validation=splits.validation, seed=0)
    row = evaluate(agent, splits.test, train=splits.train)
    assert row.agent == "oracle"
    assert row.privileged
    assert row.accuracy.value == 1.0
    assert row.reward_gap_closed.value == pytest.approx(1.0)
    assert row.tie_set_differ.value == 1.0


def test_best_single_closes_nothing(splits: Splits) -> None:
    agent = AgentSpec("best_single").build()
    agent.train(splits.train, validation=splits.validation, seed=0)
    row = evaluate(agent, splits.test, train=splits.train)
    assert row.reward_gap_closed.value == pytest.approx(0.0)
    assert row.entropy == 0.0
    assert row.collapsed


def test_one_record_per_agent_reward_and_seed(splits: Splits, tmp_path: Path) -> None:
    records = compare(
        splits, tmp_path, "knn", "random", seeds=[0, 1], rewards={"r": splits, "s": splits}
    ).records
    assert [(run.agent, run.trained_on, run.seed) for run in records] == [
        (agent, reward, seed) for agent in ("knn", "random") for reward in "rs" for seed in (0, 1)
    ]
    assert all(run.finished and len(run.test_actions) == len(splits.test) for run in records)
    assert records[4].test_actions != records[5].test_actions
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "knn-r-0.json"


def test_validation_and_test_are_measured_apart(splits: Splits, tmp_path: Path) -> None:
    (record,) = compare(splits, tmp_path, "oracle").records
    assert record.validation_accuracy == 1.0
    expected = splits.validation.rewards.max(axis=1).mean()
    assert record.validation_reward == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(record.test_actions, splits.test.rewards.argmax(axis=1))


def test_tuning_chooses_on_validation(splits: Splits, tmp_path: Path) -> None:
    spec = AgentSpec("knn", {"neighbours": [72]})  # all of the train split: knows nothing
    found = compare(splits, tmp_path, spec, "best_single", **TUNED)
    assert list(found.tuned) == [("knn", "r")]  # the best single adapter has nothing to tune
    tuned = found.tuned["knn", "r"]
    assert tuned.trials == 3
    assert tuned.default_reward < 0.6 < 0.8 < tuned.chosen_reward
    assert tuned.spec.options in [{"neighbours": value} for value in SPACE["knn"]["neighbours"]]
    assert found.records[0].options == tuned.spec.options
    trials = [json.loads(path.read_text()) for path in (tmp_path / "tuning").iterdir()]
    assert len(trials) == 6
    assert {trial["seed"] for trial in trials} == {1000, 1001}
    assert all(trial["test_actions"] == trial["frontier"] == [] for trial in trials)


def test_the_test_split_is_not_looked_at_while_tuning(splits: Splits, tmp_path: Path) -> None:
    assert len(splits.test) == TEST_QUERIES
    SpyAgent.judged.clear()
    name = f"{__name__}:SpyAgent"
    found = compare(
        splits, tmp_path, AgentSpec(name, label="knn"), seeds=[0, 1], shares=(0.5,), **TUNED
    )
    assert all(run.finished for run in (*found.records, *found.partial))
    assert np.isfinite(found.tuned["knn", "r"].default_reward)  # no trial failed
    assert set(SpyAgent.judged) == {0, 1}
    spy = SpyAgent()
    spy.train(splits.train, validation=splits.validation, seed=1000)
    with pytest.raises(AssertionError, match="was looked at"):
        spy.decide_on(splits.test)


def test_shares_are_for_full_information_and_the_first_reward(
    splits: Splits, tmp_path: Path
) -> None:
    found = compare(
        splits,
        tmp_path,
        "knn",
        "linucb",
        "random",
        shares=(0.25, 0.5),
        seeds=[0, 1],
        rewards={"r": splits, "s": splits},
    )
    cells = splits.train.rewards.size
    assert [(run.agent, run.trained_on, run.seed, run.outcomes) for run in found.partial] == [
        ("knn", "r", seed, round(share * cells)) for share in (0.25, 0.5) for seed in (0, 1)
    ]
    assert all(run.test_actions == () for run in found.partial)
    assert sorted(path.name for path in (tmp_path / "shares").iterdir())[0] == "knn-r-0-0.25.json"


def test_the_number_of_runs_is_known_beforehand(splits: Splits, tmp_path: Path) -> None:
    names = ["knn", "ridge", "random", "oracle"]
    options = {**TUNED, "spaces": SPACE | {"ridge": {}}, "seeds": [0, 1], "shares": (0.5,)}
    rewards = {"r": splits, "s": splits}
    seen = kept(splits, tmp_path, *names, rewards=rewards, **options)
    specs = [AgentSpec(name) for name in names]
    assert len(seen) == number_of_runs(specs, Plan(**options), rewards=["reward", "accuracy"])
    assert not any(seen)


def test_finished_runs_are_skipped(splits: Splits, tmp_path: Path) -> None:
    options = {**TUNED, "shares": (0.5,)}
    first = compare(splits, tmp_path, "knn", **options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(times) == 6 + 1 + 1
    assert kept(splits, tmp_path, "knn", **options) == [True] * 8
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert compare(splits, tmp_path, "knn", **options) == first


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"settings": {**SETTINGS, "table": "another"}}, [False] * 8),
        ({"settings": {**SETTINGS, "rewards": {"r": {"relevance": 2.0}}}}, [False] * 8),
        ({"overwrite": True}, [False] * 8),
        ({"seeds": [1]}, [True] * 6 + [False] * 2),
        ({"seeds": [0, 1]}, [True] * 7 + [False, True, False]),
        ({"shares": (0.25,)}, [True] * 7 + [False]),
        ({"tuning_seeds": (1000, 2)}, [True, False] * 3 + [True] * 2),
    ],
)
def test_what_has_changed_is_run_again(
    splits: Splits, tmp_path: Path, changes: dict[str, Any], expected: list[bool]
) -> None:
    options = {**TUNED, "shares": (0.5,)}
    compare(splits, tmp_path, "knn", **options)
    seen = kept(splits, tmp_path, "knn", **options | changes)
    assert sorted(seen) == sorted(expected)


def test_changed_options_and_broken_files_are_run_again(splits: Splits, tmp_path: Path) -> None:
    compare(splits, tmp_path, "knn")
    assert kept(splits, tmp_path, AgentSpec("knn", {"neighbours": [3]})) == [False]
    assert kept(splits, tmp_path, "knn") == [False]
    (tmp_path / "knn-r-0.json").write_text('{"agent": "knn"')
    assert kept(splits, tmp_path, "knn") == [False]
    assert kept(splits, tmp_path, "knn") == [True]


def test_a_failed_run_is_recorded_and_tried_again(splits: Splits, tmp_path: Path) -> None:
    name = f"{__name__}:BrokenAgent"
    failed, finished = compare(splits, tmp_path, name, "best_single").records
    assert not failed.finished
    assert failed.error == "RuntimeError: the reward went away"
    assert finished.finished
    assert kept(splits, tmp_path, name) == [False]


def test_a_setting_that_fails_is_not_chosen(splits: Splits, tmp_path: Path) -> None:
    space = {"knn": {"neighbours": [[1], [3]]}}
    spec = AgentSpec(f"{__name__}:PickyAgent", {"neighbours": [72]}, label="knn")
    found = compare(splits, tmp_path, spec, trials=3, spaces=space)
    assert found.tuned["knn", "r"].spec.options == {"neighbours": [3]}
    assert [run.error for run in found.trials if not run.finished] == [
        "RuntimeError: one neighbour is too lonely"
    ]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"trials": 2, "seeds": [0, 1], "tuning_seeds": [1, 2]}, r"tuning_seeds=\[1, 2\] and seed"),
        ({"trials": 2, "tuning_seeds": []}, "tuning_seeds is empty: give at least one"),
        ({"tuning_seeds": []}, "tuning_seeds is empty: give at least one"),
        ({"shares": [0.5, 1.0]}, r"shares=\[0.5, 1.0\] must lie between 0 and 1"),
        ({"shares": [0.0]}, "must lie between 0 and 1"),
    ],
)
def test_plans_that_make_no_sense(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Plan(**{"seeds": [0]} | options)


def test_seeds_may_overlap_where_nothing_is_tuned() -> None:
    assert Plan(seeds=[1000]).trials == 1


@pytest.mark.parametrize(
    ("names", "options", "match"),
    [
        (["knnn"], {}, "unknown agent 'knnn'.*did you mean 'knn'"),
        (["knn", "knn"], {}, "'knn' occurs twice"),
        ([], {}, "agents is empty"),
        (["knn"], {"seeds": []}, "give at least one each"),
        (["knn"], {"rewards": {}}, "give at least one each"),
        ([AgentSpec("knn", {"neighbors": 3})], {}, "unknown option 'neighbors'"),
        (["knn", "ridge"], TUNED, "agent 'ridge' has no search space"),
        (["knn"], {**TUNED, "trials": 9}, "search of agent 'knn'.*fewer than 9 settings"),
    ],
)
def test_invalid_input(
    names: list[Any], options: dict[str, Any], match: str, splits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match):
        compare(splits, tmp_path, *names, **options)
    assert not list(tmp_path.iterdir())
