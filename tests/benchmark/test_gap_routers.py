from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents import load_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.knn import KNNAgent
from routing_gym.benchmark.gap_routers import deal_folds, out_of_fold_actions, saved_actions
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=200)


def trained(source: OutcomeTable, folder: Path, **metadata: str) -> Agent:
    agent = KNNAgent()
    agent.train(source.data("train"), validation=source.data("validation"), seed=0)
    agent.save(folder, metadata=metadata)
    return load_agent(folder)


def test_every_query_is_chosen_for_by_others(table: OutcomeTable) -> None:
    actions, note = out_of_fold_actions("knn", table, folds=4)
    read = table.split != "test"
    assert (actions[~read] == -1).all()
    right = table.scores["accuracy"].argmax(axis=1)
    assert (actions == right)[read].mean() > 0.95
    assert "knn, trained on the default reward in 4 folds" in note


def test_no_query_is_judged_by_what_saw_it(table: OutcomeTable) -> None:
    # A query whose outcomes are changed is chosen for as if nothing had happened.
    row = int(np.flatnonzero(table.split == "train")[0])
    scores = {name: values.copy() for name, values in table.scores.items()}
    scores["quality"][row] = scores["quality"][row][::-1]
    changed = dataclasses.replace(table, scores=scores)
    reward = {"quality": 1.0}
    before, _ = out_of_fold_actions("knn", table, reward=reward, options={"neighbours": (1,)})
    after, _ = out_of_fold_actions("knn", changed, reward=reward, options={"neighbours": (1,)})
    assert before[row] == after[row]


def test_privileged_agents_are_judged_too(table: OutcomeTable) -> None:
    actions, _ = out_of_fold_actions("task_lookup", table, splits=("validation",), folds=2)
    assert ((actions >= 0) == (table.split == "validation")).all()


def test_equal_texts_share_a_fold(table: OutcomeTable) -> None:
    texts = table.text.copy()
    first, second = np.flatnonzero(table.split == "train")[:2]
    texts[second] = texts[first]
    twins = dataclasses.replace(table, text=texts)
    for seed in range(5):
        fold = deal_folds(twins, folds=3, seed=seed)
        assert fold[first] == fold[second]
        assert set(fold) == {0, 1, 2}


def test_a_saved_policy_is_not_judged_on_train(table: OutcomeTable, tmp_path: Path) -> None:
    agent = trained(table, tmp_path / "own", table=table.fingerprint)
    actions, note = saved_actions(agent, table, splits=("train", "validation"))
    assert ((actions >= 0) == (table.split == "validation")).all()
    assert "outside the train split that it was fitted on" in note
    other = trained(table, tmp_path / "other", table="0" * 64, pool_fingerprint="elsewhere")
    actions, note = saved_actions(other, table, splits=("train", "validation"))
    assert ((actions >= 0) == (table.split != "test")).all()
    assert "fitted on another table" in note
    same_pool = trained(table, tmp_path / "new", table="0" * 64, pool_fingerprint="identity-4")
    actions, _ = saved_actions(same_pool, table, splits=("train", "validation"))
    assert (actions[table.split == "train"] == -1).all()
    with pytest.raises(ValueError, match="hold only queries that policy 'knn' was fitted on"):
        saved_actions(agent, table, splits=("train",))


def test_what_does_not_fit(table: OutcomeTable, tmp_path: Path) -> None:
    third = trained(identity_table(n=60, k=3), tmp_path / "three")
    with pytest.raises(ValueError, match="give a policy of the table's pool"):
        saved_actions(third, table, splits=("validation",))
    foreign = trained(table, tmp_path / "foreign", encoder="another")
    with pytest.raises(ValueError, match="encoder 'another', the table holds those of 'identity'"):
        saved_actions(foreign, table, splits=("validation",))
    with pytest.raises(ValueError, match="folds=1 must be at least 2 and at most the 30 queries"):
        out_of_fold_actions("knn", table, folds=1)
    with pytest.raises(ValueError, match="the table has no validation split for agent 'knn'"):
        out_of_fold_actions("knn", table.where(split="train"))
    with pytest.raises(ValueError, match="unknown agent 'kn'"):
        out_of_fold_actions("kn", table)
