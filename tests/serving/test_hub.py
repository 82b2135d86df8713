from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from routing_gym.serving import hub
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import POLICY_FILE, read_files, read_manifest, write_bundle
from routing_gym.serving.bundle_manifest import MANIFEST_FILE
from routing_gym.serving.hub import HubFolder, pull_bundle, push_bundle
from tests.serving.bundles import small_bundle, texts


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


class LocalHub(SimpleNamespace):
    """The calls of huggingface_hub that are used, on a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root=root, created=[])

    CommitOperationAdd = namedtuple("CommitOperationAdd", ["path_in_repo", "path_or_fileobj"])
    CommitOperationDelete = namedtuple("CommitOperationDelete", ["path_in_repo"])

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.created.append((repository, private))
        (self.root / repository).mkdir(parents=True, exist_ok=True)

    def list_repo_files(self, repository: str, *, revision: str | None) -> list[str]:
        root = self.root / repository
        return [str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()]

    def hf_hub_download(
        self, repository: str, filename: str, *, revision: str | None, local_dir: str
    ) -> str:
        return shutil.copy(self.root / repository / filename, local_dir)

    def create_commit(
        self, repository: str, operations: list[Any], *, revision: str | None, commit_message: str
    ) -> None:
        for operation in operations:
            file = self.root / repository / operation.path_in_repo
            if isinstance(operation, self.CommitOperationDelete):
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(operation.path_or_fileobj)

    def snapshot_download(
        self, repository: str, *, revision: str | None, allow_patterns: Any, local_dir: str
    ) -> str:
        shutil.copytree(self.root / repository, local_dir, dirs_exist_ok=True)
        return local_dir


def older_version(folder: Path, target: Path) -> None:
    """Write a bundle with a file more."""
    manifest = read_manifest(folder)
    write_bundle(target, manifest, read_files(folder, manifest) | {"encoder.old.onnx": b"old"})


def test_what_is_no_bundles_manifest_stays_on_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_hub", lambda: LocalHub(tmp_path))
    (tmp_path / "me" / "app").mkdir(parents=True)
    (tmp_path / "me" / "app" / MANIFEST_FILE).write_text('{"name": "my app"}')
    with pytest.raises(ValueError, match=r"hf://me/app holds a manifest\.json of something else"):
        push_bundle(folder, "hf://me/app")
    assert (tmp_path / "me" / "app" / MANIFEST_FILE).read_text() == '{"name": "my app"}'
    assert len(list((tmp_path / "me" / "app").iterdir())) == 1


def test_what_was_verified_is_what_is_pushed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes after it was verified does not reach the hub."""
    shutil.copytree(folder, tmp_path / "mine")
    local = LocalHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_hub", lambda: local)
    create = local.create_repo

    def changing(*args: Any, **options: Any) -> None:
        create(*args, **options)
        (tmp_path / "mine" / POLICY_FILE).write_bytes(b"changed")

    local.create_repo = changing
    push_bundle(tmp_path / "mine", "hf://me/router")
    original = (folder / POLICY_FILE).read_bytes()
    assert (tmp_path / "hub" / "me" / "router" / POLICY_FILE).read_bytes() == original


@pytest.mark.parametrize("address", ["hf://me/router", "hf://me/routers/small/ppo"])
def test_speaks_to_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    local = LocalHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_hub", lambda: local)
    place = tmp_path / "hub" / address.removeprefix("hf://")
    place.mkdir(parents=True)
    left_alone = {"README.md", "encoder.mine.onnx", "knn/policy.onnx", "knn/manifest.json"}
    for name in left_alone:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("mine")
    older_version(folder, tmp_path / "older")
    push_bundle(tmp_path / "older", address)
    assert (place / "encoder.old.onnx").is_file()  # it would be unknown to the new manifest
    local.created.clear()
    pushed = push_bundle(folder, address)
    assert local.created == [("/".join(address.removeprefix("hf://").split("/")[:2]), True)]
    held = {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}
    assert held == {MANIFEST_FILE, *pushed.files} | left_alone
    assert all((place / name).read_text() == "mine" for name in left_alone)
    assert pull_bundle(address, tmp_path / "here") == pushed
    PolicyBundle.load(tmp_path / "here")


def test_the_library_of_the_hub_has_these_calls() -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    import inspect

    calls = ("create_repo", "list_repo_files", "hf_hub_download", "create_commit")
    for name in (*calls, "snapshot_download"):
        known = set(inspect.signature(getattr(huggingface_hub, name)).parameters)
        own = inspect.signature(getattr(LocalHub, name)).parameters
        asked = {key for key in own if key not in ("self", "repository")}
        assert asked <= known, name
    for name in ("CommitOperationAdd", "CommitOperationDelete"):
        known = set(inspect.signature(getattr(huggingface_hub, name)).parameters)
        assert set(getattr(LocalHub, name)._fields) <= known, name


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://me/router", HubFolder("me/router")),
        ("hf://me/router@v1", HubFolder("me/router", revision="v1")),
        ("hf://me/router@v1/a/b/", HubFolder("me/router", "a/b", "v1")),
    ],
)
def test_reads_addresses(address: str, expected: HubFolder) -> None:
    assert HubFolder.parse(address) == expected


@pytest.mark.parametrize("address", ["hf://", "hf://me", "hf:///router", "me/router", "hf://me/"])
def test_refuses_addresses_without_a_repository(address: str) -> None:
    with pytest.raises(ValueError, match="is no repository folder"):
        HubFolder.parse(address)
