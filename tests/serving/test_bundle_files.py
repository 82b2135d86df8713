from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import (
    POLICY_FILE,
    read_files,
    read_manifest,
    write_bundle,
)
from routing_gym.serving.bundle_manifest import MANIFEST_FILE
from routing_gym.serving.exploration import Exploration
from tests.serving.bundles import small_bundle, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    small_bundle(made)
    return made / "bundle"


OTHERS: dict[str, Callable[[Path], object]] = {
    "a repository": lambda f: (f / ".git").mkdir(),
    "a folder of notes": lambda f: (f / "notes").mkdir(),
    "another file": lambda f: (f / "notes.txt").write_text("mine"),
    "a folder named like a file": lambda f: ((f / POLICY_FILE).unlink(), (f / POLICY_FILE).mkdir()),
    "somebody's own manifest": lambda f: (f / MANIFEST_FILE).write_text('{"name": "my app"}'),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_bundle_beside_other_files_is_not_replaced(
    folder: Path, tmp_path: Path, other: str
) -> None:
    target, manifest = tmp_path / "target", read_manifest(folder)
    shutil.copytree(folder, target)
    OTHERS[other](target)
    before = sorted(entry.name for entry in target.iterdir())
    with pytest.raises(ValueError, match=r"other files than .* give the bundle a folder of"):
        write_bundle(target, manifest, read_files(folder, manifest))
    assert sorted(entry.name for entry in target.iterdir()) == before


def test_a_bundle_alone_and_an_empty_folder_are_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(folder, tmp_path / "old")
    (tmp_path / "old" / POLICY_FILE).write_bytes(b"short")
    manifest = read_manifest(folder)
    for name in ("empty", "old"):
        write_bundle(tmp_path / name, manifest, read_files(folder, manifest))
        assert PolicyBundle.load(tmp_path / name).version == manifest.version


def test_a_file_of_another_size_is_refused_unread(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, read = tmp_path / "target", Path.read_bytes
    shutil.copytree(folder, target)
    os.truncate(target / POLICY_FILE, 50 << 30)  # sparse

    def guarded(self: Path) -> bytes:
        assert self.name != POLICY_FILE, "it was read"
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    with pytest.raises(ValueError, match=r"policy.onnx has 53687091200 bytes, not the \d+ of"):
        read_files(target, read_manifest(target))


def test_the_policys_own_choice_knows_no_exploration_no_fallback_and_no_mask(folder: Path) -> None:
    bundle, asked = PolicyBundle.load(folder), texts(40)
    wanted = bundle.decide(asked).actions
    mask = np.array([True, False, True, True])
    drawn = bundle.decide(
        asked, rng=np.random.default_rng(0), mask=mask, exploration=Exploration("epsilon", 0.9)
    )
    assert (drawn.actions != wanted).any()
    np.testing.assert_array_equal(drawn.greedy, wanted)


def test_the_policys_own_choice_outlives_a_fallback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, asked = PolicyBundle.load(folder), texts(8)
    wanted = bundle.decide(asked).actions
    monkeypatch.setattr(
        "routing_gym.serving.bundle.confidences", lambda margin, rule: np.full(len(margin), -1.0)
    )
    routed = bundle.decide(asked)
    assert routed.fallbacks.all()
    assert (routed.actions != wanted).any()
    np.testing.assert_array_equal(routed.greedy, wanted)
