"""Improvement cycles on real files: promoted, rejected, resumed, refused, taken back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark import cycle as cycle_module
from routing_gym.benchmark import cycle_report, cycle_stages, provenance
from routing_gym.benchmark.cycle_history import read_history
from routing_gym.benchmark.cycle_versions import read_version
from routing_gym.envs.table import OutcomeTable
from tests.benchmark.small_pool import MIX, Teacher, improvement, make_world


@pytest.fixture(scope="session")
def first_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("first"))


@pytest.fixture
def world(first_world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first_world, tmp_path / "world"))


@pytest.fixture(autouse=True)
def plain_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the picture only where it is looked at, and ask git for nothing."""
    if "report" not in request.node.name:
        monkeypatch.setattr(cycle_report, "draw_regions", lambda regions, path, **options: None)
    for module in (cycle_module, provenance):
        monkeypatch.setattr(module, "commit", lambda: "0" * 40)


def history(world: Path) -> list[Any]:
    return read_history(world / "report" / "history.json")


def learn_nothing(skills: list[str]) -> list[str]:
    return [*skills, "nothing new"]


def test_a_better_version_is_promoted(world: Path) -> None:
    teacher = Teacher(world)
    outcome = improvement(world, teacher).run()
    entry = outcome.entry
    assert entry is not None
    assert (entry.verdict, entry.current, entry.region) == ("promoted", "v0001", "creative / rhyme")
    assert entry.adapter == "creative"
    assert entry.signed_by == "gate"
    assert set(entry.adapters) == {"creative"}
    assert entry.figures["weakest_gain"]["value"] == 1.0
    assert entry.figures["overall_gain_low"] > 0.1
    assert teacher.calls == ["find", "sample", "train", "recollect"]
    version = read_version(world / "store" / "versions" / "v0001")
    assert version.sha256 == entry.version_sha256
    old, new = OutcomeTable.load(world / "table"), version.table()
    assert entry.tables == {"before": old.fingerprint, "after": new.fingerprint}
    rhyme = new.task == "rhyme"
    assert new.scores["accuracy"][rhyme, 1].all()
    assert not old.scores["accuracy"][rhyme, 1].any()


def test_only_changed_cells_are_collected_and_the_others_kept(world: Path) -> None:
    teacher = Teacher(world)
    improvement(world, teacher).run()
    assert len(teacher.pools) == 1
    assert len(teacher.pools[0].asked) == sum(MIX.values())
    old = OutcomeTable.load(world / "table")
    new = read_version(world / "store" / "versions" / "v0001").table()
    for name, values in old.scores.items():
        np.testing.assert_array_equal(values[:, [0, 2]], new.scores[name][:, [0, 2]])
    assert (old.responses[:, [0, 2]] == new.responses[:, [0, 2]]).all()
    assert new.manifest.generation["recollected"]["adapters"] == ["creative"]
    stage = next((world / "store" / "cycles" / "c0001").glob("table-*"))
    lines = [json.loads(x) for x in (stage / "answers-creative.jsonl").read_text().splitlines()]
    assert sorted(line["query_id"] for line in lines) == sorted(old.query_id)


def test_the_report_stands_beside_the_history(world: Path) -> None:
    improvement(world, Teacher(world)).run()
    report = world / "report"
    summary = json.loads((report / "summary.json").read_text())
    assert summary["weakest_gain_low"] == 1.0
    assert summary["overall_gain_low"] > 0
    assert summary["promoted"] == summary["cycles"] == 1
    text = (report / "report.md").read_text()
    assert "creative / rhyme" in text
    assert "promoted if and only if" in text
    assert (report / "regions.png").stat().st_size > 10_000
    assert "command:" in (report / "command.txt").read_text()
    assert not list(world.glob(".*"))


