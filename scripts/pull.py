"""Pull a pool, a bundle or an outcome table from the Hugging Face hub, or from a folder.

    python scripts/pull.py --kind pool --source hf://owner/name --target runs/pool
    python scripts/pull.py --kind bundle --source hf://owner/name@v1 --target bundles/theirs
    python scripts/pull.py --kind table --source hf://datasets/owner/name --target runs/table

Every file is verified against the hashes that it was pushed with; the target then appears whole,
or not at all. scripts/push.py is the way there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from routing_gym.adapters.pool_hub import POOL_FILE, pull_pool
from routing_gym.envs.table_hub import pull_table
from routing_gym.scripts.command import run_command
from routing_gym.serving.hub import pull_bundle


@dataclass(frozen=True)
class PullConfig:
    """Settings of the command.

    Parameters
    ----------
    kind
        What is pulled: pool, bundle or table.
    source
        Where from: hf://owner/name[@revision][/folder] for a pool or a bundle,
        hf://datasets/owner/name for a table, or a local folder.
    target
        Folder to write; replaced if it holds the same kind or nothing.
    """

    kind: Literal["pool", "bundle", "table"]
    source: str
    target: Path

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source='' is no place: give hf://owner/name or a folder.")


def pull(config: PullConfig) -> None:
    """Fetch, verify and tell how to use it."""
    if config.kind == "pool":
        spec = pull_pool(config.source, config.target)
        what = f"pool {spec.fingerprint[:12]} of {', '.join(spec.names)}"
        use = f"--pool {config.target / POOL_FILE}"
    elif config.kind == "bundle":
        manifest = pull_bundle(config.source, config.target)
        what = f"router {manifest.name!r}, version {manifest.version}"
        use = f"--bundle {config.target}"
    else:
        table = pull_table(config.source, config.target)
        what = f"table {table.fingerprint[:12]}: {len(table)} queries x {len(table.adapters)}"
        use = f"--table {config.target}"
    print(f"{what}\npulled: {config.target}; use it with {use}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(PullConfig, pull, description=__doc__, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
