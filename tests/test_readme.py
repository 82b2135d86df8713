"""Every command, code block, link and figure of the README."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from routing_gym.envs.table import DEFAULT_TABLE
from routing_gym.scripts.update_readme import BLOCKS, main, marks, render_block

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TARGETS = "train test serve serving reports pool improve scaling notebooks docs".split()
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SERVING = ("PolicyBundle", "from openai import")  # blocks that want a bundle, or a server on it
PLAIN_BLOCKS = [text for text in PYTHON_BLOCKS if not any(word in text for word in SERVING)]
COMMANDS = sorted(set(re.findall(r"scripts/\w+\.py", README)))

needs_table = pytest.mark.skipif(not DEFAULT_TABLE.exists(), reason="no embedded table")


@needs_table
@pytest.mark.parametrize("block", range(len(PLAIN_BLOCKS)))
def test_python_block_runs(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(PLAIN_BLOCKS[block], f"README block {block}", "exec"), {"__name__": "__main__"})


def test_the_bundle_and_the_server_do_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("onnx")
    from routing_gym.serving.trial_process import ServerProcess
    from routing_gym.serving.trial_upstream import Upstream
    from tests.serving.bundles import small_bundle

    (library,) = [text for text in PYTHON_BLOCKS if SERVING[0] in text]
    (client,) = [text for text in PYTHON_BLOCKS if SERVING[1] in text]
    assert len([line for line in library.splitlines() if line.strip()]) <= 5
    small_bundle(tmp_path)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundle").rename(tmp_path / "bundles" / "ppo")
    monkeypatch.chdir(tmp_path)
    exec(compile(library, "README bundle", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.startswith("('adapter_")
    with Upstream([f"adapter_{i}" for i in range(1, 4)]) as upstream:
        options = ["--bundle", str(tmp_path / "bundles" / "ppo"), "--backend", "openai"]
        options += ["--upstream_url", upstream.url, "--upstream_base", "adapter_0"]
        options += ["--log_url", f"sqlite:///{tmp_path / 'decisions.db'}"]
        with ServerProcess(options, log=tmp_path / "log") as server:
            given = client.replace("http://127.0.0.1:8000", server.url)
            assert given != client
            exec(compile(given, "README client", "exec"), {"__name__": "__main__"})
    assert re.match(r"adapter_\d [0-9a-f]{32} 1\.0", capsys.readouterr().out)


@needs_table
def test_the_router_of_30_lines_enters_the_comparison(tmp_path: Path) -> None:
    (block,) = [text for text in PYTHON_BLOCKS if "class CentroidAgent" in text]
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    (tmp_path / "my_router.py").write_text(block, encoding="utf-8")
    given = re.search(r"(scripts/compare\.py --agents .*?)```", README, re.DOTALL)
    assert given is not None
    script, *arguments = shlex.split(given.group(1).replace("\\\n", " "))
    tables = f"{{embedded: {DEFAULT_TABLE}}}"
    more = ["--tables", tables, "--seeds", "[0]", "--trials", "1", "--shares", "[]"]
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments, *more, "--workers", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "runs" / "mine" / "report" / "report.md").read_text(encoding="utf-8")
    assert "| centroid " in report


def test_blocks_are_found() -> None:
    assert len(PYTHON_BLOCKS) >= 4
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_make_target_exists(target: str) -> None:
    assert f"make {target}" in README
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


@pytest.mark.parametrize(
    ("block", "sign"), [("train", "oracle"), ("figures", "ppo_over_"), ("scaling", "GPU hours")]
)
def test_figures_are_those_of_the_reports(block: str, sign: str) -> None:
    begin, end = marks(block)
    shown = README.split(begin)[1].split(end)[0].strip()
    assert shown == render_block(block, ROOT / "results")
    assert sign in shown


def test_update_refuses_a_page_without_markers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers\n")
    assert main(["--readme", str(page), "--results", str(ROOT / "results")]) == 1
    assert "once each" in capsys.readouterr().err
    assert page.read_text() == "no markers\n"


def test_update_names_a_missing_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(mark for block in BLOCKS for mark in marks(block)))
    assert main(["--readme", str(page), "--results", str(tmp_path)]) == 1
    assert "make reports" in capsys.readouterr().err
