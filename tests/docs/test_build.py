"""Sphinx builds what the code says: docstrings, names, formulas and links, without a warning.

The whole is built by `make docs`; here, the pages of the environments, their modules and a page of
examples are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the documentation needs routing-gym[docs]")
pytest.importorskip("furo", reason="the documentation needs routing-gym[docs]")

from docs.environments import environment_pages, short_name
from docs.links import broken_links
from docs.modules import ROOT, page_of
from routing_gym.envs import ENVS

PARTS = ("docstrings", "references", "mathematics", "navigation", "links")
MODULES = ("routing_gym.envs.data", "routing_gym.agents.linucb", "routing_gym.queries.tasks")
INDEX = ".. toctree::\n   :glob:\n\n   *\n   */*\n   */*/*\n"
EXAMPLES = r"""
Examples
========

`CascadeEnv`, `routing_gym.agents.linucb.LinUCBAgent`, `render()` and :math:`\hat\theta_a`.
"""


def run_sphinx(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    parts = ("sphinx.ext.autodoc", "myst_parser", *(f"docs.{part}" for part in PARTS))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", str(ROOT / "docs")]
    # Of a part of the modules not every name leads somewhere.
    options = ["-D", "nitpicky=0", "-D", f"extensions={','.join(parts)}"]
    return subprocess.run(
        [*command, *options, str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    modules = {*MODULES, *(place.partition(":")[0] for place in ENVS.values())}
    pages = {f"{page_of(name)}.rst": automodule(name) for name in modules}
    pages |= {"examples.rst": EXAMPLES, "index.rst": INDEX}
    for path, text in {**pages, **dict(environment_pages())}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text, encoding="utf-8")
    done = run_sphinx(source, target)
    assert done.returncode == 0, done.stderr
    return target


def automodule(name: str) -> str:
    return f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n"


def test_every_link_leads_somewhere(built: Path) -> None:
    assert len(list(built.rglob("*.html"))) > len(ENVS)
    assert list(broken_links(built)) == []


@pytest.mark.parametrize("name", ENVS)
def test_environment_is_shown(built: Path, name: str) -> None:
    page = (built / "environments" / f"{short_name(name)}.html").read_text("utf-8")
    for section in ("Description", "Action Space", "Observation Space", "Rewards", "Constructor"):
        assert re.search(rf"<h2>{section}<", page)
    assert "Parameters" in page
    assert "## " not in page


def test_the_reference_sends_to_the_page(built: Path) -> None:
    page = (built / "reference" / "envs" / "cascade.html").read_text("utf-8")
    assert "environments/cascade-v0.html" in page
    assert "Observation Space" not in page


def test_names_are_linked_as_the_module_sees_them(built: Path) -> None:
    page = (built / "reference" / "envs" / "cascade.html").read_text("utf-8")
    assert 'href="data.html#routing_gym.envs.data.RoutingData"' in page
    examples = (built / "examples.html").read_text("utf-8")
    assert 'href="reference/envs/cascade.html#routing_gym.envs.cascade.CascadeEnv"' in examples
    assert 'href="reference/agents/linucb.html#routing_gym.agents.linucb.LinUCBAgent"' in examples


def test_long_values_are_left_to_the_registries(built: Path) -> None:
    page = (built / "reference" / "queries" / "tasks.html").read_text("utf-8")
    assert "Kinship" not in page
    assert "Task name -&gt; class" in page


def test_formulas_need_no_network(built: Path) -> None:
    assert "<math " in (built / "examples.html").read_text("utf-8")
    assert "<math " in (built / "reference" / "agents" / "linucb.html").read_text("utf-8")
    scripts = re.findall(r'src="(https?:[^"]*)"', (built / "examples.html").read_text("utf-8"))
    assert scripts == []


FAULTS = {
    r":math:`\nonsense{x}`": "no formula in LaTeX",
    ":doc:`nowhere`": "unknown document",
    "`a <missing.html>`_": "broken link: index.html: 'missing.html' leads to no file",
    "**open": "without end-string",
}


def test_faults_end_the_build(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    text = "\n\n".join(["Title\n=====", *FAULTS, "`render()` and `K + 1` are code.\n"])
    (tmp_path / "source" / "index.rst").write_text(text, encoding="utf-8")
    done = run_sphinx(tmp_path / "source", tmp_path / "target")
    assert done.returncode != 0
    for fault in FAULTS.values():
        assert fault in done.stderr
    assert "render" not in done.stderr


def test_the_folder_of_the_settings_is_never_the_folder_of_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode != 0
    assert "is that of conf.py" in done.stderr
    assert (ROOT / "docs" / "conf.py").is_file()