@pytest.mark.parametrize(
    ("learns", "adapter", "reason"),
    [
        (learn_nothing, "creative", "does not lie above zero"),
        (lambda skills: ["rhyme", "keywords"], "analysis", "Domain analysis became worse"),
    ],
)
def test_what_is_not_better_everywhere_is_rejected(
    world: Path, learns: Any, adapter: str, reason: str
) -> None:
    entry = improvement(world, Teacher(world, learns=learns), adapter=adapter).run().entry
    assert entry is not None
    assert (entry.verdict, entry.current) == ("rejected", "v0000")
    assert any(reason in text for text in entry.reasons)
    assert improvement(world, Teacher(world)).status().startswith("current: v0000")
    again = improvement(world, Teacher(world)).run().entry  # the next cycle may succeed
    assert again is not None
    assert (again.verdict, again.before, again.current) == ("promoted", "v0000", "v0002")


@pytest.mark.parametrize("dies_in", ["find", "sample", "train", "recollect"])
def test_a_cycle_goes_on_where_it_was(world: Path, dies_in: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_in=dies_in)).run()
    assert history(world) == []
    teacher = Teacher(world)
    entry = improvement(world, teacher).run().entry
    assert entry is not None
    assert entry.verdict == "promoted"
    order = ["find", "sample", "train", "recollect"]
    assert teacher.calls == order[order.index(dies_in) :]


def test_a_collection_goes_on_where_it_was(world: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_at=100)).run()
    teacher = Teacher(world)
    improvement(world, teacher).run()
    assert len(teacher.pools[0].asked) == sum(MIX.values()) - 96


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (cycle_stages, "train_router"),
        (cycle_stages, "compare_sides"),
        (cycle_stages, "build_version"),
        (cycle_module, "append_entry"),
        (cycle_module, "write_details"),
        (cycle_module, "write_improvement"),
    ],
)
def test_the_end_of_a_cycle_is_never_half_done(
    world: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    def killed(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(KeyboardInterrupt):
            improvement(world, Teacher(world)).run()
    done = name in ("write_details", "write_improvement")
    assert len(history(world)) == done
    teacher = Teacher(world)
    entry = improvement(world, teacher).run().entry
    assert entry is not None
    assert entry.cycle == 1
    assert teacher.calls == []
    assert len(history(world)) == 1
    assert json.loads((world / "report" / "summary.json").read_text())["promoted"] == 1


def test_a_finished_cycle_is_not_done_again(world: Path) -> None:
    improvement(world, Teacher(world)).run(cycle=1)
    teacher = Teacher(world)
    before = (world / "report" / "history.json").read_bytes()
    outcome = improvement(world, teacher).run(cycle=1)
    assert outcome.entry is not None
    assert outcome.entry.cycle == 1
    assert teacher.calls == []
    assert (world / "report" / "history.json").read_bytes() == before
    with pytest.raises(ValueError, match="cycle=3: the history holds 1, so the next one is 2"):
        improvement(world, teacher).run(cycle=3)


def test_the_next_cycle_starts_from_what_was_promoted(world: Path) -> None:
    improvement(world, Teacher(world)).run()
    teacher = Teacher(world, learns=lambda skills: [*skills, "more"])
    entry = improvement(world, teacher, task="keywords").run().entry
    assert entry is not None
    assert (entry.before, entry.verdict, entry.current) == ("v0001", "rejected", "v0001")
    first = history(world)[0]
    assert entry.tables["before"] == first.tables["after"]
    assert entry.pools["before"] == first.pools["after"]
    assert entry.previous == first.sha256


def test_changed_settings_are_refused_or_begin_anew(world: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_in="recollect")).run()
    with pytest.raises(ValueError, match=r"begun with other settings \(examples: 20 -> 30\)"):
        improvement(world, Teacher(world), examples=30).run()
    teacher = Teacher(world)
    improvement(world, teacher, examples=30).run(restart=True)
    assert teacher.calls == ["sample", "train", "recollect"]


def test_settings_that_only_say_where_may_change(world: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_in="recollect")).run()
    teacher = Teacher(world)
    improvement(world, teacher, threads=1).run()
    assert teacher.calls == ["recollect"]


