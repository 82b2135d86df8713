"""Runs generated Python in a separate process with limits on time, memory and builtins.

The guard is against the accidents of a language model (endless loops, memory, file access), with
defence in depth: the source is checked for imports and underscored names, runs under a short list
of builtins, in an isolated interpreter, under operating-system limits. It is no boundary against an
attacker who writes for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of one run.

    Parameters
    ----------
    seconds
        Processor time, and a second more of wall time.
    megabytes
        Address space.
    """

    seconds: int = 2
    megabytes: int = 512

    def __post_init__(self) -> None:
        if self.seconds < 1 or self.megabytes < 64:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes}: at least 1 second and 64 MB."
            )


_WORKER = r"""
import __future__, ast, builtins, json, sys
job = json.load(sys.stdin)
size = job["megabytes"] * 2**20
for name, most in (("CPU", job["seconds"]), ("AS", size), ("FSIZE", 0), ("NOFILE", 3)):
    try:
        import resource
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
    except (ImportError, AttributeError, ValueError, OSError):
        pass  # this system has no such limit; the wall clock still ends the run
NAMES = ("abs all any bool chr dict divmod enumerate filter float int isinstance len list map max "
         "min ord pow range reversed round set slice sorted str sum tuple zip True False None "
         "ValueError TypeError IndexError KeyError ZeroDivisionError Exception").split()
allowed = {n: getattr(builtins, n) for n in NAMES if hasattr(builtins, n)}
allowed["print"] = lambda *values, **options: None
tree = ast.parse(job["source"])
kept = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.Import, ast.ImportFrom)
tree.body = [node for node in tree.body if isinstance(node, kept)]
for node in ast.walk(tree):
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        sys.exit(3)
    name = str(getattr(node, "attr", None) or getattr(node, "id", None) or "")
    odd = name.startswith("_") and name != "_" or name in ("format", "format_map")
    if odd:
        sys.exit(3)
scope = {"__builtins__": allowed, "__name__": "answer"}
flags = __future__.annotations.compiler_flag
exec(compile(tree, "answer", "exec", flags=flags, dont_inherit=True), scope)
functions = [v for k, v in scope.items() if k != "__builtins__" and callable(v)]
function = scope.get(job["function"]) or (functions[-1] if functions else None)
if function is None:
    sys.exit(4)
def plain(value):
    return list(map(plain, value)) if isinstance(value, (list, tuple)) else value
for arguments, expected in job["cases"]:
    got = plain(function(*arguments))
    if type(got) is bool or type(expected) is bool:
        same = got is expected
    else:
        same = got == expected
    if not same:
        sys.exit(5)
sys.stdout.write("PASSED")
"""


def passes(
    source: str,
    *,
    function: str,
    cases: Sequence[tuple[Sequence[Any], Any]],
    limits: SandboxLimits | None = None,
) -> bool:
    """Run a function of some source on cases, and tell whether it returned every expected value.

    Parameters
    ----------
    source
        Python source that defines functions.
    function
        The function's asked name; where the source defines no such name, its last function counts.
    cases
        Pairs of positional arguments and the expected value, JSON types.
    limits
        Time and memory.

    Returns
    -------
    bool
        False for a wrong value, an exception, a forbidden name, or a limit that was reached.
    """
    limits = limits or SandboxLimits()
    job = {
        "source": source,
        "function": function,
        "cases": [[list(arguments), expected] for arguments, expected in cases],
        "seconds": limits.seconds,
        "megabytes": limits.megabytes,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _WORKER],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=limits.seconds + 1,
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and done.stdout == "PASSED"
