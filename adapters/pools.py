"""The pools by name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from routing_gym.adapters.spec import PoolSpec

if TYPE_CHECKING:
    from routing_gym.adapters.http_pool import HttpPool
    from routing_gym.adapters.pool import AdapterPool

_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "pools"

POOLS: dict[str, str] = {
    "default": "default.yaml",
    "llama3": "llama3.yaml",
    "mistral": "mistral.yaml",
    "phi3": "phi3.yaml",
    "vllm": "vllm.yaml",
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


def open_pool(spec: PoolSpec) -> AdapterPool | HttpPool:
    """Make a pool answer: at its server where it names one, else in this process.

    Parameters
    ----------
    spec
        The pool.

    Raises
    ------
    ModuleNotFoundError
        If an extra that the pool needs is not installed.
    OSError
        If the base model or the server is not available.
    ValueError
        If an adapter does not fit, changes nothing, or answers as the base or as another.
    """
    if spec.server is not None:
        from routing_gym.adapters.http_pool import HttpPool

        return HttpPool(spec)
    from routing_gym.adapters.pool import AdapterPool

    return AdapterPool(spec)