def test_a_changed_result_is_found(world: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_in="recollect")).run()
    made = next((world / "store" / "cycles" / "c0001").glob("data-*/made.json"))
    made.write_text(json.dumps([["sorting"], 24, 7]))
    with pytest.raises(ValueError, match=r"made\.json is not what was sealed: delete the folder"):
        improvement(world, Teacher(world)).run()


def test_a_promotion_can_wait_for_a_person(world: Path) -> None:
    outcome = improvement(world, Teacher(world), needs_approval=True).run()
    assert outcome.entry is None
    assert outcome.verdict is not None
    assert outcome.verdict.promoted
    assert history(world) == []
    teacher = Teacher(world)
    entry = improvement(world, teacher, needs_approval=True).run(approve="Ada").entry
    assert entry is not None
    assert (entry.signed_by, entry.verdict) == ("Ada", "promoted")
    assert teacher.calls == []


def test_nobody_signs_what_the_gate_rejected(world: Path) -> None:
    teacher = Teacher(world, learns=learn_nothing)
    entry = improvement(world, teacher, needs_approval=True).run(approve="Ada").entry
    assert entry is not None
    assert (entry.signed_by, entry.verdict) == ("gate", "rejected")


def test_rollback_and_rollback_of_a_rollback(world: Path) -> None:
    subject = improvement(world, Teacher(world))
    with pytest.raises(ValueError, match="there is nothing to go back to"):
        subject.roll_back()
    subject.run()
    back = subject.roll_back(signed_by="Ada")
    assert (back.before, back.current, back.signed_by) == ("v0001", "v0000", "Ada")
    assert subject.status().startswith("current: v0000")
    forth = subject.roll_back()
    assert (forth.before, forth.current) == ("v0000", "v0001")
    assert [entry.number for entry in history(world)] == [1, 2, 3]
    with pytest.raises(ValueError, match="rollback_to='v0007': choose a version that was current"):
        subject.roll_back("v0007")
    assert subject.roll_back("v0000").current == "v0000"
    assert "rollback" in (world / "report" / "report.md").read_text()


def test_a_begun_cycle_does_not_survive_a_rollback_unseen(world: Path) -> None:
    improvement(world, Teacher(world)).run()
    with pytest.raises(KeyboardInterrupt):
        improvement(world, Teacher(world, dies_in="train"), task="keywords").run()
    improvement(world, Teacher(world)).roll_back()
    with pytest.raises(ValueError, match="base: v0001 -> v0000"):
        improvement(world, Teacher(world), task="keywords").run()


def test_a_damaged_version_is_not_taken(world: Path) -> None:
    improvement(world, Teacher(world)).run()
    weights = world / "store/versions/v0001/adapters/creative/adapter_model.safetensors"
    weights.write_text("[]")
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is not what was sealed"):
        improvement(world, Teacher(world)).status()
    shutil.rmtree(world / "store" / "versions")
    with pytest.raises(FileNotFoundError, match="version v0001 lies in none of"):
        improvement(world, Teacher(world)).run()


def test_a_shipped_version_is_found_beside_the_report(world: Path) -> None:
    improvement(world, Teacher(world)).run()
    shutil.move(world / "store" / "versions", world / "report" / "versions")
    assert improvement(world, Teacher(world)).status().startswith("current: v0001")


def test_the_gaps_of_a_test_split_are_refused(world: Path) -> None:
    from routing_gym.benchmark.gaps import GapSettings, find_gaps

    teacher = Teacher(world)
    whole = OutcomeTable.load(world / "table")
    settings = GapSettings(levels=("task",), splits=("train", "test"))
    with pytest.warns(UserWarning, match="test split was read"):
        report = find_gaps(whole, settings=settings)
    teacher.find = lambda table, level: report  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="found with the test split"):
        improvement(world, teacher).run()
