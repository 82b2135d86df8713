"""Pools: order, fingerprint, and files that are wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from routing_gym.adapters.base_model import EMBEDDED
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pools"


def weights(folder: Path, content: bytes, *, alpha: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / CONFIG_FILE).write_text(json.dumps({"lora_alpha": alpha, "peft_type": "LORA"}))
    return folder


@pytest.fixture
def pool(tmp_path: Path) -> PoolSpec:
    adapters = (
        AdapterSpec("base"),
        AdapterSpec("one", weights(tmp_path / "one", b"1")),
        AdapterSpec("two", weights(tmp_path / "two", b"2")),
    )
    return PoolSpec("some/model", adapters)


def test_positions_are_action_ids(pool: PoolSpec) -> None:
    assert pool.names == ("base", "one", "two")
    assert [pool.position(name) for name in pool.names] == [0, 1, 2]


def test_hashes_are_of_the_weights_and_their_scale(pool: PoolSpec, tmp_path: Path) -> None:
    base, one, two = (adapter.sha256 for adapter in pool.adapters)
    assert base == hashlib.sha256(b"").hexdigest()
    same = AdapterSpec("same", weights(tmp_path / "same", b"1"))
    scaled = AdapterSpec("scaled", weights(tmp_path / "scaled", b"1", alpha=32))
    assert same.sha256 == one
    assert len({base, one, two, scaled.sha256}) == 4


def test_fingerprint_binds_model_names_order_and_weights(pool: PoolSpec, tmp_path: Path) -> None:
    base, one, two = pool.adapters
    others = {
        PoolSpec("other/model", pool.adapters).fingerprint,
        PoolSpec(pool.base_model, (base, two, one)).fingerprint,
        PoolSpec(pool.base_model, (base, one)).fingerprint,
        PoolSpec(pool.base_model, (base, AdapterSpec("uno", one.path), two)).fingerprint,
    }
    assert pool.fingerprint == PoolSpec(pool.base_model, (base, one, two)).fingerprint
    before = pool.fingerprint
    weights(tmp_path / "one", b"changed")
    assert len(others | {before, pool.fingerprint}) == 6


def test_yaml_names_folders_beside_the_file(tmp_path: Path) -> None:
    weights(tmp_path / "weights" / "one", b"1")
    file = tmp_path / "pools" / "pool.yaml"
    file.parent.mkdir()
    file.write_text("base_model: m\nadapters: {base: null, one: ../weights/one}\n")
    pool = PoolSpec.from_yaml(file)
    assert (pool.base_model, pool.names) == ("m", ("base", "one"))
    assert pool.adapters[0].path is None
    assert pool.adapters[1].path == tmp_path / "weights" / "one"


def test_yaml_defaults_to_the_embedded_model(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text("adapters: {base: null, again: null}\n")
    assert PoolSpec.from_yaml(file).base_model == EMBEDDED


def test_unknown_names_list_the_known(pool: PoolSpec) -> None:
    with pytest.raises(ValueError, match="unknown adapter 'three': the pool has base, one, two"):
        pool.position("three")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "leaves nothing to route: give at least two"),
        (("base",), "leaves nothing to route"),
        (("base", "base"), "'base' stands twice in the pool: rename one"),
    ],
)
def test_wrong_pools(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoolSpec("m", tuple(AdapterSpec(name) for name in names))


def test_an_adapter_needs_a_name() -> None:
    with pytest.raises(ValueError, match="not empty"):
        AdapterSpec("")
    with pytest.raises(ValueError, match="without dots"):
        AdapterSpec("v1.2")


@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE])
def test_missing_files_name_the_command_that_makes_them(tmp_path: Path, file: str) -> None:
    folder = weights(tmp_path / "code", b"1")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"'code': .*{file} is missing; .*train_adapter"):
        AdapterSpec("code", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "adaptors: {}\n",
            r"unknown keys \['adaptors'\]; known are \['adapters', 'base_model', 'server'\]",
        ),
        ("- base\n", "pool.yaml: unknown keys"),
        ("", "pool.yaml: unknown keys"),
        ("base_model: m\n", "`adapters` must map names to folders"),
        ("adapters: [base, one]\n", "`adapters` must map names to folders"),
        ("adapters: {base: null}\n", "leaves nothing to route"),
        ("adapters: [\n", "pool.yaml"),
    ],
)
def test_wrong_pool_files(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        PoolSpec.from_yaml(file)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pool file .*no.yaml does not exist"):
        PoolSpec.from_yaml(tmp_path / "no.yaml")
    file = tmp_path / "pool.yaml"
    file.write_text("adapters: {base: null, one: nowhere}\n")
    with pytest.raises(FileNotFoundError, match=r"adapter 'one'.*is missing"):
        PoolSpec.from_yaml(file)


@pytest.mark.parametrize("name", ["default", "llama3", "phi3", "mistral"])
def test_shipped_pools_have_the_same_arms(name: str) -> None:
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert list(content["adapters"]) == ["base", "reasoning", "code", "creative", "analysis"]
    assert content["adapters"]["base"] is None
    assert set(content) == {"base_model", "adapters"}
