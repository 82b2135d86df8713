"""Killed commands: a sound one survives, one that loses or doubles is found out."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark import cycle_report
from routing_gym.benchmark.cycle_history import HISTORY, append_entry, read_history
from routing_gym.benchmark.kill_trials import (
    Subject,
    improvement_faults,
    line_faults,
    moments,
    sealed_stages,
    stray_files,
    table_differences,
)
from tests.benchmark.small_pool import Teacher, improvement, make_world
from tests.synthetic import identity_table

SOUND = """
    import json, sys, time
    from pathlib import Path
    path = Path(sys.argv[1]) / "answers-a.jsonl"
    done = path.read_text().count("\\n") if path.exists() else 0
    for number in range(done, 8):
        time.sleep(0.1)
        with path.open("a") as file:
            file.write(json.dumps({"query_id": f"q{number}", "response": "x"}) + "\\n")
"""
FORGETFUL = SOUND.replace("range(done, 8)", "range(8)")


def subject(program: Path) -> Subject:
    return Subject(
        name="writer",
        arguments=lambda folder: [str(program), str(folder)],
        ended=lambda folder: False,
        look=lambda folder: f"{len(list(folder.glob('*.jsonl')))} files",
        faults=line_faults,
    )


@pytest.mark.parametrize(("text", "survives"), [(SOUND, True), (FORGETFUL, False)])
def test_a_kill_in_the_middle(tmp_path: Path, text: str, survives: bool) -> None:
    program = tmp_path / "writer.py"
    program.write_text(textwrap.dedent(text))
    trial = subject(program)
    assert trial.reference(tmp_path / "whole") > 0.5
    found = trial.try_kill(tmp_path / "killed", tmp_path / "whole", number=3, moment=0.55)
    assert (found.command, found.number) == ("writer", 3)
    assert found.survived is survives, found.faults
    if not survives:
        assert "exactly once" in found.faults[0]


def test_a_moment_after_the_end_is_moved(tmp_path: Path) -> None:
    program = tmp_path / "writer.py"
    program.write_text(textwrap.dedent(SOUND).replace("range(done, 8)", "range(done, 2)"))
    trial = subject(program)
    trial.reference(tmp_path / "whole")
    found = trial.try_kill(tmp_path / "killed", tmp_path / "whole", number=1, moment=0.6)
    assert found.moment < 0.6
    assert found.survived


def test_a_command_that_fails_is_no_reference(tmp_path: Path) -> None:
    program = tmp_path / "writer.py"
    program.write_text("raise SystemExit(3)")
    with pytest.raises(ChildProcessError, match="writer fails without a kill"):
        subject(program).reference(tmp_path / "whole")
    assert "did not end after 3 starts" in subject(program).finish(tmp_path / "whole")[-1]


def test_a_start_that_fails_after_the_kill_is_a_fault(tmp_path: Path) -> None:
    program = tmp_path / "writer.py"
    fails_once = """
        mark = Path(sys.argv[1]) / "failed"
        if done and not mark.exists():
            mark.touch()
            raise SystemExit("the lines cannot be read")
    """
    before, loop = textwrap.dedent(SOUND).split("for number", 1)
    program.write_text(f"{before}{textwrap.dedent(fails_once)}for number{loop}")
    trial = subject(program)
    trial.reference(tmp_path / "whole")
    found = trial.try_kill(tmp_path / "killed", tmp_path / "whole", number=1, moment=0.55)
    assert found.faults == ("a start after the kill failed: the lines cannot be read",)


def test_moments_are_spread_over_the_whole_duration() -> None:
    drawn = moments(100.0, 10, seed=0)
    assert [int(moment // 10) for moment in drawn] == list(range(10))
    assert drawn == moments(100.0, 10, seed=0) != moments(100.0, 10, seed=1)


def lines(*ids: str) -> str:
    return "".join(json.dumps({"query_id": name, "response": ""}) + "\n" for name in ids)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (lines("a", "b"), ""),
        (lines("b", "a"), ""),
        (lines("a"), "exactly once"),
        (lines("a", "b", "b"), "exactly once"),
        (lines("a", "b") + '{"query', "1 damaged lines"),
    ],
)
def test_lines(tmp_path: Path, content: str, fault: str) -> None:
    for name, text in (("own", content), ("whole", lines("a", "b"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "answers-a.jsonl").write_text(text)
    found = line_faults(tmp_path / "own", tmp_path / "whole")
    assert bool(found) == bool(fault)
    assert not found or fault in found[0]


def test_tables_may_differ_in_seconds_only() -> None:
    from dataclasses import replace

    table = identity_table(n=20)
    slower = replace(table, seconds=table.seconds + 1)
    assert table_differences(table, slower) == []
    changed = np.array(table.responses, copy=True)
    changed[3, 1] = "something else"
    assert table_differences(replace(table, responses=changed), table) == [
        "table: responses differs"
    ]
    quality: Any = {**table.scores, "quality": 1 - table.scores["quality"]}
    assert table_differences(replace(table, scores=quality), table) == [
        "table: score quality differs"
    ]


def test_drafts_are_left_behind(tmp_path: Path) -> None:
    assert stray_files(tmp_path) == []
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".v0001.draft").mkdir()
    (tmp_path / ".report-abc").mkdir()
    assert len(stray_files(tmp_path)) == 2
    (tmp_path / "store" / ".router.old").mkdir()
    (tmp_path / "store" / ".router.partial").mkdir()
    assert len(stray_files(tmp_path)) == 4


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One cycle made twice, as by a killed command and by its reference."""
    world = make_world(tmp_path_factory.mktemp("world"))
    folders = (world / "killed", world / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cycle_report, "draw_regions", lambda regions, path, **options: None)
        for folder in folders:
            places = {"store": folder / "store", "output": folder / "report"}
            improvement(world, Teacher(world), **places).run()
    return folders


