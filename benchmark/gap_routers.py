"""Whose choices are judged: a saved policy on unseen queries, or an agent trained out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from routing_gym.agents import make_agent
from routing_gym.benchmark.gap_evidence import TRAIN, VALIDATION
from routing_gym.envs.table import OutcomeTable, as_reward
from routing_gym.rewards.reward import RewardFunction

if TYPE_CHECKING:
    from routing_gym.agents.agent import Agent

NOBODY = -1


def saved_actions(
    agent: Agent, table: OutcomeTable, *, splits: Sequence[str]
) -> tuple[np.ndarray, str]:
    """Ask a saved agent, on the queries that it was not fitted on.

    Parameters
    ----------
    agent
        From `routing_gym.agents.load_agent`.
    table
        The table that is judged.
    splits
        Splits that are read.

    Returns
    -------
    actions : np.ndarray
        int64 (N,), -1 on the train split of the table that the agent learned from, and on splits
        that are not read.
    note : str
        Which queries it is judged on, and why.

    Raises
    ------
    ValueError
        If it is of another pool or encoder, decides on more than embeddings, or no query is left.
    """
    check_agent(agent, table)
    fitted = _fitted_on(table, agent.metadata)
    asked = np.isin(table.split.astype(np.str_), [s for s in splits if not fitted or s != TRAIN])
    if not asked.any():
        raise ValueError(
            f"splits={tuple(splits)} hold only queries that policy {agent.name!r} was fitted on: "
            f"add {VALIDATION!r}, or give --agent {agent.name}, which is trained out of fold."
        )
    actions = np.full(len(table), NOBODY, dtype=np.int64)
    actions[asked] = agent.decide(table.embeddings[asked]).actions
    if not fitted:
        return actions, f"{agent.name} (saved), fitted on another table."
    return actions, (
        f"{agent.name} (saved), judged on {int(asked.sum())} queries outside the train split that "
        "it was fitted on."
    )


def check_agent(agent: Agent, table: OutcomeTable) -> None:
    """Refuse a saved agent whose choices mean nothing on a table.

    Raises
    ------
    ValueError
        If it is of another pool or encoder.
    """
    if agent.adapters != table.adapters:
        raise ValueError(
            f"policy {agent.name!r} is for adapters {agent.adapters}, the table for "
            f"{table.adapters}: give a policy of the table's pool."
        )
    encoder, own = str(agent.metadata.get("encoder", "")), table.manifest.encoder
    if encoder and own and encoder != own:
        raise ValueError(
            f"policy {agent.name!r} decides on embeddings of encoder {encoder!r}, the table holds "
            f"those of {own!r}: give a policy of the table's encoder, or --agent {agent.name}."
        )


def out_of_fold_actions(
    name: str,
    table: OutcomeTable,
    *,
    splits: Sequence[str] = (TRAIN, VALIDATION),
    reward: RewardFunction | Mapping[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, str]:
    """Let an agent choose on queries that it has not seen: each fold by one trained on the others.

    In each fold the agent learns on the train split and stops by the validation split, both
    without the fold's queries; equal texts share a fold. The test split is never learned from.

    Parameters
    ----------
    name
        A key of ``AGENTS``, or ``"package.module:Class"``.
    table
        The table.
    splits
        Splits that are judged.
    reward
        What it is trained on; None is the default reward, where the table has its scores, else the
        accuracy.
    options
        Fields of the agent's configuration.
    folds
        F, at least 2.
    seed
        Of folds and training.
    progress
        Whether to show a bar on stderr.

    Returns
    -------
    actions : np.ndarray
        int64 (N,), -1 on splits that are not judged.
    note : str
        Who chose, and how it was trained.

    Raises
    ------
    ValueError
        If the agent is unknown, the table lacks a split that it learns from, or `folds` is too
        large for it.
    """
    from tqdm import tqdm

    for split in (TRAIN, VALIDATION):
        if split not in table.splits:
            raise ValueError(
                f"the table has no {split} split for agent {name!r} to learn from: give --policy "
                "with a saved agent, or a table with train and validation queries."
            )
    prices, priced = _reward(table, reward)
    learn = {split: table.data(split, prices) for split in (TRAIN, VALIDATION)}
    places = {split: np.flatnonzero(table.split == split) for split in table.splits}
    fold = deal_folds(table, folds=folds, seed=seed)
    actions = np.full(len(table), NOBODY, dtype=np.int64)
    for number in tqdm(range(folds), desc=f"{name} out of fold", unit="fold", disable=not progress):
        agent = make_agent(name, **(options or {}))
        kept = {
            s: data.take(np.flatnonzero(fold[places[s]] != number)) for s, data in learn.items()
        }
        agent.train(kept[TRAIN], validation=kept[VALIDATION], seed=seed + number)
        for split in [known for known in table.splits if known in splits]:
            held = np.flatnonzero(fold[places[split]] == number)
            if len(held):
                data = (learn.get(split) or table.data(split, prices)).take(held)
                actions[places[split][held]] = agent.decide_on(data).actions
    return actions, f"{name}, trained on {priced} in {folds} folds (no query it was fitted on)."


def deal_folds(table: OutcomeTable, *, folds: int, seed: int) -> np.ndarray:
    """Deal the table's texts into folds, int (N,); equal texts share one."""
    different, member = np.unique(table.text, return_inverse=True)  # objects: texts may be long
    least = min(int((table.split == split).sum()) for split in (TRAIN, VALIDATION))
    if not 2 <= folds <= least:
        raise ValueError(
            f"folds={folds} must be at least 2 and at most the {least} queries of the smaller "
            "split that the agent learns from."
        )
    rng = np.random.default_rng(seed)
    return np.asarray((rng.permutation(len(different)) % folds)[member.ravel()])


def _reward(
    table: OutcomeTable, reward: RewardFunction | Mapping[str, float] | None
) -> tuple[RewardFunction, str]:
    """Choose what an agent is trained on, and name it."""
    if reward:
        return as_reward(reward), "the reward given"
    default = as_reward(None)
    if all(name in table.scores for name in default.weights):
        return default, "the default reward"
    return RewardFunction({"accuracy": 1.0}), "accuracy (the table has no self-evaluated scores)"


def _fitted_on(table: OutcomeTable, known: Mapping[str, Any]) -> bool:
    """Whether a policy may have learned from the table's train split; in doubt it has."""
    if known.get("table", table.fingerprint) == table.fingerprint:
        return True
    pool = table.manifest.pool_fingerprint  # another version of the table has the same queries
    return bool(pool) and str(known.get("pool_fingerprint", "")) == pool
