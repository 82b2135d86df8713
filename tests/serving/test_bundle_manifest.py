from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from routing_gym.serving.bundle_manifest import (
    BundleManifest,
    EncoderPart,
    EncoderRecord,
    FallbackRule,
    FileRecord,
    PolicyRecord,
    TrainingStatistics,
)
from routing_gym.serving.exploration import Exploration


def manifest(**changes: Any) -> BundleManifest:
    made = BundleManifest(
        name="router",
        agent="knn",
        feedback="full",
        adapters=("base", "code"),
        adapter_hashes={"base": "", "code": "ab"},
        pool_fingerprint="pool",
        base_model="model",
        table="table",
        encoder=EncoderRecord(
            "a+b", 3, 16, "float32", (EncoderPart("surface", "a", 1), EncoderPart("x", "b", 2))
        ),
        policy=PolicyRecord("values", 2),
        temperature=0.5,
        exploration=Exploration("epsilon", epsilon=0.1),
        fallback=FallbackRule("code", 0.3, 1.5, -0.5),
        training=TrainingStatistics((0.25, 0.75), (0.0, 0.5, 1.0), 0.7, 10),
        reward={"quality": 1.0},
        test={"reward": {"value": 0.5, "low": 0.4, "high": 0.6}, "queries": 7},
        agreement={"policy_probability_max": 1e-7},
        created="2025-01-01T00:00:00+00:00",
        versions={"numpy": "2"},
        files={"policy.onnx": FileRecord("0" * 64, 5)},
    )
    return replace(made, **changes)


def test_reads_what_it_wrote() -> None:
    made = manifest()
    assert BundleManifest.from_json(made.to_json()) == made


def test_the_version_is_of_everything_but_the_time() -> None:
    made = manifest()
    assert len(made.version) == 12
    assert manifest(created="later").version == made.version
    for change in (
        {"name": "other"},
        {"exploration": Exploration()},
        {"files": {"policy.onnx": FileRecord("1" * 64, 5)}},
        {"fallback": FallbackRule("code", 0.31, 1.5, -0.5)},
    ):
        assert manifest(**change).version != made.version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 0}, "format 0 is not 1"),
        ({"adapters": ("base",)}, "at least two different names"),
        ({"adapters": ("base", "base")}, "at least two different names"),
        ({"adapter_hashes": {"base": ""}}, "does not name the same adapters"),
        ({"policy": PolicyRecord("values", 3)}, "do not fit 2 adapters"),
        ({"fallback": FallbackRule("maths")}, "is none of the adapters"),
        ({"training": TrainingStatistics((0.5, 0.5), (0.0,), 1.0, 1)}, "encoder's width"),
        ({"files": {"manifest.json": FileRecord("0" * 64, 1)}}, "no name of a file beside"),
        ({"files": {".hidden": FileRecord("0" * 64, 1)}}, "no name of a file beside"),
        ({"files": {"a/b": FileRecord("0" * 64, 1)}}, "no name of a file beside"),
    ],
)
def test_refuses_contradictions(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        manifest(**changes)


def test_refuses_bad_parts() -> None:
    with pytest.raises(ValueError, match="do not sum to width=4"):
        EncoderRecord("a", 4, 0, "float32", (EncoderPart("surface", "a", 3),))
    with pytest.raises(ValueError, match="do not sum"):
        EncoderRecord("a", 4, 0, "float32", ())
    with pytest.raises(ValueError, match="is negative"):
        FileRecord("0" * 64, -1)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("temperature", "hot", "manifest.temperature='hot' is not float"),
        ("temperature", True, "manifest.temperature=True is not float"),
        ("adapters", "base", "manifest.adapters='base' is not"),
        ("adapters", ["base", 3], r"manifest.adapters\[1\]=3 is not str"),
        ("encoder", None, "manifest.encoder is NoneType, not an object"),
        ("encoder.precision", "int4", "manifest.encoder.precision='int4' is not"),
        ("encoder.parts", [{}], r"manifest.encoder.parts\[0\].kind is missing"),
        ("policy.width", 2.0, "manifest.policy.width=2.0 is not int"),
        ("policy.output", "logits", "manifest.policy.output='logits' is not"),
        ("exploration.kind", "boltzmann", "manifest.exploration.kind='boltzmann'"),
        ("exploration.epsilon", 2, "epsilon=2.0 is outside"),
        ("files", {"policy.onnx": 3}, "manifest.files.policy.onnx is int, not an object"),
        ("reward", {"quality": None}, "manifest.reward.quality=None is not float"),
        ("extra", 1, "manifest.extra is unknown to this version"),
    ],
)
def test_names_the_entry_at_fault(path: str, value: Any, message: str) -> None:
    content = json.loads(manifest().to_json())
    place = content
    *parents, last = path.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    with pytest.raises(ValueError, match=message):
        BundleManifest.from_json(json.dumps(content))


@pytest.mark.parametrize("key", ["name", "adapters", "fallback", "files", "training"])
def test_names_the_missing_entry(key: str) -> None:
    content = json.loads(manifest().to_json())
    del content[key]
    with pytest.raises(ValueError, match=f"manifest.{key} is missing"):
        BundleManifest.from_json(json.dumps(content))


def test_a_change_breaks_the_seal() -> None:
    content = json.loads(manifest().to_json())
    content["fallback"]["threshold"] = 0.31
    with pytest.raises(ValueError, match="it was changed by hand or by accident"):
        BundleManifest.from_json(json.dumps(content))
    del content["version"]
    with pytest.raises(ValueError, match="says that it is version None"):
        BundleManifest.from_json(json.dumps(content))
