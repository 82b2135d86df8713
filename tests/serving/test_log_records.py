from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from routing_gym.serving.log_records import Completed, Feedback
from tests.serving.decision_rows import START, record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": datetime(2025, 1, 31)}, "decision 'd0': time=.* must be a time with an offset"),
        ({"eligible": (True, True)}, "must be of K = 3 entries like adapters"),
        ({"propensities": (0.5, 0.5)}, "must be of K = 3 entries like adapters"),
        ({"action": 3}, "action=3 must be a position 0 to 2"),
        ({"propensities": (0.3, 0.5, 0.3)}, "must be at least 0 and sum to 1"),
        ({"propensities": (0.6, 0.5, -0.1)}, "must be at least 0 and sum to 1"),
        ({"propensities": (float("nan"), 0.5, 0.5)}, "must be at least 0 and sum to 1"),
        ({"propensity": 0.4}, r"propensity=0.4 must be propensities\[action\] = 0.5"),
        ({"propensity": float("nan")}, "propensity=nan must be"),
        ({"action": 0, "propensity": 0.0, "propensities": (0.0, 0.5, 0.5)}, "propensity=0.0 must"),
        ({"eligible": (True, False, True)}, "action=1 must be an eligible adapter"),
        ({"embedding": b"123"}, "embedding=3 must be bytes of float32"),
        ({"embedding": b""}, "embedding=0 must be bytes of float32"),
    ],
)
def test_what_could_not_be_evaluated_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(**changes)


@pytest.mark.parametrize(
    ("reward", "source", "message"),
    [
        (float("nan"), "user", "reward=nan must be a finite number"),
        (float("inf"), "user", "reward=inf must be"),
        ("1", "user", "reward='1' must be"),
        (True, "user", "reward=True must be"),
        (0.5, "oracle", "source='oracle' must be one of user, self_evaluation"),
    ],
)
def test_wrong_feedback(reward: Any, source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Feedback("d0", reward, source, START)


def test_numbers_of_numpy_are_numbers() -> None:
    assert Feedback("d0", np.float32(0.5), "user", START).row()["reward"] == 0.5  # type: ignore[arg-type]


def test_what_no_column_holds_becomes_null() -> None:
    row = Completed("d0", float("nan"), 1.5, 10**30, -1, "o\udc80k\0").row()
    assert row["generation_seconds"] is None
    assert row["prompt_tokens"] is None
    assert row["completion_tokens"] is None
    assert row["status"] == "o?k"
    assert record(query="a\udc80\0b").row()["query"] == "a?b"
