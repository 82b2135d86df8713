"""Pools on the hub: PEFT's layout, verified, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

pytest.importorskip("huggingface_hub")

from routing_gym.adapters.file_manifest import MANIFEST_FILE
from routing_gym.adapters.folder import file_names
from routing_gym.adapters.hub_layout import CARD_MARK
from routing_gym.adapters.pool_hub import POOL_FILE, pull_pool, push_pool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec
from tests.hub_stand_in import HubStandIn

BASE = "tiny/base"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with HubStandIn() as server:
        server.use(monkeypatch)
        yield server


def make_pool(folder: Path, *names: str, seed: int = 0) -> PoolSpec:
    """Write adapters of a few numbers; nobody loads them."""
    rng = np.random.default_rng(seed)
    adapters = [AdapterSpec("base")]
    for name in names:
        (folder / name).mkdir(parents=True)
        weights = {"lora_A": rng.normal(size=(2, 3)).astype(np.float32)}
        save_file(weights, folder / name / WEIGHTS_FILE)
        config = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "peft_type": "LORA"}
        (folder / name / CONFIG_FILE).write_text(json.dumps(config))
        (folder / name / "training.json").write_text("{}")
        (folder / name / "optimizer.pt").write_bytes(b"stays behind")
        adapters.append(AdapterSpec(name, folder / name))
    return PoolSpec(BASE, tuple(adapters))


def front_matter(text: str) -> dict[str, object]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def contents(folder: Path, *, cards: bool = True) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes()
        for name in file_names(folder)
        if cards or not name.endswith("README.md")
    }


@pytest.mark.parametrize("place", ["hf://me/pool", "hf://me/pools/small", "folder"])
def test_what_is_pulled_is_what_was_pushed(hub: HubStandIn, tmp_path: Path, place: str) -> None:
    spec = make_pool(tmp_path / "mine", "reasoning", "code")
    address = str(tmp_path / "shelf" / "pool") if place == "folder" else place
    push_pool(spec, address)
    pulled = pull_pool(address, tmp_path / "here")
    assert pulled.fingerprint == spec.fingerprint
    assert (pulled.names, pulled.base_model) == (spec.names, BASE)
    for name in ("reasoning", "code"):
        for file in (CONFIG_FILE, WEIGHTS_FILE, "training.json"):
            original = (tmp_path / "mine" / name / file).read_bytes()
            assert (tmp_path / "here" / name / file).read_bytes() == original
    assert load_pool(str(tmp_path / "here" / POOL_FILE)).fingerprint == spec.fingerprint
    assert not list(tmp_path.rglob("optimizer.pt"))[2:]
    push_pool(pulled, tmp_path / "again")
    assert contents(tmp_path / "again", cards=False) == contents(tmp_path / "here")


def test_a_repository_has_pefts_layout_and_is_private(hub: HubStandIn, tmp_path: Path) -> None:
    spec = make_pool(tmp_path / "mine", "reasoning", "code")
    push_pool(spec, "hf://me/pool", licence="apache-2.0")
    repository = hub.repositories["models/me/pool"]
    assert repository.private
    assert repository.messages[-1].startswith(f"Pool {spec.fingerprint[:12]}")
    expected = {".gitattributes", "README.md", POOL_FILE, MANIFEST_FILE}
    for name in ("reasoning", "code"):
        expected |= {f"{name}/{file}" for file in (CONFIG_FILE, WEIGHTS_FILE, "training.json")}
        expected.add(f"{name}/README.md")
        matter = front_matter(repository.files[f"{name}/README.md"].decode())
        assert matter["base_model"] == BASE
        assert (matter["library_name"], matter["license"]) == ("peft", "apache-2.0")
        assert "lora" in matter["tags"]  # type: ignore[operator]
    assert set(repository.files) == expected
    push_pool(spec, "hf://me/open", private=False)
    assert not hub.repositories["models/me/open"].private


def test_a_new_version_removes_what_the_old_one_left(hub: HubStandIn, tmp_path: Path) -> None:
    for number, names in enumerate((("reasoning", "code"), ("reasoning", "creative"))):
        spec = make_pool(tmp_path / str(number), *names, seed=number)
        push_pool(spec, "hf://me/pool")
        push_pool(spec, tmp_path / "shelf")
        files = hub.repositories["models/me/pool"].commits
        if number == 0:
            files[-1]["notes.txt"] = b"mine"
            files[-1]["README.md"] = b"---\nlicense: mit\n---\nmy own page"
            (tmp_path / "shelf" / "README.md").write_text("my own page")
    files = hub.repositories["models/me/pool"].files
    assert not [name for name in files if name.startswith("code/")]
    assert files["notes.txt"] == b"mine"
    assert files["README.md"].endswith(b"my own page")
    assert (tmp_path / "shelf" / "README.md").read_text() == "my own page"
    assert not (tmp_path / "shelf" / "code").exists()
    assert pull_pool("hf://me/pool", tmp_path / "here").names == ("base", "reasoning", "creative")


def test_an_older_version_can_be_pulled(hub: HubStandIn, tmp_path: Path) -> None:
    first = make_pool(tmp_path / "a", "one", seed=1)
    push_pool(first, "hf://me/pool")
    hub.repositories["models/me/pool"].tags["v1"] = 1
    push_pool(make_pool(tmp_path / "b", "one", seed=2), "hf://me/pool")
    assert pull_pool("hf://me/pool@v1", tmp_path / "old").fingerprint == first.fingerprint
    assert pull_pool("hf://me/pool", tmp_path / "new").fingerprint != first.fingerprint


def flipped(path: str, content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1]) if path.endswith(WEIGHTS_FILE) else content


def half(path: str, content: bytes) -> bytes | None:
    return None if path.endswith(WEIGHTS_FILE) else content


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (flipped, ValueError, r"hf://me/pool holds no intact pool: .*is truncated or edited"),
        (half, OSError, r"hf://me/pool: the hub cannot be used"),
    ],
)
def test_an_unfinished_or_wrong_download_leaves_the_old_pool(
    hub: HubStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[str, bytes], bytes | None],
    error: type[Exception],
    message: str,
) -> None:
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    old = make_pool(tmp_path / "a", "one", seed=1)
    push_pool(old, tmp_path / "here")
    before = contents(tmp_path / "here")
    push_pool(make_pool(tmp_path / "b", "one", seed=2), "hf://me/pool")
    hub.spoil = spoil
    for folder in (tmp_path / "here", tmp_path / "nowhere"):
        with pytest.raises(error, match=message):
            pull_pool("hf://me/pool", folder)
    assert contents(tmp_path / "here") == before
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"a", "b", "here"}


def test_only_the_pools_files_are_fetched(hub: HubStandIn, tmp_path: Path) -> None:
    push_pool(make_pool(tmp_path / "a", "one"), "hf://me/pool/small")
    hub.repositories["models/me/pool"].files["small/large.bin"] = b"0" * 1000
    pull_pool("hf://me/pool/small", tmp_path / "here")
    assert "small/large.bin" not in hub.downloads
    assert not (tmp_path / "here" / "large.bin").exists()


def test_two_pushes_at_once_are_not_mixed(hub: HubStandIn, tmp_path: Path) -> None:
    push_pool(make_pool(tmp_path / "a", "one", seed=1), "hf://me/pool")
    repository = hub.repositories["models/me/pool"]
    hub.before_commit = lambda: repository.commits.append(dict(repository.files))
    with pytest.raises(OSError, match="the hub cannot be used"):
        push_pool(make_pool(tmp_path / "b", "one", seed=2), "hf://me/pool")


def with_path(folder: Path, place: str) -> None:
    content = yaml.safe_load((folder / POOL_FILE).read_text())
    content["adapters"]["one"] = place
    (folder / POOL_FILE).write_text(yaml.safe_dump(content))
    renew(folder)


def renew(folder: Path, **changes: object) -> None:
    """Write the manifest again, as somebody would who wants to deceive."""
    from routing_gym.adapters.file_manifest import FileManifest

    old = FileManifest.read(folder, "pool")
    for name in ("README.md", "one/README.md"):
        (folder / name).unlink(missing_ok=True)
    FileManifest.of(folder, "pool", **{**old.facts, **changes}).write(folder)


def rewrite(folder: Path, **changes: object) -> None:
    content = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(content | changes))


def with_server(folder: Path) -> None:
    """Let the pool be answered elsewhere, and send a variable of whoever pulls it there."""
    content = yaml.safe_load((folder / POOL_FILE).read_text())
    content["server"] = {"url": "http://elsewhere.example", "key_variable": "HOME"}
    (folder / POOL_FILE).write_text(yaml.safe_dump(content))
    renew(folder)


def with_base(folder: Path, base: str) -> None:
    content = yaml.safe_load((folder / POOL_FILE).read_text()) | {"base_model": base}
    (folder / POOL_FILE).write_text(yaml.safe_dump(content))
    renew(folder, fingerprint=PoolSpec.from_yaml(folder / POOL_FILE).fingerprint)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / MANIFEST_FILE).unlink(), "manifest.json is missing"),
    "no weights": (lambda f: (f / "one" / WEIGHTS_FILE).unlink(), "safetensors is missing"),
    "other weights": (
        lambda f: (f / "one" / WEIGHTS_FILE).write_bytes(b"0"),
        r"truncated or edited: .* pull or push it again",
    ),
    "another kind": (lambda f: rewrite(f, kind="space"), "describes a space, not a pool"),
    "no JSON": (lambda f: (f / MANIFEST_FILE).write_text("{"), "is no manifest of a pool"),
    "an unknown entry": (lambda f: rewrite(f, more=1), "is no manifest of a pool"),
    "a later format": (lambda f: rewrite(f, format=2), "upgrade routing-gym"),
    "a name outside": (
        lambda f: rewrite(f, files={"../outside": "0" * 64}),
        "is no name of a file below the manifest",
    ),
    "an absolute name": (lambda f: rewrite(f, files={"/etc/x": "0" * 64}), "is no name of a file"),
    "no hash": (lambda f: rewrite(f, files={POOL_FILE: "x"}), "which is no sha256"),
    "weights elsewhere": (lambda f: with_path(f, str(f.parent / "a" / "one")), "not in the folder"),
    "a server": (with_server, "names a server"),
    "a base elsewhere": (lambda f: with_base(f, "../base"), r"base_model='../base' is a folder"),
    "an absolute base": (lambda f: with_base(f, "/srv/base"), "is a folder of one machine"),
    "no facts": (lambda f: rewrite(f, facts=[]), "is no manifest of a pool .*facts"),
    "no files": (lambda f: rewrite(f, files=["pool.yaml"]), "is no manifest of a pool .*files"),
    "another fingerprint": (lambda f: renew(f, fingerprint="0" * 64), "the manifest states 00000"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_pool_is_refused(tmp_path: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    push_pool(make_pool(tmp_path / "a", "one"), tmp_path / "shelf")
    damage(tmp_path / "shelf")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pull_pool(tmp_path / "shelf", tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_weights_that_are_none_are_not_pushed(tmp_path: Path) -> None:
    spec = make_pool(tmp_path / "a", "one")
    (tmp_path / "a" / "one" / WEIGHTS_FILE).write_bytes(b"pickle")
    with pytest.raises(ValueError, match=r"holds no weights .* train it again"):
        push_pool(spec, tmp_path / "shelf")
    assert not (tmp_path / "shelf").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec, f: PoolSpec(str(f), spec.adapters), "is a folder of one machine"),
        (
            lambda spec, f: PoolSpec(
                BASE, (AdapterSpec("base"), AdapterSpec("a/b", spec.adapters[1].path))
            ),
            "cannot name a folder",
        ),
        (
            lambda spec, f: PoolSpec(BASE, (AdapterSpec("base"), AdapterSpec("twin"))),
            "has its weights at a server",
        ),
    ],
)
def test_what_nobody_else_could_load_is_not_pushed(
    tmp_path: Path, change: Callable[[PoolSpec, Path], PoolSpec], message: str
) -> None:
    spec = make_pool(tmp_path / "a", "one")
    with pytest.raises(ValueError, match=message):
        push_pool(change(spec, tmp_path), tmp_path / "shelf")


@pytest.mark.parametrize("address", ["hf://datasets/me/pool", "hf://spaces/me/pool"])
def test_a_pool_belongs_to_a_repository_of_models(tmp_path: Path, address: str) -> None:
    spec = make_pool(tmp_path / "a", "one")
    with pytest.raises(ValueError, match=r"no place for a pool: write hf://me/pool\."):
        push_pool(spec, address)
    with pytest.raises(ValueError, match=r"no place for a pool"):
        pull_pool(address, tmp_path / "here")


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    spec = make_pool(tmp_path / "a", "one")
    shutil.copytree(tmp_path / "a", tmp_path / "shelf")
    for move in (lambda: push_pool(spec, tmp_path / "shelf"),):
        with pytest.raises(ValueError, match="give the pool a folder of its own"):
            move()
    push_pool(spec, tmp_path / "pushed")
    with pytest.raises(ValueError, match="give the pool a folder of its own"):
        pull_pool(tmp_path / "pushed", tmp_path / "shelf")
    assert file_names(tmp_path / "shelf") == file_names(tmp_path / "a")


def test_peft_loads_an_adapter_from_the_layout(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    push_pool(load_pool("default"), tmp_path / "shelf")
    config = peft.PeftConfig.from_pretrained(str(tmp_path / "shelf"), subfolder="reasoning")
    assert config.peft_type == "LORA"
    card = (tmp_path / "shelf" / "reasoning" / "README.md").read_text()
    assert CARD_MARK in card
    assert front_matter(card)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert pull_pool(tmp_path / "shelf", tmp_path / "here").fingerprint == (
        load_pool("default").fingerprint
    )
