"""What the streaming bandits promise, beside what every agent does."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents import AGENTS, make_agent
from routing_gym.agents.bandit import BanditAgent, best_of, stream_order
from routing_gym.agents.learning_history import StreamRecorder
from routing_gym.envs.data import RoutingData
from tests.agents.bandits import NAMES, skip_without_peer
from tests.agents.problems import by_hand, identity

Asked = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def trained(
    name: str,
    train: RoutingData | None = None,
    validation: RoutingData | None = None,
    **options: Any,
) -> BanditAgent:
    skip_without_peer(name)
    agent = make_agent(name, **{"budget": 0.1, **options})
    assert isinstance(agent, BanditAgent)
    agent.train(
        identity("train") if train is None else train,
        validation=identity("validation") if validation is None else validation,
        seed=3,
    )
    return agent


@contextmanager
def watched() -> Iterator[Asked]:
    asked: Asked = []
    add = StreamRecorder.add

    def spy(recorder: StreamRecorder, rows: Any, actions: Any, probabilities: Any) -> None:
        asked.append((rows, actions, probabilities))
        add(recorder, rows, actions, probabilities)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamRecorder, "add", spy)
        yield asked


def differing(first: BanditAgent, second: BanditAgent) -> list[str]:
    arrays = second._state()[1]
    return [k for k, v in first._state()[1].items() if not np.array_equal(v, arrays[k])]


def test_every_registered_bandit_is_tested_here() -> None:
    bandits = [name for name in AGENTS if isinstance(make_agent(name), BanditAgent)]
    assert sorted(bandits) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_learns_from_the_chosen_cells_only(name: str) -> None:
    data = identity("train")
    chosen = np.zeros(data.rewards.shape, dtype=bool)
    with watched() as asked:
        agent = trained(name)
    for rows, actions, probabilities in asked:
        chosen[rows, actions] = True
        assert len(rows) <= 16
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert (probabilities[np.arange(len(rows)), actions] > 0).all()
    assert agent.outcomes == sum(len(rows) for rows, _, _ in asked) == 96
    unseen = replace(data, rewards=np.where(chosen, data.rewards, 1 - data.rewards))
    assert differing(agent, trained(name, unseen)) == []
    seen = replace(data, rewards=np.where(chosen, 1 - data.rewards, data.rewards))
    assert differing(agent, trained(name, seen)) != []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_chosen_by_validation(name: str) -> None:
    data = identity("validation")
    other = replace(data, rewards=1 - data.rewards)
    assert differing(trained(name), trained(name, validation=other)) == []


@pytest.mark.parametrize("name", NAMES)
def test_weights_follow_the_seed(name: str) -> None:
    skip_without_peer(name)
    agents = [make_agent(name, budget=0.1) for _ in range(3)]
    for agent, seed in zip(agents, (5, 5, 6), strict=True):
        agent.train(identity("train"), validation=identity("validation"), seed=seed)
    first, second, third = agents
    assert isinstance(first, BanditAgent)
    assert isinstance(second, BanditAgent)
    assert isinstance(third, BanditAgent)
    assert differing(first, second) == []
    assert differing(first, third) != []


@pytest.mark.parametrize("name", NAMES)
def test_history_accounts_for_the_stream(name: str) -> None:
    data, held_out = identity("train"), identity("validation")
    with watched() as asked:
        agent = trained(name, evaluate_every=40)
    assert [point.outcomes for point in agent.history] == [0, 48, 96]
    rows, actions = (np.concatenate([part[i] for part in asked]) for i in (0, 1))
    assert agent.history[-1].stream_reward == pytest.approx(data.rewards[rows, actions].sum())
    missed = data.rewards.max(axis=1)[rows] - data.rewards[rows, actions]
    assert agent.history[-1].regret == pytest.approx(missed.sum())
    assert agent.history[1].regret == pytest.approx(missed[:48].sum())
    final = agent.decide_on(held_out).actions
    kept = held_out.rewards[np.arange(len(held_out)), final].mean()
    assert agent.history[-1].validation_reward == pytest.approx(kept)


@pytest.mark.parametrize("name", NAMES)
def test_behaviour_is_a_distribution_and_heeds_masks(name: str) -> None:
    agent, observations = trained(name), identity("test").observations
    mask = np.array([True, False, True, True])
    for allowed in (None, mask):
        found = agent.behaviour(observations, mask=allowed)
        assert found.shape == (len(observations), 4)
        np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_behaviour_survives_saving(name: str, tmp_path: Path) -> None:
    agent, observations = trained(name), identity("test").observations
    agent.save(tmp_path / "policy")
    loaded = type(agent).load(tmp_path / "policy")
    assert loaded.outcomes == agent.outcomes
    np.testing.assert_allclose(
        loaded.behaviour(observations), agent.behaviour(observations), atol=1e-7
    )


@pytest.mark.parametrize("name", NAMES)
def test_adapters_that_are_all_alike_train_without_nan(name: str) -> None:
    data = by_hand([[0.5, 0.5, 0.5]] * 8)
    agent = trained(name, data, data, budget=1.0)
    assert np.isfinite(agent.probabilities(data.observations)).all()


def test_without_revisits_no_cell_is_paid_for_twice() -> None:
    with watched() as asked:
        trained("linucb", budget=1.0, revisit=False)
    rows, actions = (np.concatenate([part[i] for part in asked]) for i in (0, 1))
    assert len(rows) == 960
    assert len(set(zip(rows.tolist(), actions.tolist(), strict=True))) == 960


def test_a_budget_below_one_pass_and_odd_batches() -> None:
    with watched() as asked:
        agent = trained("linucb", budget=0.3, batch_size=100, evaluate_every=0)
    assert [len(rows) for rows, _, _ in asked] == [100, 100, 40, 48]
    assert [point.outcomes for point in agent.history] == [0, 288]


def test_regret_grows_ever_more_slowly() -> None:
    agent = trained("linucb", budget=1.0, evaluate_every=240)
    first, *_, before, last = agent.history[1:]
    assert last.regret - before.regret < 0.2 * first.regret


def test_writes_curves(tmp_path: Path) -> None:
    agent = make_agent("linucb", budget=0.1)
    agent.train(
        identity("train"), validation=identity("validation"), seed=0, log_dir=tmp_path / "log"
    )
    with (tmp_path / "log" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["split"], row["step"]) for row in rows} == {
        ("validation", "0"),
        ("validation", "96"),
        ("train", "96"),
    }
    assert any(f.name.startswith("events.out.tfevents") for f in (tmp_path / "log").iterdir())


def test_progress_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    agent = make_agent("linucb", budget=0.1)
    agent.train(identity("train"), validation=identity("validation"), seed=0, progress=True)
    captured = capsys.readouterr()
    assert "validation_reward" in captured.err
    assert captured.out == ""


def test_stream_order_is_one_permutation_per_pass() -> None:
    order = stream_order(5, length=12, seed=1)
    assert sorted(order[:5].tolist()) == sorted(order[5:10].tolist()) == [0, 1, 2, 3, 4]
    assert len(order) == 12
    np.testing.assert_array_equal(order, stream_order(5, length=12, seed=1))
    np.testing.assert_array_equal(order[:7], stream_order(5, length=7, seed=1))
    assert (order != stream_order(5, length=12, seed=2)).any()


def test_best_of_shares_between_equals() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(best_of(scores, scores >= 0), [[0.5, 0.5, 0], [1, 0, 0]])
    allowed = np.array([[False, True, True]] * 2)
    np.testing.assert_array_equal(best_of(scores, allowed), [[0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linucb", {"budget": 0.0}, "budget=0.0 is not above 0"),
        ("linucb", {"budget": float("nan")}, "budget=nan is not above 0"),
        ("linucb", {"budget": 1.5, "revisit": False}, "more than all outcomes"),
        ("linucb", {"batch_size": 0}, "batch_size=0 is too small: give at least 1"),
        ("linucb", {"num_components": -1}, "num_components=-1 is too small: give at least 0"),
        ("linucb", {"evaluate_every": -1}, "evaluate_every=-1 is too small"),
        ("linucb", {"alpha": -0.1}, "alpha=-0.1 is negative"),
        ("linucb", {"ridge": 0.0}, "ridge=0.0 is not above 0"),
        ("linucb", {"prior": float("inf")}, "prior=inf is not finite"),
        ("linucb", {"alfa": 1.0}, "did you mean 'alpha'"),
        ("epsilon_greedy", {"epsilon": 1.2}, r"epsilon=1.2 is outside \[0, 1\]"),
        ("epsilon_greedy", {"horizon": 0.0}, "horizon=0.0 is not above 0"),
        ("epsilon_greedy", {"decay": -1.0}, "decay=-1.0 is negative"),
        ("linear_thompson", {"noise": 0.0}, "noise=0.0 is not above 0"),
        ("bootstrapped_thompson", {"replicates": 0}, "replicates=0 is too small"),
        ("bootstrapped_thompson", {"prior_scale": -1.0}, "prior_scale=-1.0 is negative"),
        ("squarecb", {"gamma": 0.0}, "gamma=0.0 is not above 0"),
        ("squarecb", {"exponent": -0.5}, "exponent=-0.5 is negative"),
        ("neural_linear", {"refit_every": 0}, "refit_every=0 is too small"),
        ("neural_linear", {"rate": 0.0}, "rate=0.0 is not above 0"),
        ("neural_ucb", {"gamma": -1.0}, "gamma=-1.0 is negative"),
        ("neural_ucb", {"dropout": 1.0}, r"dropout=1.0 is outside \[0, 1\)"),
        ("neural_ucb", {"hidden_dim": 0}, "hidden_dim=0 is too small"),
        ("neural_ts", {"noise": 0.0}, "noise=0.0 is not above 0"),
        ("neural_ts", {"steps_per_batch": 0}, "steps_per_batch=0 is too small"),
        ("exp4", {"experts": ("linucb", "knn")}, "must be names, each once"),
        ("exp4", {"experts": ("linucb", "linucb")}, "must be names, each once"),
        ("exp4", {"gamma": 0.0}, r"gamma=0.0 is outside \(0, 1\]"),
        ("reinforce", {"entropy_coefficient": -1.0}, "entropy_coefficient=-1.0 is negative"),
        ("reinforce", {"learning_rate": 0.0}, "learning_rate=0.0 is not above 0"),
    ],
)
def test_refuses_settings(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(name, **options)


def test_adapters_are_drawn_with_the_logged_probabilities() -> None:
    with watched() as asked:
        trained("squarecb", budget=8.0, gamma=2.0, exponent=0.0)
    actions, probabilities = (np.concatenate([part[i] for part in asked]) for i in (1, 2))
    shares = np.bincount(actions, minlength=4) / len(actions)
    np.testing.assert_allclose(shares, probabilities.mean(axis=0), atol=0.015)
    # each draw is as probable as it says: the mean of 1 / p over the drawn is K
    propensities = probabilities[np.arange(len(actions)), actions]
    assert (1 / propensities).mean() == pytest.approx(4, abs=0.15)
