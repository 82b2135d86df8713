"""Killed commands: a sound one survives, one that loses or doubles is found out."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.kill_trials import (
    Subject,
    line_faults,
    moments,
    stray_files,
    table_differences,
)
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
    with pytest.raises(RuntimeError, match="writer fails without a kill"):
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
