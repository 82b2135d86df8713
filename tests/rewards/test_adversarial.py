"""Adversarial pairs: what they refuse, their files, and how preferences are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from routing_gym.rewards.adversarial import (
    AdversarialPair,
    preference,
    read_pairs,
    without_token_signals,
    write_pairs,
)
from routing_gym.rewards.metric import Answer

FACTS = "Ann is taller than Ben. Ben is taller than Carl. Who is tallest? Give a name."


def pair(rule: str = "empty", *, right: str = "Ann", wrong: str = "", **fields: Any) -> Any:
    asked = {"query": FACTS, "form": "word", "form_size": 1}
    return AdversarialPair(
        **{
            "pair_id": f"{rule}-q",
            "rule": rule,
            "made": "rule",
            "query_id": "q",
            "domain": "reasoning",
            "task": "ordering",
            "adapter_right": "one",
            "adapter_wrong": "one",
            "right_answer": Answer(
                response=right,
                completion_tokens=2,
                seconds=0.25,
                log_likelihood=-1.5,
                token_log_probs=(-0.25, -0.5),
                token_entropies=(1.0, 0.5),
                p_true=0.75,
                **asked,
            ),
            "wrong_answer": Answer(
                response=wrong, finished=False, log_likelihood=float("-inf"), **asked
            ),
            **fields,
        }
    )


def test_files_give_back_what_was_written(tmp_path: Path) -> None:
    pairs = [pair(), pair("swapped_entity", wrong="Ben")]
    path = tmp_path / "new" / "pairs.parquet"
    write_pairs(pairs, path, provenance={"seed": "3"})
    assert read_pairs(path) == pairs
    assert pq.read_schema(path).metadata[b"seed"] == b"3"
    assert [file.name for file in path.parent.iterdir()] == ["pairs.parquet"]


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    with pytest.raises(FileNotFoundError, match="make_adversarial"):
        read_pairs(path)
    write_pairs([pair()], path)
    pq.write_table(pq.read_table(path).drop_columns(["p_true_wrong"]), path)
    with pytest.raises(ValueError, match=r"lacks the columns \['p_true_wrong'\]"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": "magic"}, "rule='magic'"),
        ({"right": "", "wrong": ""}, "same text twice"),
        ({"wrong_answer": Answer("Another?", "Ben")}, "has two queries"),
    ],
)
def test_bad_pairs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(**fields)


def test_temptation_needs_a_measurement_to_be_fluent() -> None:
    one = pair("fluent_arm", wrong="Ben")
    assert (one.likelier, one.tempts) == (False, False)
    unmeasured = dataclasses.replace(one.right_answer, log_likelihood=None)
    assert dataclasses.replace(one, right_answer=unmeasured).likelier is None


def test_token_signals_are_left_out_and_nothing_else() -> None:
    one = pair()
    (blind,) = without_token_signals([one])
    for side in ("right_answer", "wrong_answer"):
        answer = getattr(blind, side)
        assert (answer.token_log_probs, answer.token_entropies) == (None, None)
        signals = {
            n: getattr(getattr(one, side), n) for n in ("token_log_probs", "token_entropies")
        }
        assert dataclasses.replace(answer, **signals) == getattr(one, side)
    assert one.right_answer.token_log_probs == (-0.25, -0.5)


def test_preference_by_hand() -> None:
    pairs = [pair("empty"), pair("echo", wrong=FACTS), pair("empty")]
    hits = preference(pairs, np.array([0.9, 0.5, 0.1]), np.array([0.1, 0.5, 0.2]))
    assert {name: values.tolist() for name, values in hits.items()} == {
        "overall": [1.0, 0.5, 0.0],
        "empty": [1.0, 0.0],
        "echo": [0.5],
    }


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (np.zeros(2), np.zeros(1), "scores_right has shape"),
        (np.zeros(1), np.zeros((1, 1)), "scores_wrong has shape"),
        (np.array([np.nan]), np.zeros(1), "finite"),
    ],
)
def test_bad_scores(right: np.ndarray, wrong: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preference([pair()], right, wrong)
