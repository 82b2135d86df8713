from __future__ import annotations

import math

import numpy as np
import pytest

from routing_gym.rewards.metric import Answer, CombinedMetric
from routing_gym.rewards.safety import Safety

QUERY = "What does a large river carry to the sea?"


def test_token_signals_are_kept_as_tuples_of_floats() -> None:
    answer = Answer(
        QUERY,
        "Sand.",
        token_log_probs=np.array([-0.5, 0.0], dtype=np.float32),  # type: ignore[arg-type]
        token_entropies=[0.25, 1.0],  # type: ignore[arg-type]
        samples=["Mud."],  # type: ignore[arg-type]
    )
    assert answer.token_log_probs == (-0.5, 0.0)
    assert answer.token_entropies == (0.25, 1.0)
    assert answer.samples == ("Mud.",)
    assert isinstance(hash(answer), int)


def test_nothing_is_measured_by_default() -> None:
    answer = Answer(QUERY, "Sand.")
    fields = ("token_log_probs", "token_entropies", "p_true", "samples", "log_likelihood")
    assert [getattr(answer, name) for name in fields] == [None] * 5


@pytest.mark.parametrize(
    ("measurement", "value"),
    [
        ("query", "  "),
        ("seconds", -1.0),
        ("seconds", math.nan),
        ("completion_tokens", -1),
        ("form_size", -2),
        ("log_likelihood", 0.5),
        ("log_likelihood", math.nan),
        ("token_log_probs", (-1.0, 0.5)),
        ("token_log_probs", (math.nan,)),
        ("token_entropies", (0.1, -0.5)),
        ("token_entropies", (math.inf,)),
        ("token_entropies", (math.nan,)),
        ("p_true", 1.5),
        ("p_true", -0.1),
        ("p_true", math.nan),
        ("samples", "Mud."),
        ("samples", (1,)),
    ],
)
def test_wrong_answer_record(measurement: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{measurement}="):
        Answer(**{"query": QUERY, "response": "x", measurement: value})  # type: ignore[arg-type]


def test_token_signals_are_of_the_same_tokens() -> None:
    with pytest.raises(ValueError, match="token_entropies has 1 tokens, token_log_probs 2"):
        Answer(QUERY, "x", token_log_probs=(-1.0, -2.0), token_entropies=(0.5,))


def test_combined_metrics_are_told_by_their_needs() -> None:
    class Combined(Safety):
        needs = ("safety",)

    assert isinstance(Combined(), CombinedMetric)
    assert not isinstance(Safety(), CombinedMetric)
