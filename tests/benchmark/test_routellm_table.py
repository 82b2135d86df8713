"""Halves of a published table part no text, and the weak model comes first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from routing_gym.benchmark.routellm_table import (
    Pair,
    as_pair,
    halves,
    leaks,
    part,
    shared_texts,
)
from routing_gym.envs.table import OutcomeTable
from tests.benchmark.test_routellm_study import published


@pytest.fixture(scope="module")
def pair() -> Pair:
    return as_pair(OutcomeTable.from_tidy(published()), "made-up")


def test_the_weak_model_comes_first(pair: Pair) -> None:
    assert pair.models == ("cheap", "dear")
    np.testing.assert_allclose(pair.scores.mean(axis=0), [0.5, 1 - 10 / 120])


def test_scores_are_on_the_publishers_scale() -> None:
    table = published(20).to_pydict()
    table["score"] = [1 + 9 * value for value in table["score"]]
    assert as_pair(OutcomeTable.from_tidy(pa.table(table)), "x").scores.max() == pytest.approx(10)


def test_halves_part_no_text(pair: Pair) -> None:
    groups = np.repeat(np.arange(30), 4)
    everything = np.ones(120, dtype=np.bool_)
    half = part(groups, everything, 0.5, np.random.default_rng(0))
    assert half.sum() == 60
    assert not set(groups[half]) & set(groups[~half])
    inner = part(groups, half, 0.2, np.random.default_rng(1))
    assert inner.sum() == 12
    assert not (inner & ~half).any()


def test_equal_texts_are_one_group() -> None:
    table = published(20).to_pydict()
    table["query"][:4] = ["Who is it?"] * 2 + ["WHO  is it"] * 2
    groups = as_pair(OutcomeTable.from_tidy(pa.table(table)), "x").groups
    assert groups[0] == groups[1] != groups[2]


def repeated() -> Pair:
    """Forty queries of twenty texts, each once as it is and once shouted."""
    table = published(40).to_pydict()
    texts = table["query"]
    for number in range(0, len(texts), 4):  # two arms a query
        texts[number + 2 : number + 4] = [texts[number].upper() + " !"] * 2
    return as_pair(OutcomeTable.from_tidy(pa.table(table)), "twice")


def test_no_text_leaks_between_halves() -> None:
    pair = repeated()
    assert len(set(pair.groups)) == 20
    assert leaks(pair, range(30)) == 0
    for seed in range(30):
        sides = halves(pair.groups, np.random.default_rng(seed))
        parts = (sides.inner, sides.validation, sides.test)
        np.testing.assert_array_equal(np.sum(parts, axis=0), 1)  # every query is in one
        assert [int(rows.sum()) for rows in parts] == [16, 4, 20]


def test_leaks_are_found_where_groups_are_parted() -> None:
    careless = replace(repeated(), groups=np.arange(40))
    assert leaks(careless, [0]) > 0


def test_shared_texts_by_hand() -> None:
    texts = np.array(["Who?", "who", "Where is it?", "Why?", "WHERE  is it"])
    left = np.array([True, False, True, True, False])
    assert shared_texts(texts, left, ~left) == 2


def test_refuses_three_models_and_equal_ones() -> None:
    lines = published(20).to_pylist()
    third = pa.Table.from_pylist(lines + [row | {"arm": "x"} for row in lines[::2]])
    with pytest.raises(ValueError, match="keep two"):
        as_pair(OutcomeTable.from_tidy(third), "x")
    alike = pa.Table.from_pylist([row | {"score": 1.0} for row in lines])
    with pytest.raises(ValueError, match="equally good"):
        as_pair(OutcomeTable.from_tidy(alike), "x")
