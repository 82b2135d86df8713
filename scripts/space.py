"""A Space of the Hugging Face hub: the folder `deploy/space` and what its Dockerfile copies."""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Collection
from pathlib import Path

from routing_gym.adapters.file_manifest import FileManifest
from routing_gym.adapters.hub import push_folder
from routing_gym.adapters.hub_layout import Layout
from routing_gym.adapters.pool_hub import verify_pool, write_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.scripts.command import REPOSITORY
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import BUNDLE

TEMPLATE = REPOSITORY / "deploy" / "space"
PACKAGE, BUNDLE_FOLDER, POOL_FOLDER = "package", "bundle", "pool"
_RENAMED = {"gitattributes": ".gitattributes"}  # in this repository it would be in force
_BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_SOURCES = (".py", ".typed", ".txt", ".yaml")
_LEFT_OUT = Path("adapters", "weights")  # the adapters are in the pool


def push_space(
    bundle: Path, spec: PoolSpec, target: Path | str, *, private: bool = True
) -> PolicyBundle:
    """Put a Space together and copy it to the hub, or to a folder that can be pushed as it is.

    Parameters
    ----------
    bundle
        Folder of the policy that it serves.
    spec
        The pool that answers.
    target
        ``hf://spaces/owner/name``, or a local folder; see `routing_gym.adapters.hub.push_folder`.
    private
        Whether a Space that is made is private.

    Returns
    -------
    PolicyBundle
        The policy.

    Raises
    ------
    FileNotFoundError, ValueError
        If the bundle or the pool is not intact, they do not belong together, or the target holds
        anything else.
    OSError, ImportError
        If the hub cannot be used.
    """
    return push_folder(
        lambda folder: write_space(bundle, spec, folder),
        target,
        layout=SPACE,
        message="Routing Gym",
        private=private,
    )


def write_space(bundle: Path, spec: PoolSpec, folder: Path) -> None:
    """Write a Space's files into an empty folder; parameters as in `push_space`."""
    for file in TEMPLATE.iterdir():
        shutil.copyfile(file, folder / _RENAMED.get(file.name, file.name))
    shutil.copyfile(REPOSITORY / "constraints.txt", folder / "constraints.txt")
    for place in (PACKAGE, BUNDLE_FOLDER, POOL_FOLDER):
        (folder / place).mkdir()
    for source in package_files():
        target = folder / PACKAGE / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / source, target)
    BUNDLE.copy(bundle, folder / BUNDLE_FOLDER)
    write_pool(spec, folder / POOL_FOLDER)
    FileManifest.of(folder, SPACE.noun).write(folder)


def package_files() -> list[Path]:
    """List what the package is installed from, relative to the repository: sources and weights."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    names = setup["options"]["packages"].split()
    files = [Path(name) for name in _BUILD_FILES]
    for folder in sorted({name.split(".")[1] for name in names}):
        files += [
            path.relative_to(REPOSITORY)
            for path in sorted((REPOSITORY / folder).rglob("*"))
            if path.is_file() and (path.suffix in _SOURCES or "weights" in path.parts)
        ]
    return [file for file in files if not file.is_relative_to(_LEFT_OUT)]


def verify_space(folder: Path) -> PolicyBundle:
    """Verify the files of a Space, its policy and its pool, and that they belong together.

    Parameters
    ----------
    folder
        What `write_space` wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        If anything is missing, edited, or does not fit.
    """
    FileManifest.read(folder, SPACE.noun).verify(folder)
    pool = verify_pool(folder / POOL_FOLDER)
    bundle = PolicyBundle.load(folder / BUNDLE_FOLDER)
    bundle.check_pool(pool.names, pool.fingerprint)
    return bundle


def _listed(folder: Path) -> Collection[str]:
    """Name the files of a Space by its manifest."""
    return FileManifest.read(folder, SPACE.noun).files


SPACE: Layout[PolicyBundle] = Layout("space", "space", _listed, verify_space)
