"""Push a pool, a bundle, an outcome table or a Space to the Hugging Face hub, or to a folder.

    python scripts/push.py --kind pool --source default --target hf://owner/name
    python scripts/push.py --kind bundle --source bundles/ppo --target hf://owner/name
    python scripts/push.py --kind table --source results/table --target hf://datasets/owner/name
    python scripts/push.py --kind space --source bundles/ppo --target hf://spaces/owner/name

A repository that does not exist is made, private unless --private false. What is not intact is not
pushed, and files of others stay. scripts/pull.py is the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from routing_gym.adapters.pool_hub import push_pool
from routing_gym.adapters.pools import load_pool
from routing_gym.envs.table import DEFAULT_TABLE
from routing_gym.envs.table_hub import push_table
from routing_gym.scripts.command import run_command
from routing_gym.scripts.space import push_space
from routing_gym.serving.hub import push_bundle

_SOURCES = {
    "pool": "default",
    "bundle": "bundles/ppo",
    "table": str(DEFAULT_TABLE),
    "space": "bundles/ppo",
}


@dataclass(frozen=True)
class PushConfig:
    """Settings of the command.

    Parameters
    ----------
    kind
        What is pushed: pool, bundle, table or space.
    target
        Where to: hf://owner/name[@revision][/folder] for a pool or a bundle,
        hf://datasets/owner/name for a table, hf://spaces/owner/name for a Space, or a local folder.
    source
        A pool's registered name or file, or the folder of the bundle or table; for a Space the
        folder of the bundle that it serves. Empty takes the embedded pool or table, or bundles/ppo.
    pool
        Of a Space: registered name or file of the pool that answers.
    licence
        Of a pool or a table, as the hub names it.
    private
        Whether a repository that is made is private.
    """

    kind: Literal["pool", "bundle", "table", "space"]
    target: str
    source: str = ""
    pool: str = "default"
    licence: str = "mit"
    private: bool = True

    def __post_init__(self) -> None:
        if not self.target:
            raise ValueError("target='' is no place: give hf://owner/name or a folder.")


def push(config: PushConfig) -> None:
    """Verify, push and tell."""
    source, target, private = config.source or _SOURCES[config.kind], config.target, config.private
    if config.kind == "pool":
        spec = push_pool(load_pool(source), target, licence=config.licence, private=private)
        what = f"pool {spec.fingerprint[:12]} of {', '.join(spec.names)}"
    elif config.kind == "bundle":
        manifest = push_bundle(source, target, private=private)
        what = f"router {manifest.name!r}, version {manifest.version}"
    elif config.kind == "table":
        table = push_table(source, target, licence=config.licence, private=private)
        what = f"table {table.fingerprint[:12]}: {len(table)} queries x {len(table.adapters)}"
    else:
        bundle = push_space(Path(source), load_pool(config.pool), target, private=private)
        what = f"space with router {bundle.name!r}, version {bundle.version}"
    print(f"{what}\npushed: {target}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(PushConfig, push, description=__doc__, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
