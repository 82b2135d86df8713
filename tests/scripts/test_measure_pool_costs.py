"""`measure_pool_costs`: median and quartiles by hand, and the command on two tiny arms."""

from __future__ import annotations

from pathlib import Path

import pytest

from routing_gym.adapters.profile import OPERATIONS, PoolProfile, Timing
from routing_gym.envs.adapter_cache import AdapterCacheEnv
from routing_gym.scripts.measure_pool_costs import main, summary
from tests.synthetic import identity_table


def test_summary_by_hand() -> None:
    assert summary([3.0, 1.0, 2.0, 5.0, 4.0]) == Timing(3.0, 2.0, 4.0, 5)
    assert summary([0.12345678]) == Timing(0.123457, 0.123457, 0.123457, 1)


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    import yaml

    from tests.adapters.tiny import save_tiny_adapter, save_tiny_model

    folder = tmp_path_factory.mktemp("costs")
    base = save_tiny_model(folder / "base")
    names = ("adapter_0", "adapter_1", "adapter_2")
    for seed, name in enumerate(names):
        save_tiny_adapter(folder / name, base, seed=seed)
    content = {"base_model": str(base), "adapters": {"base": None} | {n: n for n in names}}
    path = folder / "pool.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_a_run(pool_file: Path, tmp_path: Path, clock: str) -> None:
    path = tmp_path / "new" / "profile.json"
    options = ["--repeats", "2", "--tokens", "2", "--clock", clock]
    assert main(["--pool", str(pool_file), "--output", str(path), *options]) == 0
    profile = PoolProfile.load(path)
    assert set(profile.timings["base"]) == {"decode"}
    for name in ("adapter_0", "adapter_1", "adapter_2"):
        found = profile.timings[name]
        assert list(found) == list(OPERATIONS)
        assert all(timing.repeats == 2 for timing in found.values())
        assert found["load"].median > 0
        assert found["switch"].median > 0
        assert found["merge"].median > 0
    assert profile.provenance["clock"] == clock
    assert profile.provenance["threads"] == 1
    swap = profile.swap_seconds(["adapter_1"])["adapter_1"]
    env = AdapterCacheEnv(identity_table(n=20, k=3, d=8), profile=path)
    assert env.scenario.swap_seconds[1] == swap


def test_a_pool_of_one_adapter(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from tests.scripts.tiny_table import save_tiny_pool

    path = tmp_path / "profile.json"
    argv = ["--pool", str(save_tiny_pool(tmp_path)), "--output", str(path), "--repeats", "1"]
    assert main([*argv, "--tokens", "2"]) == 0
    assert PoolProfile.load(path).seconds("one", "load", "switch") > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--repeats", "0"], "repeats=0: give at least 1"),
        (["--tokens", "1"], "tokens=1: give at least 2"),
        (["--clock", "cpu", "--threads", "2"], "clock='cpu' with threads=2"),
        (["--clock", "sun"], "clock"),
        (["--repeat", "2"], "unknown key 'repeat'; the nearest known key is 'repeats'"),
    ],
)
def test_settings_that_cannot_be(
    capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(options) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_pool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pool", "defalt"]) == 1
    assert "did you mean 'default'" in capsys.readouterr().err
