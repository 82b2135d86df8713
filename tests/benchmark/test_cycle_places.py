"""Cycles whose versions lie elsewhere: in a fresh clone, in a store that another history uses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from routing_gym.benchmark import cycle as cycle_module
from routing_gym.benchmark import cycle_report, provenance
from routing_gym.benchmark.cycle_history import read_history
from routing_gym.envs.collection_files import locked
from tests.benchmark.small_pool import Teacher, improvement, make_world


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def promoted_world(plain_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = Path(shutil.copytree(plain_world, tmp_path_factory.mktemp("promoted") / "world"))
    with pytest.MonkeyPatch.context() as patch:
        make_plain(patch)
        improvement(world, Teacher(world)).run()
    return world


@pytest.fixture
def world(promoted_world: Path, tmp_path: Path) -> Path:
    """A copy at its own place: the settings name other paths, so that a cycle is named anew."""
    return Path(shutil.copytree(promoted_world, tmp_path / "world"))


@pytest.fixture
def clone(world: Path) -> Path:
    """What version control holds: the history and the report, and nothing of the store."""
    shutil.rmtree(world / "store")
    return world


@pytest.fixture(autouse=True)
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    make_plain(monkeypatch)


def make_plain(patch: pytest.MonkeyPatch) -> None:
    """Draw no picture and ask git for nothing."""
    patch.setattr(cycle_report, "draw_regions", lambda regions, path, **options: None)
    for module in (cycle_module, provenance):
        patch.setattr(module, "commit", lambda: "0" * 40)


def test_a_fresh_clone_tells_its_status(clone: Path) -> None:
    status = improvement(clone, Teacher(clone)).status()
    assert status.startswith("current: v0001, which is not here")
    assert "1. " in status
    assert "v0001 promoted, signed by gate" in status


def test_a_fresh_clone_says_what_to_do(clone: Path) -> None:
    match = r"version v0001 lies in none of .*--rollback true.*another --output and --store"
    with pytest.raises(FileNotFoundError, match=match):
        improvement(clone, Teacher(clone)).run()


@pytest.mark.parametrize("to", ["", "v0000"])
def test_a_fresh_clone_can_go_back(world: Path, tmp_path: Path, to: str) -> None:
    clone = Path(shutil.copytree(world, tmp_path / "clone"))
    whole = improvement(world, Teacher(world)).roll_back(to)
    shutil.rmtree(clone / "store")
    subject = improvement(clone, Teacher(clone))
    entry = subject.roll_back(to, signed_by="Ada")
    for name in ("before", "candidate", "current", "tables", "pools", "adapters", "verdict"):
        assert getattr(entry, name) == getattr(whole, name), name
    assert set(entry.adapters) == {"creative"}
    assert subject.status().startswith("current: v0000, pool")
    again = improvement(clone, Teacher(clone)).run().entry
    assert again is not None
    assert (again.cycle, again.before, again.current) == (2, "v0000", "v0002")


def test_the_way_back_to_a_missing_version_is_refused(world: Path) -> None:
    subject = improvement(world, Teacher(world))
    subject.roll_back()
    shutil.rmtree(world / "store" / "versions")
    before = (world / "report" / "history.json").read_bytes()
    with pytest.raises(FileNotFoundError, match="version v0001 lies in none of"):
        subject.roll_back()
    assert (world / "report" / "history.json").read_bytes() == before


def foreign_version(world: Path, place: Path) -> None:
    """Put another history's v0001 in a place: the same names, other weights."""
    other = improvement(
        world,
        Teacher(world, learns=lambda skills: [*skills, "rhyme", "more"]),
        store=world / "other" / "store",
        output=world / "other" / "report",
    )
    other.run()
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world / "other" / "store" / "versions" / "v0001", place)


def test_another_version_of_that_name_is_not_taken(world: Path) -> None:
    foreign_version(world, world / "store" / "versions" / "v0001")
    with pytest.raises(ValueError, match="v0001 is not the one that the history signed"):
        improvement(world, Teacher(world)).run()


def test_of_two_the_signed_version_is_taken(world: Path) -> None:
    (world / "report" / "versions").mkdir()
    shutil.move(world / "store/versions/v0001", world / "report/versions/v0001")
    foreign_version(world, world / "store" / "versions" / "v0001")
    assert f"pool {world / 'report/versions/v0001'}" in improvement(world, Teacher(world)).status()


def test_a_store_of_another_history_keeps_its_versions(world: Path) -> None:
    own = world / "own" / "report"
    signed = read_history(world / "report" / "history.json")[0].version_sha256
    # The copy's settings name other paths than those that the cycle in the store was begun with.
    with pytest.raises(ValueError, match=r"holds cycle 1 of another history.*--store"):
        improvement(world, Teacher(world), output=own).run(restart=True)
    version = improvement(world, Teacher(world)).versions.open("v0001")
    assert version.sha256 == signed


def promoted_here(world: Path) -> list[str]:
    """Make an improvement of its own below a world; return what a later run of it says."""
    store, report = world / "here" / "store", world / "here" / "report"
    improvement(world, Teacher(world), store=store, output=report).run()
    return []


@pytest.mark.parametrize("missing", ["data", "comparison"])
def test_the_report_of_a_done_cycle_makes_no_stage_again(world: Path, missing: str) -> None:
    said = promoted_here(world)
    store, report = world / "here" / "store", world / "here" / "report"
    details = (report / "cycle.json").read_bytes()
    shutil.rmtree(next((store / "cycles" / "c0001").glob(f"{missing}-*")))
    teacher = Teacher(world)
    subject = dataclasses.replace(
        improvement(world, teacher, store=store, output=report), say=said.append
    )
    assert subject.run(cycle=1).entry is not None
    assert teacher.calls == []
    assert (report / "cycle.json").read_bytes() == details
    assert any("are left as they are" in text and missing in text for text in said)
    assert not list((store / "cycles" / "c0001").glob(".*.draft"))


def test_other_settings_do_not_describe_a_done_cycle(world: Path) -> None:
    said = promoted_here(world)
    store, report = world / "here" / "store", world / "here" / "report"
    (report / "cycle.json").unlink()
    (store / "cycles" / "c0001" / "reported.json").unlink()
    changed = improvement(world, Teacher(world), store=store, output=report, examples=30)
    dataclasses.replace(changed, say=said.append).run(cycle=1)
    assert any("was done with other settings" in text for text in said)
    improvement(world, Teacher(world), store=store, output=report).run(cycle=1)
    assert json.loads((report / "cycle.json").read_text())["cycle"] == 1


def test_one_command_at_a_time(world: Path) -> None:
    with (
        locked(world / "store" / "cycles"),
        pytest.raises(OSError, match=r"another command improves .*store.*: wait until it ends"),
    ):
        improvement(world, Teacher(world)).run()


def test_a_task_is_a_region_whatever_the_level(plain_world: Path, tmp_path: Path) -> None:
    world = Path(shutil.copytree(plain_world, tmp_path / "world"))
    entry = improvement(world, Teacher(world), level="domain", task="rhyme").run().entry
    assert entry is not None
    assert entry.region == "creative / rhyme"
    text = (world / "report" / "report.md").read_text()
    assert "the task **creative / rhyme** was asked for" in text
    assert "the weakest region of the pool on train" not in text


def test_the_report_states_the_confidence_that_was_set(plain_world: Path, tmp_path: Path) -> None:
    world = Path(shutil.copytree(plain_world, tmp_path / "world"))
    improvement(world, Teacher(world), confidence=0.8).run()
    text = (world / "report" / "report.md").read_text()
    assert "gain [80 %]" in text
    assert "95 %" not in text
