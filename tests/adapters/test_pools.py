from __future__ import annotations

from pathlib import Path

import pytest

from routing_gym.adapters.pools import POOLS, load_pool

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pools"


def test_the_registry_is_the_folder() -> None:
    assert sorted(POOLS.values()) == sorted(path.name for path in CONFIGS.glob("*.yaml"))


def test_a_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text("adapters: {base: null, again: null}\n")
    assert load_pool(str(file)).names == ("base", "again")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lama3", r"unknown pool 'lama3': known are default, .*did you mean 'llama3'"),
        ("zzz", r"unknown pool 'zzz': known are .* or give a path that ends in \.yaml"),
    ],
)
def test_unknown_pools_list_the_known(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_pool(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist"):
        load_pool(str(tmp_path / "nowhere.yaml"))
