"""Splits under other encoders keep everything but what is observed."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.adapters.tfidf import TfidfEncoder
from routing_gym.benchmark.encoded import encode_splits
from routing_gym.benchmark.runs import AgentSpec, Splits
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=120)


@pytest.fixture(scope="module")
def splits(table: OutcomeTable) -> dict[str, Splits]:
    return {"r": Splits(*(table.data(name) for name in ("train", "validation", "test")))}


def test_joined_parts_and_their_widths(table: OutcomeTable, splits: dict[str, Splits]) -> None:
    seen = encode_splits(table, splits, encoder="table+surface")["r"]
    width = splits["r"].test.observations.shape[1]
    assert seen.blocks[0] == width
    assert sum(seen.blocks) == seen.test.observations.shape[1]
    np.testing.assert_array_equal(seen.test.observations[:, :width], splits["r"].test.observations)
    np.testing.assert_array_equal(seen.train.rewards, splits["r"].train.rewards)


def test_tfidf_learns_from_train_texts_alone(
    table: OutcomeTable, splits: dict[str, Splits]
) -> None:
    seen = encode_splits(table, splits, encoder="tfidf")["r"]
    encoder = TfidfEncoder()
    encoder.fit([str(text) for text in table.text[table.split == "train"]])
    expected = encoder.encode([str(text) for text in table.text[table.split == "test"]])
    np.testing.assert_array_equal(seen.test.observations, expected)
    assert seen.blocks == ()


def test_agents_that_know_blocks_are_told() -> None:
    assert AgentSpec("forest").build(blocks=(3, 2)).config.blocks == (3, 2)
    assert not hasattr(AgentSpec("knn").build(blocks=(3, 2)).config, "blocks")


def test_an_unknown_part_is_named(table: OutcomeTable, splits: dict[str, Splits]) -> None:
    with pytest.raises(ValueError, match="unknown encoder 'surfaces'"):
        encode_splits(table, splits, encoder="table+surfaces")
