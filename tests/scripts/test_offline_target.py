from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.scripts.evaluate_offline import main
from routing_gym.scripts.offline_target import offline_target
from routing_gym.serving.bundle import PolicyBundle, RoutedDecision
from tests.serving.bundles import small_bundle, small_source, texts
from tests.serving.decision_rows import record, written

N, K = 600, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and a log of a server that drew uniformly among the same adapters."""
    root = tmp_path_factory.mktemp("bundle")
    bundle = small_bundle(root)
    embeddings = bundle.encode(texts(N)).astype("<f4")
    drawn = np.random.default_rng(0).integers(K, size=N)
    changes = {
        "adapters": bundle.adapters,
        "pool_fingerprint": bundle.manifest.pool_fingerprint,
        "encoder": bundle.manifest.encoder.name,
        "eligible": (True,) * K,
        "propensity": 1 / K,
        "propensities": (1 / K,) * K,
    }
    rows = [
        record(f"d{i}", action=int(drawn[i]), embedding=embeddings[i].tobytes(), **changes)
        for i in range(N)
    ]
    rewards = [(f"d{i}", float(drawn[i] == i % K), "user") for i in range(N)]
    written(str(root / "log.db"), rows, rewards)
    return root


@pytest.fixture(scope="module")
def log(folder: Path) -> DecisionLog:
    """That log."""
    return read_log(folder / "log.db")


def test_a_served_log_says_that_a_bundle_is_better(folder: Path, tmp_path: Path) -> None:
    policies = f"[uniform, adapter_0, {folder / 'bundle'}]"
    paths = ["--log", str(folder / "log.db"), "--output", str(tmp_path / "out")]
    assert main([*paths, "--policies", policies, "--resamples", "200"]) == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["favourite"] == "ridge (greedy)"
    assert content["policies"][0]["minus_logged"]["low"] > 0.5
    more = ["--run", str(folder / "bundle"), "--decisions", "sampled", "--resamples", "200"]
    assert main([*paths, *more]) == 0


def test_a_bundle_decides_as_it_does_when_served(folder: Path, log: DecisionLog) -> None:
    bundle = PolicyBundle.load(folder / "bundle")
    name, greedy = offline_target(str(folder / "bundle"), log, decisions="greedy")
    assert name == "ridge (greedy)"
    served = bundle.decide(texts(N))
    assert (greedy.argmax(axis=1) == served.actions).all()
    assert set(np.unique(greedy)) == {0.0, 1.0}


def test_ineligible_adapters_are_not_chosen(folder: Path, log: DecisionLog) -> None:
    eligible = np.ones((N, K), dtype=np.bool_)
    eligible[:, 1] = log.actions == 1
    held = dataclasses.replace(log, eligible=eligible)
    _, probabilities = offline_target(str(folder / "bundle"), held, decisions="sampled")
    assert (probabilities[~eligible] == 0).all()


def test_a_fallback_is_certain(
    folder: Path, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the deployed bundle, the best single adapter answers wherever it falls back."""

    def hesitant(self: PolicyBundle, embeddings: np.ndarray, **_: object) -> RoutedDecision:
        rows = np.arange(len(embeddings))
        return RoutedDecision(
            actions=np.full(len(rows), 2),
            probabilities=np.tile([0.1, 0.2, 0.3, 0.4], (len(rows), 1)),
            confidences=np.full(len(rows), 0.5),
            fallbacks=rows % 2 == 0,
            greedy=np.full(len(rows), 3),
            adapters=self.adapters,
        )

    monkeypatch.setattr(PolicyBundle, "decide_embedded", hesitant)
    _, probabilities = offline_target(str(folder / "bundle"), log, decisions="sampled")
    assert probabilities[0].tolist() == [0, 0, 1, 0]
    assert probabilities[1].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_a_bundle_of_another_pool_is_refused(folder: Path, log: DecisionLog) -> None:
    other = dataclasses.replace(log, pool_fingerprint="another")
    with pytest.raises(ValueError, match=r"bundle 'ridge' of '.*bundle' is for pool .*'another'"):
        offline_target(str(folder / "bundle"), other, decisions="greedy")
    bare = dataclasses.replace(log, observations=None)
    with pytest.raises(ValueError, match="bundle 'ridge' decides on embeddings and the log holds"):
        offline_target(str(folder / "bundle"), bare, decisions="greedy")


@pytest.mark.parametrize("kind", ["bundle", "agent"])
def test_another_encoder_of_the_same_width_is_refused(
    folder: Path, log: DecisionLog, tmp_path: Path, kind: str
) -> None:
    target = folder / "bundle"
    if kind == "agent":
        target = tmp_path / "policy"
        small_source(tmp_path).agent.save(target)
    assert offline_target(str(target), log, decisions="greedy")[1].shape == (N, K)
    other = dataclasses.replace(log, encoders=np.full(N, "other/encoder"))
    message = (
        f"{kind} 'ridge' of '.*' decides on embeddings of encoder '{log.encoder}', the log holds "
        "those of 'other/encoder'"
    )
    with pytest.raises(ValueError, match=message):
        offline_target(str(target), other, decisions="greedy")
    unknown = dataclasses.replace(log, encoders=None)
    assert offline_target(str(target), unknown, decisions="greedy")[1].shape == (N, K)


def test_a_folder_that_is_not_there_is_named(log: DecisionLog) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match="runs/nothing"):
        offline_target("runs/nothing", log, decisions="greedy")
