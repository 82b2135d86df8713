"""Measure what a pool's operations cost on this machine: load, switch, merge, unmerge, decode."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.pool import PROBES
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.profile import OPERATIONS, PoolProfile, Timing
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec
from routing_gym.benchmark.provenance import command_line, commit, version
from routing_gym.scripts.command import run_command

PACKAGES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Config:
    """Settings of one measurement.

    Parameters
    ----------
    pool
        Name of a pool, or the path of a pool file.
    output
        JSON file of the profile; AdapterCache-v0 reads the default one.
    repeats
        How often each operation is timed; the median counts.
    tokens
        New tokens of a timed generation of one row; the time of the first one is taken off.
    threads
        CPU threads; 0 leaves it to torch.
    clock
        "wall", or "cpu" for the processor's seconds of one thread, which other work on the machine
        does not lengthen.
    """

    pool: str = "default"
    output: str = "results/pool/profile.json"
    repeats: int = 5
    tokens: int = 8
    threads: int = 1
    clock: Literal["wall", "cpu"] = "wall"

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("tokens", 2), ("threads", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")
        if self.clock == "cpu" and self.threads != 1:
            raise ValueError(f"clock='cpu' with threads={self.threads}: time one thread.")


def measure(config: Config) -> None:
    """Time every operation of every adapter and write the profile."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    spec = load_pool(config.pool)
    if config.clock == "cpu" and torch.cuda.is_available():
        raise ValueError("clock='cpu' would miss what the GPU does: take the wall's.")
    bench = Bench(spec.base_model, spec.adapters, tokens=config.tokens, cpu=config.clock == "cpu")
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in spec.names}
    # The first round warms caches up and is not counted.
    for turn in tqdm(range(config.repeats + 1), unit="round"):
        for adapter in spec.adapters:
            for operation, spent in bench.round(adapter).items():
                if turn > 0:
                    seconds[adapter.name].setdefault(operation, []).append(spent)
    provenance = {
        "command": command_line(sys.argv),
        "commit": commit(),
        "base_model": spec.base_model,
        "threads": torch.get_num_threads(),
        "clock": config.clock,
        "processor": platform.machine(),
        "device": str(bench.model.device),
        "python": platform.python_version(),
    } | {name: version(name) for name in PACKAGES}
    timings = {
        name: {
            operation: summary(found[operation]) for operation in OPERATIONS if operation in found
        }
        for name, found in seconds.items()
    }
    PoolProfile(timings, spec.fingerprint, provenance).save(config.output)
    for name, found in timings.items():
        print(name, {operation: round(timing.median, 4) for operation, timing in found.items()})


class Bench:
    """A pool's model on which operations are timed one by one.

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`.
    adapters
        The pool's arms; all are loaded, since an operation's cost grows with what is there.
    tokens
        New tokens of a timed generation, at least 2.
    cpu
        Count the process's seconds on the processor instead of the wall's.

    Raises
    ------
    ValueError
        If no arm of the pool has weights.
    """

    def __init__(
        self, base_model: str, adapters: Sequence[AdapterSpec], *, tokens: int, cpu: bool = False
    ) -> None:
        from peft import PeftModel

        weighted = [adapter for adapter in adapters if adapter.path is not None]
        if not weighted:
            raise ValueError("the pool has no adapter with weights: there is nothing to time.")
        self.tokens, self._now = tokens, time.process_time if cpu else time.perf_counter
        tokenizer: Any = load_tokenizer(base_model)
        self.model: Any = load_base_model(base_model)
        for adapter in weighted:
            if hasattr(self.model, "peft_config"):
                self.model.load_adapter(str(adapter.path), adapter_name=adapter.name)
            else:
                self.model = PeftModel.from_pretrained(
                    self.model, str(adapter.path), adapter_name=adapter.name
                ).eval()
        prompt = render_prompt(tokenizer, PROBES[0])
        self._prompt = tokenizer([prompt], return_tensors="pt", add_special_tokens=False).to(
            self.model.device
        )
        self._padding = tokenizer.pad_token_id
        self._others = {
            adapter.name: weighted[position - 1].name for position, adapter in enumerate(weighted)
        }

    def round(self, adapter: AdapterSpec) -> dict[str, float]:
        """Time each operation of one arm once.

        Returns
        -------
        dict of str to float
            Operation -> seconds (``decode`` per token); the base has ``decode`` alone.
        """
        if adapter.path is None:
            with self.model.disable_adapter():
                return {"decode": self._decode()}
        name, layers = adapter.name, self.model.base_model
        with warnings.catch_warnings():  # deleting the active adapter is what is meant here
            warnings.simplefilter("ignore")
            self.model.delete_adapter(name)
        spent = {"load": self._clock(lambda: self._load(adapter))}
        self.model.set_adapter(self._others[name])
        spent["switch"] = self._clock(lambda: self.model.set_adapter(name))
        spent["decode_unmerged"] = self._decode()
        spent["merge"] = self._clock(lambda: layers.merge_adapter([name], safe_merge=True))
        spent["decode"] = self._decode()
        spent["unmerge"] = self._clock(layers.unmerge_adapter)
        return spent

    def _load(self, adapter: AdapterSpec) -> None:
        """Read an adapter from disk into the model, where none of its name is."""
        self.model.load_adapter(str(adapter.path), adapter_name=adapter.name)

    def _decode(self) -> float:
        """Time one more token: a generation of many, less one of a single token."""
        first = self._clock(lambda: self._generate(1))
        return max(self._clock(lambda: self._generate(self.tokens)) - first, 0.0) / (
            self.tokens - 1
        )

    def _clock(self, work: Callable[[], Any]) -> float:
        """Return the seconds that something takes, the device's queue included."""
        import torch

        start = self._now()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._now() - start

    def _generate(self, tokens: int) -> None:
        """Generate exactly so many tokens greedily."""
        import torch

        with torch.inference_mode():
            self.model.generate(
                **self._prompt,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=self._padding,
            )


def summary(seconds: Sequence[float]) -> Timing:
    """Return median and quartiles of repeats, in seconds to the microsecond."""
    low, median, high = (round(float(q), 6) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Timing(median, low, high, len(seconds))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, measure, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
