from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.curves import CurveLog
from routing_gym.agents.learning_history import HistoryPoint, StreamRecorder
from tests.agents.problems import by_hand

TRAIN = by_hand([[1.0, 0.5], [0.0, 0.25]])
VALIDATION = by_hand([[1.0, 0.0], [0.5, 0.25]])


def test_by_hand() -> None:
    curves = CurveLog(None)
    recorder = StreamRecorder(TRAIN, validation=VALIDATION, curves=curves)
    recorder.measure(np.array([[0.0, 1.0], [0.0, 1.0]]))
    half = np.full((2, 2), 0.5)
    recorder.add(np.array([0, 1]), np.array([1, 0]), half)
    recorder.add(np.array([1]), np.array([1]), half[:1])
    recorder.measure(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert recorder.points == [HistoryPoint(0, 0.125, 0, 0), HistoryPoint(3, 0.75, 0.75, 0.75)]
    rows = {(r["split"], r["quantity"], r["step"]): r["value"] for r in curves.rows}
    assert rows["train", "reward", 3] == pytest.approx(0.25)
    assert rows["train", "share/b", 3] == pytest.approx(2 / 3)
    assert rows["train", "entropy", 3] == pytest.approx(np.log(2))
    assert rows["validation", "reward", 3] == pytest.approx(0.75)
    assert ("train", "reward", 0) not in rows
