from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("huggingface_hub")

from routing_gym.adapters.folder import file_names
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import POLICY_FILE, read_files, read_manifest, write_bundle
from routing_gym.serving.bundle_manifest import MANIFEST_FILE
from routing_gym.serving.hub import pull_bundle, push_bundle
from tests.hub_stand_in import HubStandIn
from tests.serving.bundles import small_bundle, texts


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with HubStandIn() as server:
        server.use(monkeypatch)
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    small_bundle(made)
    return made / "bundle"


def test_pushes_to_and_pulls_from_folders(folder: Path, tmp_path: Path) -> None:
    pushed = push_bundle(folder, tmp_path / "shelf" / "router")
    pulled = pull_bundle(tmp_path / "shelf" / "router", tmp_path / "here")
    bundle = PolicyBundle.load(tmp_path / "here")
    assert pushed == pulled == bundle.manifest
    assert bundle.decide(texts(4)).names == tuple(f"adapter_{i}" for i in range(4))
    assert pull_bundle(folder, tmp_path / "here").version == bundle.version  # replaced


def test_pulls_no_more_than_the_bundle(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "repository")
    (tmp_path / "repository" / ".gitattributes").write_text("*.onnx filter=lfs")
    pull_bundle(tmp_path / "repository", tmp_path / "here")
    assert not (tmp_path / "here" / ".gitattributes").exists()
    PolicyBundle.load(tmp_path / "here")


def test_neither_pushes_nor_pulls_what_is_broken(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / POLICY_FILE).write_bytes(b"short")
    for move in (push_bundle, pull_bundle):
        with pytest.raises(ValueError, match=r"policy\.onnx has 5 bytes"):
            move(tmp_path / "broken", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing"):
        pull_bundle(tmp_path / "nowhere", tmp_path / "target")


def test_replaces_nothing_but_bundles(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="give the bundle a folder of its own"):
        pull_bundle(folder, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def older_version(folder: Path, target: Path) -> None:
    """Write a bundle with a file more."""
    manifest = read_manifest(folder)
    write_bundle(target, manifest, read_files(folder, manifest) | {"encoder.old.onnx": b"old"})


def test_what_is_no_bundles_manifest_stays_on_the_hub(hub: HubStandIn, folder: Path) -> None:
    push_bundle(folder, "hf://me/app")
    files = hub.repositories["models/me/app"].files
    files.clear()
    files[MANIFEST_FILE] = b'{"name": "my app"}'
    with pytest.raises(ValueError, match=r"hf://me/app holds a manifest\.json of something else"):
        push_bundle(folder, "hf://me/app")
    assert hub.repositories["models/me/app"].files == {MANIFEST_FILE: b'{"name": "my app"}'}


def test_what_was_verified_is_what_is_pushed(
    hub: HubStandIn, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes after it was verified does not reach the hub."""
    shutil.copytree(folder, tmp_path / "mine")
    hub.before_commit = lambda: (tmp_path / "mine" / POLICY_FILE).write_bytes(b"changed") and None
    push_bundle(tmp_path / "mine", "hf://me/router")
    original = (folder / POLICY_FILE).read_bytes()
    assert hub.repositories["models/me/router"].files[POLICY_FILE] == original


@pytest.mark.parametrize("path", ["", "small/ppo/"])
def test_speaks_to_the_hub(hub: HubStandIn, folder: Path, tmp_path: Path, path: str) -> None:
    address = f"hf://me/router/{path}".rstrip("/")
    older_version(folder, tmp_path / "older")
    push_bundle(tmp_path / "older", address)
    repository = hub.repositories["models/me/router"]
    assert repository.private
    assert f"{path}encoder.old.onnx" in repository.files  # unknown to the new manifest
    left_alone = {"README.md", "encoder.mine.onnx", "knn/policy.onnx", "knn/manifest.json"}
    repository.files.update({f"{path}{name}": b"mine" for name in left_alone})
    pushed = push_bundle(folder, address)
    held = set(repository.files) - {".gitattributes"}
    expected = {MANIFEST_FILE, *pushed.files} | left_alone
    assert held == {f"{path}{name}" for name in expected}
    assert all(repository.files[f"{path}{name}"] == b"mine" for name in left_alone)
    assert pull_bundle(address, tmp_path / "here") == pushed
    assert PolicyBundle.load(tmp_path / "here").manifest == pushed
    for name in file_names(folder):
        assert (tmp_path / "here" / name).read_bytes() == (folder / name).read_bytes()


def test_the_model_card_is_the_repositorys_page(hub: HubStandIn, folder: Path) -> None:
    push_bundle(folder, "hf://me/router")
    files = hub.repositories["models/me/router"].files
    assert files["README.md"].startswith(files["MODEL_CARD.md"])
    files["README.md"] = files["README.md"].replace(b"#", b"# Old")
    push_bundle(folder, "hf://me/router")
    assert b"# Old" not in hub.repositories["models/me/router"].files["README.md"]
