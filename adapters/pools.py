"""The pools by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from routing_gym.adapters.spec import PoolSpec

_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "pools"

POOLS: dict[str, str] = {
    "default": "default.yaml",
    "llama3": "llama3.yaml",
    "mistral": "mistral.yaml",
    "phi3": "phi3.yaml",
}
"""Pool name -> file in configs/pools."""


def load_pool(name: str) -> PoolSpec:
    """Read a pool by its name in `POOLS`, or by its file's path.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    FileNotFoundError
        If the file or an adapter's weights are missing.
    """
    if name in POOLS:
        return PoolSpec.from_yaml(_CONFIGS / POOLS[name])
    if name.endswith((".yaml", ".yml")):
        return PoolSpec.from_yaml(name)
    near = difflib.get_close_matches(name, POOLS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ", or give a path that ends in .yaml."
    raise ValueError(f"unknown pool {name!r}: known are {', '.join(POOLS)}{hint}")
