"""Where a result came from: the command, the commit, the table, the seed, the versions."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "gymnasium", "stable-baselines3")


def provenance(
    *,
    argv: Sequence[str] | None = None,
    table_hash: str = "",
    seeds: Sequence[int] = (),
    extra: Sequence[str] = (),
) -> str:
    """Describe the running command so that its result can be made again.

    Parameters
    ----------
    argv
        Program and arguments; None means this process's own.
    table_hash
        Fingerprint of the outcome table that was read; empty if there was none.
    seeds
        Seeds that determine the result.
    extra
        Further lines, such as ``"resamples: 2000"``.

    Returns
    -------
    str
        ``name: value`` lines, the command first, with a final line break.
    """
    lines = [f"command: {command_line(sys.argv if argv is None else argv)}", f"commit: {commit()}"]
    if table_hash:
        lines.append(f"table: {table_hash}")
    if seeds:
        lines.append(f"seeds: {', '.join(str(seed) for seed in seeds)}")
    lines.extend(extra)
    lines.append(f"python: {platform.python_version()}")
    lines.extend(f"{name}: {version(name)}" for name in PACKAGES)
    return "\n".join(lines) + "\n"


def command_line(argv: Sequence[str]) -> str:
    """Write a command as typed in the repository's root, without the machine's own folders."""
    program = Path(argv[0]) if argv else Path("python")
    if program.is_absolute() and program.is_relative_to(REPOSITORY):
        program = program.relative_to(REPOSITORY)
    name = program.as_posix() if not program.is_absolute() else program.name
    interpreter = ["python"] if program.suffix == ".py" else []
    return shlex.join([*interpreter, name, *argv[1:]])


def commit(folder: Path = REPOSITORY) -> str:
    """Return the git commit, marked where files differ from it; "unknown" outside a clone."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head} with local changes" if changed else head


def source_hash(*folders: str) -> str:
    """Hash the Python files of some of the repository's folders: "has the code changed?"."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\x00")
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def allowed_cores() -> int | None:
    """Return how many cores this process may use; None where that is not known."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def version(package: str) -> str:
    """Return a package's installed version; "absent" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _git(folder: Path, *arguments: str) -> str:
    """Run one reading git command."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()
