"""Measure the memory of the pool against as many separate models, each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routing_gym.scripts.command import run_command

_PROBE = """
import gc, sys, psutil
from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool

import peft, torch, transformers
kind, file = sys.argv[1:]
spec = load_pool(file)
tokenizer = load_tokenizer(spec.base_model)
gc.collect()
before = psutil.Process().memory_info().rss
if kind == "separate":
    held = [load_base_model(spec.base_model) for _ in spec.names]
    for model in held:
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.0)  # a mapped file becomes memory of the process's own
else:
    held = AdapterPool(spec, nf4=kind == "pool_nf4")
    if kind == "pool":
        held.activate(spec.names[-1])
    for tensor in held.model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1.0)
gc.collect()
print((psutil.Process().memory_info().rss - before) / 1e6)
"""


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    pool
        Name of a pool, or the path of a pool file.
    output
        JSON file with ``pool_mb`` (base and adapters, one of them merged), ``pool_nf4_mb`` (base in
        NF4, adapters unmerged) and ``separate_models_mb`` (one full model per arm).
    """

    pool: str = "default"
    output: str = "results/pool/memory.json"


def measure(config: Config) -> None:
    """Load each arrangement in a fresh process and write the growth of its resident memory."""
    measured = {}
    for kind in ("pool", "pool_nf4", "separate"):
        name = "separate_models_mb" if kind == "separate" else f"{kind}_mb"
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, kind, config.pool],
            capture_output=True,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise ValueError(f"the memory of {kind!r} could not be measured: {reason}")
        measured[name] = round(float(done.stdout.split()[-1]), 1)
        print(f"{name}: {measured[name]:.0f}")
    path = Path(config.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, measure, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
