"""What the committed report says, against what a release must hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing_gym.serving.trial_faults import FAULTS

REPORT = Path(__file__).resolve().parents[2] / "results" / "serving" / "summary.json"
pytestmark = pytest.mark.skipif(not REPORT.is_file(), reason="run `make serving` first")


def figure(name: str) -> float:
    value = json.loads(REPORT.read_text("utf-8"))[name]
    return float(value["value"] if isinstance(value, dict) else value)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("decision_over_encoder", 1.3),
        ("overhead_ms_p50", 2.0),
        ("openai_peak_mb", 400.0),
        ("openai_loads_torch", 0.0),
        ("local_server_over_base", 1.5),
        ("overload_crashes", 0.0),
        ("overload_other_failures", 0.0),
        ("overload_p99_ratio", 3.0),
        ("overload_memory_growth", 1.1),
        ("schemathesis_failures", 0.0),
        ("faults_lost", 0.0),
        ("faults_doubled", 0.0),
        ("faults_not_recovered", 0.0),
        ("faults_failed", 0.0),
        ("faults_skipped", 0.0),
    ],
)
def test_not_above(name: str, most: float) -> None:
    assert figure(name) <= most


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("overload_beyond_capacity_per_second", 200.0),
        ("exploration_decisions", 10_000.0),
        ("propensity_p_value", 0.01),
        ("snips_covers_table_value", 1.0),
        ("schemathesis_cases", 2000.0),
        ("faults_tried", float(len(FAULTS))),
    ],
)
def test_not_below(name: str, least: float) -> None:
    assert figure(name) >= least
