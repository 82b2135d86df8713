"""What a pool's operations cost on a machine: measured seconds, with their spread, in one file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing_gym.adapters.spec import BASE

DEFAULT_PROFILE = Path(__file__).resolve().parents[1] / "results" / "pool" / "profile.json"
"""The profile of the embedded pool."""
OPERATIONS = ("load", "switch", "merge", "unmerge", "decode", "decode_unmerged")
"""What is timed, in seconds each: reading an adapter from disk into the model; making a loaded
adapter the active one; merging it into the base weights; taking it out again; writing one token
with the adapter merged (or with the base alone); writing one token with it active, not merged."""
SWAP = ("load", "switch")
"""The operations that a query pays for whose adapter is not in memory."""
_REMEDY = "measure it with scripts/measure_pool_costs.py"


@dataclass(frozen=True)
class Timing:
    """Seconds of one operation over its repeats.

    Parameters
    ----------
    median, low, high
        Median and quartiles, in seconds, 0 <= low <= median <= high.
    repeats
        How often it was timed, at least 1.

    Raises
    ------
    ValueError
        If the numbers are not finite and in order, or there was no repeat.
    """

    median: float
    low: float
    high: float
    repeats: int

    def __post_init__(self) -> None:
        ordered = 0 <= self.low <= self.median <= self.high < math.inf
        if not ordered or self.repeats < 1:
            raise ValueError(
                f"median={self.median}, low={self.low}, high={self.high}, repeats={self.repeats} "
                "must satisfy 0 <= low <= median <= high < inf and repeats >= 1."
            )


@dataclass(frozen=True)
class PoolProfile:
    """The measured costs of a pool's operations.

    Parameters
    ----------
    timings
        Adapter -> operation (of `OPERATIONS`) -> its timing. The base has ``decode`` alone.
    pool_fingerprint
        Of the pool that was measured; see `routing_gym.adapters.spec.PoolSpec.fingerprint`.
    provenance
        Where and how it was measured: name -> value.

    Raises
    ------
    ValueError
        If an operation is unknown.
    """

    timings: Mapping[str, Mapping[str, Timing]]
    pool_fingerprint: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for adapter, operations in self.timings.items():
            unknown = sorted(set(operations) - set(OPERATIONS))
            if unknown:
                raise ValueError(
                    f"adapter {adapter!r}: unknown operation {unknown[0]!r}; known are "
                    f"{', '.join(OPERATIONS)}."
                )

    def seconds(self, adapter: str, *operations: str) -> float:
        """Return the summed median seconds of some operations of an adapter.

        Raises
        ------
        ValueError
            If the adapter or an operation of it was not measured.
        """
        if adapter not in self.timings:
            raise ValueError(
                f"the pool's profile has no adapter {adapter!r} (it has "
                f"{', '.join(self.timings)}): {_REMEDY} for the pool that made this table, or "
                "give the seconds themselves, adapter -> seconds."
            )
        measured = self.timings[adapter]
        for operation in operations:
            if operation not in measured:
                raise ValueError(
                    f"the pool's profile has no {operation!r} of adapter {adapter!r} (it has "
                    f"{', '.join(measured)}): {_REMEDY}."
                )
        return sum(measured[operation].median for operation in operations)

    def swap_seconds(self, adapters: Sequence[str]) -> dict[str, float]:
        """Return what it takes to bring each adapter into memory and make it active, in seconds.

        The base takes nothing: every adapter sits on top of it.

        Raises
        ------
        ValueError
            If an adapter was not measured.
        """
        return {name: 0.0 if name == BASE else self.seconds(name, *SWAP) for name in adapters}

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON; the folder is made if it does not exist."""
        content = {
            "pool": self.pool_fingerprint,
            "unit": "seconds",
            "adapters": {
                adapter: {name: vars(timing) for name, timing in operations.items()}
                for adapter, operations in self.timings.items()
            },
            "provenance": dict(self.provenance),
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path = DEFAULT_PROFILE) -> PoolProfile:
        """Read a profile.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"the pool's profile {path} does not exist: {_REMEDY}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            timings = {
                adapter: {name: Timing(**numbers) for name, numbers in operations.items()}
                for adapter, operations in content["adapters"].items()
            }
            return cls(timings, str(content["pool"]), content["provenance"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the pool's profile {path} is damaged ({error!r}): {_REMEDY}."
            ) from error
