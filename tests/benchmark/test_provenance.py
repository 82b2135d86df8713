from __future__ import annotations

import subprocess
from pathlib import Path

from routing_gym.benchmark.provenance import (
    REPOSITORY,
    command_line,
    commit,
    provenance,
    source_hash,
    version,
)


def test_provenance_names_everything() -> None:
    text = provenance(
        argv=["scripts/compare.py", "--seeds", "[0, 1]"],
        table_hash="abc",
        seeds=[0, 1],
        extra=["resamples: 5"],
    )
    lines = text.splitlines()
    assert lines[0] == "command: python scripts/compare.py --seeds '[0, 1]'"
    assert lines[1].startswith("commit: ")
    assert lines[2:5] == ["table: abc", "seeds: 0, 1", "resamples: 5"]
    assert any(line.startswith("numpy: ") for line in lines)


def test_commands_do_not_name_the_machines_folders() -> None:
    script = REPOSITORY / "scripts" / "compare.py"
    assert command_line([str(script)]) == "python scripts/compare.py"
    assert command_line(["/usr/lib/tool/run.py", "x"]) == "python run.py x"
    assert command_line(["routing-gym", "x"]) == "routing-gym x"


def test_commit_of_a_repository_and_outside_one(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    head = commit(tmp_path)
    assert len(head) == 40
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == f"{head} with local changes"


def test_source_hash_follows_the_code() -> None:
    assert source_hash("benchmark") == source_hash("benchmark")
    assert source_hash("benchmark") != source_hash("benchmark", "agents")


def test_versions() -> None:
    assert version("numpy")[0].isdigit()
    assert version("no-such-package-here") == "absent"
