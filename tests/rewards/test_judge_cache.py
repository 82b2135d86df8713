from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest

from routing_gym.rewards.judge_cache import JudgeCache

ENTRY = {"value": 4, "reason": "sums up — ✓"}


@pytest.fixture
def cache(tmp_path: Path) -> JudgeCache:
    return JudgeCache(tmp_path / "cache")


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_round_trip(cache: JudgeCache, tmp_path: Path) -> None:
    key = cache.key(model="m", text="x")
    assert cache.get(key) is None
    cache.put(key, ENTRY)
    assert cache.get(key) == ENTRY
    assert JudgeCache(tmp_path / "cache").get(key) == ENTRY
    assert [path.name for path in stored(tmp_path)] == [f"{key}.json"]


def test_the_key_is_the_content() -> None:
    key = JudgeCache.key(model="m", request={"a": 1, "b": 2})
    assert key == JudgeCache.key(request={"b": 2, "a": 1}, model="m")
    assert len(key) == 64
    others = [
        JudgeCache.key(model="n", request={"a": 1, "b": 2}),
        JudgeCache.key(model="m", request={"a": 1, "b": 3}),
        JudgeCache.key(model="m", request={"a": 1, "b": 2}, more=0),
    ]
    assert len({key, *others}) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"entry": 3}',
        b'{"entry": {"value": 4}}',
        b'{"entry": {"value": 4}, "sha256": "0"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_entry_counts_as_missing(
    content: bytes, cache: JudgeCache, tmp_path: Path
) -> None:
    key = cache.key(text="x")
    cache.put(key, ENTRY)
    (path,) = stored(tmp_path)
    path.write_bytes(content)
    assert cache.get(key) is None
    cache.put(key, ENTRY)
    assert cache.get(key) == ENTRY


def test_a_changed_verdict_is_noticed(cache: JudgeCache, tmp_path: Path) -> None:
    key = cache.key(text="x")
    cache.put(key, ENTRY)
    (path,) = stored(tmp_path)
    path.write_text(path.read_text().replace('"value": 4', '"value": 5'))
    assert json.loads(path.read_text())["entry"]["value"] == 5
    assert cache.get(key) is None


def test_an_entry_under_another_key_is_noticed(cache: JudgeCache, tmp_path: Path) -> None:
    one, other = cache.key(text="x"), cache.key(text="y")
    cache.put(one, ENTRY)
    (path,) = stored(tmp_path)
    target = tmp_path / "cache" / other[:2] / f"{other}.json"
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    assert cache.get(other) is None


def test_a_write_that_fails_leaves_nothing(cache: JudgeCache, tmp_path: Path) -> None:
    key = cache.key(text="x")
    cache.put(key, ENTRY)
    with pytest.raises(TypeError):
        cache.put(key, {"value": object()})
    assert cache.get(key) == ENTRY
    assert len(stored(tmp_path)) == 1


def test_readers_see_whole_entries_while_others_write(cache: JudgeCache, tmp_path: Path) -> None:
    key = cache.key(text="x")
    cache.put(key, {"value": 0, "pad": "x" * 20_000})
    seen: list[bool] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(cache.get(key) is not None)

    reader = threading.Thread(target=read)
    reader.start()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path / "cache", key)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert all(seen)
    assert seen
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(stored(tmp_path)) == 1


def _write(folder: Path, key: str) -> None:
    for i in range(100):
        JudgeCache(folder).put(key, {"value": i, "pad": "x" * 20_000})
