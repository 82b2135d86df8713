"""Live-v0: what the pool writes inside `step` is what a table of it would have held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from routing_gym.envs import LIVE, ROUTING
from routing_gym.envs.collection import assemble, collect_answers
from routing_gym.envs.live import LiveEnv, LiveVectorEnv
from routing_gym.envs.live_source import unanswered
from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_queries
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer
from tests.envs.live_pool import ScriptedPool, WordCount

NAMES = ("base", "one", "two")
METRICS = ("coherence", "completeness", "safety", "consistency", "certainty", "tokens", "seconds")
REWARD = {"completeness": 3.0, "certainty": 2.0, "tokens": 1.0, "seconds": 1.0}
TOLERANCE = 1e-6  # of float32, in which tables keep scores; the collection's path is the same
LANES = 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    """What the scripted pool gives when it is collected."""
    pool, folder = ScriptedPool(NAMES), tmp_path_factory.mktemp("collection")
    queries = make_queries({"turns": 10, "dates": 10, "predicates": 10}, seed=0)
    width = np.random.default_rng(0).normal(size=(len(queries), 6))
    return assemble(
        queries,
        {name: collect_answers(pool, name, queries, folder=folder) for name in NAMES},
        pool=pool.spec,
        evaluator=SelfEvaluator(METRICS),
        likelihoods=np.zeros((len(queries), len(NAMES))),
        p_true=np.zeros((len(queries), len(NAMES))),
        encode=lambda texts: width,
        encoder="none",
        generation={},
        seeds={},
        versions={},
    )


def options(**own: Any) -> dict[str, Any]:
    return {
        "pool": ScriptedPool(NAMES),
        "evaluator": SelfEvaluator(METRICS),
        "reward": REWARD,
        **own,
    }


def assert_same(live: dict[str, Any], known: dict[str, Any]) -> None:
    """Live's info is the table's, less what nobody can know."""
    assert set(known) - set(live) == {"oracle_reward", "regret"}
    for name in ("action", "adapter", "query_id", "task", "domain", "complexity"):
        assert np.array_equal(live[name], known[name]), name
    np.testing.assert_allclose(live["accuracy"], known["accuracy"])
    for group in ("scores", "cost"):
        assert set(live[group]) == set(known[group])
        for name, value in known[group].items():
            np.testing.assert_allclose(live[group][name], value, atol=TOLERANCE, err_msg=name)


def test_it_is_routing_on_the_pools_own_table(table: OutcomeTable) -> None:
    live = gym.make(LIVE, table=table, **options())
    known = gym.make(ROUTING, table=table, reward=REWARD)
    assert live.observation_space == known.observation_space
    assert live.action_space == known.action_space
    responses = dict(zip(table.query_id.tolist(), table.responses, strict=True))
    rng = np.random.default_rng(0)
    for seed in (3, *[None] * 20):
        first, second = live.reset(seed=seed), known.reset(seed=seed)
        np.testing.assert_array_equal(first[0], second[0])
        assert first[1] == second[1]
        action = int(rng.integers(3))
        observation, reward, terminated, truncated, info = live.step(action)
        expected = known.step(action)
        np.testing.assert_array_equal(observation, expected[0])
        assert reward == pytest.approx(expected[1], abs=TOLERANCE)
        assert (terminated, truncated) == expected[2:4] == (True, False)
        assert_same(info, expected[4])
        assert info["response"] == responses[info["query_id"]][action]


def test_its_lanes_are_routings(table: OutcomeTable) -> None:
    live = gym.make_vec(LIVE, LANES, table=table, split="train", **options()).unwrapped
    known = RoutingVectorEnv(LANES, table, reward=REWARD)
    assert isinstance(live, LiveVectorEnv)
    np.testing.assert_array_equal(live.reset(seed=1)[0], known.reset(seed=1)[0])
    rng = np.random.default_rng(0)
    for _ in range(6):
        actions = rng.integers(3, size=LANES)
        ours, theirs = live.step(actions), known.step(actions)
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], atol=TOLERANCE)
        np.testing.assert_array_equal(ours[4]["final_obs"], theirs[4]["final_obs"])
        finals = [
            {n: v for n, v in info["final_info"].items() if not n.startswith("_")}
            for info in (ours[4], theirs[4])
        ]
        for final in finals:
            for group in ("scores", "cost"):
                final[group] = {n: v for n, v in final[group].items() if not n.startswith("_")}
        assert_same(*finals)


def test_each_adapter_is_asked_once_and_the_order_restored(table: OutcomeTable) -> None:
    pool = ScriptedPool(NAMES)
    env = LiveVectorEnv(LANES, table, **options(pool=pool))
    texts = {query.query_id: query.text for query in queries_of(table)}
    _, info = env.reset(seed=0)
    for actions in ([2, 0, 2, 2, 0, 2, 0, 2], [1] * LANES, [0, 1, 2, 0, 1, 2, 0, 1]):
        asked = info["query_id"].tolist()
        pool.calls.clear()
        *_, info = env.step(np.array(actions))
        final = info["final_info"]
        assert [name for name, _ in pool.calls] == [NAMES[a] for a in sorted(set(actions))]
        wanted = [f"{NAMES[a]}: {texts[q]}" for a, q in zip(actions, asked, strict=True)]
        assert final["response"].tolist() == wanted
        assert final["adapter"].tolist() == [NAMES[a] for a in actions]
        pairs = {(NAMES[a], texts[q]) for a, q in zip(actions, asked, strict=True)}
        assert sorted((n, t) for n, own in pool.calls for t in own) == sorted(pairs)


def test_the_active_adapter_answers_first(table: OutcomeTable) -> None:
    pool: Any = ScriptedPool(NAMES)
    pool.active = "two"
    env = LiveVectorEnv(3, table, **options(pool=pool))
    env.reset(seed=0)
    env.step(np.array([0, 1, 2]))
    assert [name for name, _ in pool.calls] == ["two", "base", "one"]


def test_no_outcome_of_the_table_is_read(
    table: OutcomeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    shuffled = replace(
        table,
        scores={name: rng.random(values.shape) for name, values in table.scores.items()},
        responses=np.full(table.responses.shape, "?", dtype=object),
        prompt_tokens=table.prompt_tokens + 1,
        completion_tokens=table.completion_tokens + 1,
        seconds=table.seconds * 2,
    )

    def refused(*_: Any) -> None:
        raise AssertionError("priced the table")

    monkeypatch.setattr(OutcomeTable, "data", refused)
    rewards = []
    for source in (table, shuffled):
        env = LiveVectorEnv(LANES, source, **options())
        env.reset(seed=0)
        rewards.append([env.step(np.arange(LANES) % 3)[1].tolist() for _ in range(4)])
        assert not env.scenario.data.rewards.any()
    assert rewards[0] == rewards[1]


def test_a_scalar_env_is_a_lane(table: OutcomeTable) -> None:
    lanes = LiveVectorEnv(LANES, table, **options())
    lanes.reset(seed=9)
    actions = np.arange(LANES) % 3
    _, rewards, *_ = lanes.step(actions)
    for lane in range(LANES):
        env = LiveEnv(table, **options())
        env.reset(seed=9 + lane)
        assert env.step(int(actions[lane]))[1] == rewards[lane]


def test_both_checkers(table: OutcomeTable) -> None:
    env = gym.make(LIVE, table=table, **options())
    check_env(env.unwrapped, skip_render_check=True)
    check_env_for_sb3(env.unwrapped)
    with pytest.raises(ResetNeeded):
        LiveEnv(table, **options()).step(0)


def test_it_trains_behind_sb3(table: OutcomeTable) -> None:
    env = ScenarioVecEnv(LiveVectorEnv(4, table, **options()))
    env.seed(0)
    env.reset()
    env.step_async(np.array([0, 1, 2, 0]))
    _, rewards, dones, infos = env.step_wait()
    assert dones.all()
    assert [info["episode"]["r"] for info in infos] == pytest.approx(rewards.tolist())
    assert set(env.last_step) == {"action", "reward", "accuracy", "completion_tokens", "seconds"}


def test_a_cache_answers_what_was_answered(table: OutcomeTable) -> None:
    pool, plain = ScriptedPool(NAMES), ScriptedPool(NAMES)
    few = table.subset(np.flatnonzero(table.split == "train")[:4])
    cached = LiveVectorEnv(6, few, **options(pool=pool, cache=12))
    fresh = LiveVectorEnv(6, few, **options(pool=plain))
    rng = np.random.default_rng(0)
    for env in (cached, fresh):
        env.reset(seed=0)
    for _ in range(30):
        actions = rng.integers(3, size=6)
        assert cached.step(actions)[1].tolist() == fresh.step(actions)[1].tolist()
    asked = [(name, text) for name, own in pool.calls for text in own]
    assert len(asked) == len(set(asked)) == 12  # each cell once
    assert len(plain.calls) > len(pool.calls)


def test_a_small_cache_forgets_the_least_recently_used(table: OutcomeTable) -> None:
    pool = ScriptedPool(NAMES)
    one = table.subset(np.flatnonzero(table.split == "train")[:1])
    env = LiveEnv(one, **options(pool=pool, cache=2))
    for action in (0, 1, 0, 2, 0, 1):  # 2 drives 1 out, for 0 was used later
        env.reset()
        env.step(action)
    assert [name for name, _ in pool.calls] == ["base", "one", "two", "one"]


def test_seconds_by_the_token_do_not_depend_on_the_clock(table: OutcomeTable) -> None:
    env = LiveEnv(table, **options(token_seconds=0.5))
    env.reset(seed=0)
    cost = env.step(1)[4]["cost"]
    assert cost["seconds"] == 0.5 * (cost["prompt_tokens"] + cost["completion_tokens"])


def test_data_with_their_queries(table: OutcomeTable) -> None:
    queries = make_queries({"turns": 5}, seed=3)
    data = unanswered(queries, embeddings=np.eye(5), adapters=NAMES)
    env = LiveEnv(data=data, queries=queries[::-1], **options())
    observation, info = env.reset(seed=0)
    row = int(observation.argmax())
    assert info["query_id"] == queries[row].query_id
    assert env.step(1)[4]["response"] == f"one: {queries[row].text}"


def test_queries_without_a_verifier_have_unknown_accuracy(table: OutcomeTable) -> None:
    stripped = replace(table, reference=np.full(len(table), "", dtype=object))
    env = LiveEnv(stripped, **options())
    env.reset(seed=0)
    _, reward, *_, info = env.step(0)
    assert np.isnan(info["accuracy"])
    assert np.isfinite(reward)


def test_a_failed_generation_leaves_the_lanes_waiting(table: OutcomeTable) -> None:
    def die(answers: list[Any]) -> list[Any]:
        raise MemoryError("no room")

    pool = ScriptedPool(NAMES, spoil=die)
    lanes = LiveVectorEnv(3, table, **options(pool=pool))
    observations, _ = lanes.reset(seed=0)
    with pytest.raises(
        RuntimeError, match=r"adapter 'one' failed.*3 queries.*MemoryError: no room"
    ):
        lanes.step(np.array([1, 1, 1]))
    pool.spoil = None
    *_, info = lanes.step(np.array([1, 1, 1]))
    np.testing.assert_array_equal(info["final_obs"], observations)


class Silent(WordCount):
    """Leaves a metric out."""

    def evaluate_batch(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        return {"quality": np.ones(len(answers)), "tokens": np.ones(len(answers))}


class Loud(WordCount):
    """Scores above 1."""

    def evaluate_batch(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        return {name: np.full(len(answers), 2.0) for name in self.directions}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"pool": ScriptedPool(NAMES, spoil=lambda a: a[:-1])}, "gave 1 answers to 2 queries"),
        (
            {"pool": ScriptedPool(NAMES, spoil=lambda a: [replace(x, seconds=-1.0) for x in a])},
            "adapter 'two' gave an impossible answer.*seconds=-1",
        ),
        ({"evaluator": Silent(), "reward": None}, "no scores.*metric 'seconds'"),
        ({"evaluator": Loud(), "reward": None}, "score 2.0 of metric 'quality'"),
    ],
)
def test_impossible_answers_and_scores(
    table: OutcomeTable, own: dict[str, Any], message: str
) -> None:
    env = LiveVectorEnv(2, table, **options(**own))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(np.array([2, 2]))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"pool": "defualt"}, "unknown pool 'defualt'.*did you mean 'default'"),
        ({"pool": 3}, "pool=3 is a int: give a pool's name"),
        ({"pool": object()}, "give a pool's name, a PoolSpec, or an object with generate"),
        ({"batch_size": 0}, "batch_size=0 is impossible"),
        ({"batch_size": 2.5}, "batch_size=2.5 is a float"),
        ({"cache": -1}, "cache=-1 is impossible"),
        ({"cache": True}, "cache=True is a bool"),
        ({"token_seconds": -0.1}, "token_seconds=-0.1 is impossible"),
        ({"token_seconds": "fast"}, "token_seconds='fast' is a str"),
        ({"reward": {"wit": 1.0}}, "reward weighs 'wit', which nobody scores.*coherence"),
        ({"split": "dev"}, "split='dev' holds no query"),
        ({"queries": []}, "queries come with the table"),
        ({"price": {"tokens": 1.0}}, "unknown option 'price'"),
        ({"pools": "default"}, "unknown option 'pools'.*did you mean 'pool'"),
    ],
)
def test_wrong_options(table: OutcomeTable, own: dict[str, Any], message: str) -> None:
    for make in (LiveEnv, lambda **chosen: LiveVectorEnv(2, **chosen)):
        with pytest.raises(ValueError, match=message):
            make(table=table, **options(**own))


def test_wrong_data(table: OutcomeTable) -> None:
    queries = make_queries({"turns": 5}, seed=3)
    data = unanswered(queries, embeddings=np.eye(5), adapters=NAMES)
    with pytest.raises(ValueError, match="data hold no texts"):
        LiveEnv(data=data, **options())
    with pytest.raises(ValueError, match=f"queries lack the text of '{queries[0].query_id}'"):
        LiveEnv(data=data, queries=queries[1:], **options())
    with pytest.raises(ValueError, match="pass one of the two"):
        LiveEnv(table, data=data, queries=queries, **options())
    with pytest.raises(ValueError, match="are not the data's"):
        LiveEnv(data=data, queries=queries, **options(pool=ScriptedPool(NAMES[::-1])))