def double_a_line(folder: Path) -> None:
    path = next(folder.glob("store/cycles/c0001/table-*/answers-creative.jsonl"))
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])


def decide_twice(folder: Path) -> None:
    place = folder / "report" / HISTORY
    entry = read_history(place)[0]
    append_entry(place, dataclasses.replace(entry, cycle=2, before="v0001"))


def other_answers(folder: Path) -> None:
    """Put another run's version in place of the one that was signed."""
    place = folder / "store" / "versions" / "v0001"
    record = json.loads((place / "version.json").read_text())
    (place / "version.json").write_text(json.dumps({**record, "cycle": 7}))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda folder: None, ""),
        (double_a_line, "not every answer is there exactly once"),
        (decide_twice, "2 entries for one cycle"),
        (other_answers, "is not the one of its entry"),
        (lambda folder: (folder / "report" / "summary.json").unlink(), "the report is missing"),
        (lambda folder: (folder / "store" / ".v0001.draft").mkdir(), "left behind"),
    ],
)
def test_faults_of_an_improvement(
    two_runs: tuple[Path, Path], tmp_path: Path, spoil: Any, fault: str
) -> None:
    own, reference = two_runs
    folder = own.with_name(f"{own.name}-{tmp_path.name}")  # beside it: versions refer to weights
    shutil.copytree(own, folder)
    spoil(folder)
    found = improvement_faults(folder, reference)
    assert bool(found) == bool(fault), found
    assert not fault or any(fault in text for text in found), found


def test_a_half_promoted_version_is_refused_right_after_the_kill(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(two_runs[0], tmp_path / "killed"))
    shutil.rmtree(folder / "store" / "versions" / "v0001" / "table")
    with pytest.raises(ValueError, match="is missing: restore the version"):
        sealed_stages(folder)
    (folder / "report" / HISTORY).unlink()
    assert sealed_stages(folder).startswith("comparison sealed, 180 answers")
