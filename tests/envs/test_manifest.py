"""The manifest round-trips, and refuses what does not describe a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from tests.synthetic import identity_manifest

ARMS = (AdapterRecord("a"), AdapterRecord("b"))
METRICS = {"accuracy": MetricRecord(role="truth")}


def test_round_trip() -> None:
    manifest = identity_manifest(3, seed=7)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.adapter_names == ("adapter_0", "adapter_1", "adapter_2")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"direction": "up"}, "direction='up'"),
        ({"role": "guess"}, "role='guess'"),
        ({"low": 1.0, "high": 10.0}, r"scale the metric to \[0, 1\]"),
        ({"low": float("nan")}, "low=nan"),
        ({"low": 0.5, "high": 0.5}, "low < high"),
    ],
)
def test_metric_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetricRecord(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adapters": ARMS[:1]}, "at least two"),
        ({"adapters": (ARMS[0], ARMS[0])}, "different"),
        ({"adapters": (ARMS[0], AdapterRecord(""))}, "non-empty"),
        ({"metrics": {"relevance": MetricRecord()}}, "lack 'accuracy'"),
        ({"schema_version": 99}, "schema_version=99"),
    ],
)
def test_manifest_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest(**({"adapters": ARMS, "metrics": METRICS} | fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapters": None}, "invalid entry"),
        ({"adapters": [{"title": "a"}]}, "invalid entry"),
        ({"metrics": {"accuracy": {"low": "zero"}}}, "invalid entry"),
        ({"metrics": []}, "invalid entry"),
        ({"colour": "red"}, "unknown field 'colour'; known are"),
    ],
)
def test_json_refuses(change: dict[str, object], message: str) -> None:
    content = json.loads(Manifest(adapters=ARMS, metrics=METRICS).to_json()) | change
    with pytest.raises(TableError, match=message):
        Manifest.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"adapters": [', "is not JSON"), ("[]", "not a JSON object"), ("{}", "lacks the field")],
)
def test_broken_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(TableError, match=rf"manifest\.json: .*{message}"):
        Manifest.from_json(text)
