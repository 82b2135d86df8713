"""One page per command, made of what its ``--help`` prints."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

from docs.modules import contents, heading, modules, page_of, summary, table

SCRIPTS = "routing_gym.scripts"
WIDTH = "90"  # columns of the text


def commands() -> dict[str, ModuleType]:
    """Return the modules that are commands, by name: those with a ``main``."""
    return {
        module.__name__.rpartition(".")[2]: module
        for module in modules(SCRIPTS)
        if hasattr(module, "main")
    }


def help_of(module: ModuleType) -> str:
    """Return what a command prints when it is asked for help.

    Raises
    ------
    ValueError
        If it fails.
    """
    printed = io.StringIO()
    program = [f"{module.__name__.rpartition('.')[2]}.py"]
    with (
        contextlib.redirect_stdout(printed),
        mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}),
        mock.patch("sys.argv", program),
    ):
        code = module.main(["--help"])
    if code != 0 or not printed.getvalue():
        raise ValueError(f"{module.__name__} --help ended with {code} and said nothing of use.")
    return printed.getvalue().rstrip()


def command_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the page of each command, and their list."""
    rows, found = [], commands()
    for name, module in found.items():
        rows.append([f":doc:`{name} <{name}>`", summary(module)])
        yield f"commands/{name}.rst", command_page(name, module, root)
    text = table(["command", "what it does"], rows)
    yield "commands/index.rst", "\n".join([heading("Commands"), text, contents(list(found))])


def command_page(name: str, module: ModuleType, root: Path) -> str:
    """Write one command's page: its purpose, its help, the settings of its file."""
    parts = [heading(name), f"{summary(module)}\n"]
    parts.append(_block("console", f"$ python scripts/{name}.py --help\n\n{help_of(module)}"))
    settings = root / "configs" / f"{name}.yaml"
    if settings.is_file():
        parts += [heading("Settings of the experiment", "-"), f"``configs/{name}.yaml``:\n"]
        parts.append(_block("yaml", settings.read_text(encoding="utf-8").rstrip()))
    parts.append(f"The code: :doc:`/{page_of(module.__name__)}`.\n")
    return "\n".join(parts)


def _block(language: str, text: str) -> str:
    """Write a block of literal text in reStructuredText."""
    lines = (f"   {line}".rstrip() for line in text.splitlines())
    return "\n".join([f".. code-block:: {language}", "", *lines]) + "\n"
