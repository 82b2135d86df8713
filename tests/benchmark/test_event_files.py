from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.event_files import run_scalars, write_event_files
from routing_gym.benchmark.runs import CurvePoint, RunRecord

REWARD = np.array([[0.2, 0.6], [0.8, 0.4], [0.5, 0.5], [0.3, 0.7]])
ACCURACY = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
STICK = Yardstick(("base", "code"), np.array(list("aabb")), REWARD, ACCURACY, 1, 0)
RECORD = RunRecord(
    "linucb",
    "r",
    3,
    "k",
    "finished",
    "bandit",
    options={"alpha": 0.5, "experts": ["a", "b"], "revisit": False},
    test_actions=(1, 0, 0, 1),
    outcomes=40,
    curve=(CurvePoint(0, 0.25, 0.0), CurvePoint(40, 0.5, 12.0)),
)
EXPECTED = {
    "test/reward": 0.65,
    "test/accuracy": 0.75,
    "test/gap_closed": 1.0,
    "test/regret": 0.0,
    "test/entropy": 1.0,
    "outcomes": 40.0,
}


def read(folder: Path) -> Any:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_by_hand() -> None:
    assert run_scalars(RECORD, STICK) == pytest.approx(EXPECTED)


def test_curves_and_results_are_there(tmp_path: Path) -> None:
    write_event_files([RECORD], STICK, folder=tmp_path / "events")
    events = read(tmp_path / "events" / "linucb-r-3")
    assert set(events.Tags()["scalars"]) == {*EXPECTED, "validation/reward", "train/regret"}
    reward = [(event.step, event.value) for event in events.Scalars("validation/reward")]
    assert reward == [(0, 0.25), (40, 0.5)]
    assert [event.value for event in events.Scalars("train/regret")] == [0.0, 12.0]
    for tag, value in EXPECTED.items():
        (event,) = events.Scalars(tag)
        assert (event.step, event.value) == (40, pytest.approx(value))


def test_settings_are_there(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    write_event_files([RECORD], STICK, folder=tmp_path)
    events = read(tmp_path / "linucb-r-3")
    content = {
        name: HParamsPluginData.FromString(text)
        for name, text in events.summary_metadata.items()
        for text in [text.plugin_data.content]
        if name.startswith("_hparams_/")
    }
    shown = content["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: value.string_value for name, value in shown.items() if value.string_value} == {
        "agent": "linucb",
        "trained_on": "r",
        "feedback": "bandit",
        "experts": "['a', 'b']",
    }
    assert shown["alpha"].number_value == 0.5
    assert shown["seed"].number_value == 3
    assert shown["revisit"].number_value == 0  # torch writes truth values as numbers
    metrics = content["_hparams_/experiment"].experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == set(EXPECTED)


def test_failed_runs_and_old_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    failed = RunRecord("knn", "r", 0, "k", "failed")
    (folder / "old-r-0").mkdir(parents=True)
    write_event_files([RECORD, failed], STICK, folder=folder)
    assert [path.name for path in folder.iterdir()] == ["linucb-r-3"]
    assert len(list((folder / "linucb-r-3").iterdir())) == 1
