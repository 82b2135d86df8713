"""The manifest of an outcome table: what its columns mean and where its numbers came from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from routing_gym.envs.errors import TableError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_REMEDY = "repair the manifest, or save the table again with OutcomeTable.save"


@dataclass(frozen=True)
class AdapterRecord:
    """One arm of the table.

    Parameters
    ----------
    name
        The adapter's name; its position in the manifest is the action id.
    sha256
        Hash of the adapter's weights; empty where there are none (the base, an outside model).
    """

    name: str
    sha256: str = ""


@dataclass(frozen=True)
class MetricRecord:
    """What one score column means.

    Parameters
    ----------
    direction
        ``"higher"`` or ``"lower"`` is better.
    role
        ``"score"`` from the self-evaluator, ``"truth"`` from a verifier, ``"cost"`` measured.
    low, high
        The range of the column, within [0, 1].

    Raises
    ------
    ValueError
        If the range is not 0 <= low < high <= 1, or direction or role is unknown.
    """

    direction: Literal["higher", "lower"] = "higher"
    role: Literal["score", "truth", "cost"] = "score"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.direction not in ("higher", "lower"):
            raise ValueError(f"direction={self.direction!r} must be 'higher' or 'lower'.")
        if self.role not in ("score", "truth", "cost"):
            raise ValueError(f"role={self.role!r} must be 'score', 'truth' or 'cost'.")
        if not (math.isfinite(self.low) and 0 <= self.low < self.high <= 1):
            raise ValueError(
                f"low={self.low}, high={self.high} must satisfy 0 <= low < high <= 1: "
                "scale the metric to [0, 1] before it enters a table."
            )


@dataclass(frozen=True)
class Manifest:
    """Everything about a table that is not a row.

    Parameters
    ----------
    adapters
        The arms in the order of their action ids.
    metrics
        Score name -> its meaning; ``accuracy`` is always there.
    base_model, encoder
        Ids of the model behind the adapters and of the model behind the embeddings.
    pool_fingerprint
        The fingerprint of the adapter pool that produced the outcomes; empty if there is none.
    generation, seeds, versions
        Settings of the collection, seeds, and package versions; JSON values only.
    files
        File name -> sha256 of its bytes; written by ``save``, empty for a table in memory.
    schema_version
        Version of this layout.

    Raises
    ------
    ValueError
        If adapters are fewer than two, unnamed or doubled, or ``accuracy`` is missing.
    """

    adapters: tuple[AdapterRecord, ...]
    metrics: Mapping[str, MetricRecord]
    base_model: str = ""
    encoder: str = ""
    pool_fingerprint: str = ""
    generation: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        names = self.adapter_names
        if len(names) < 2 or len(set(names)) < len(names) or "" in names:
            raise ValueError(f"adapters={names} must be at least two different, non-empty names.")
        if "accuracy" not in self.metrics:
            raise ValueError(
                f"metrics={sorted(self.metrics)} lack 'accuracy', the verified correctness: "
                "every table holds it, because every agent is evaluated on it."
            )
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version={self.schema_version} is not {SCHEMA_VERSION}, the one that "
                "this version of routing-gym reads: upgrade the package or the table."
            )

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """The adapters' names in the order of their action ids, length K."""
        return tuple(record.name for record in self.adapters)

    def to_json(self) -> str:
        """Write as indented JSON with a stable order of keys."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what ``to_json`` wrote, or what another tool wrote in its layout.

        Raises
        ------
        TableError
            If the text is not JSON, or a field is missing, unknown or invalid.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise TableError(MANIFEST, f"is not JSON ({error})", _REMEDY) from error
        if not isinstance(content, dict):
            raise TableError(MANIFEST, "is not a JSON object", _REMEDY)
        known = {spec.name for spec in dataclasses.fields(cls)}
        missing = [name for name in ("adapters", "metrics", "files") if name not in content]
        if missing:
            raise TableError(MANIFEST, f"lacks the field {missing[0]!r}", _REMEDY)
        if unknown := sorted(set(content) - known):
            raise TableError(
                MANIFEST, f"has the unknown field {unknown[0]!r}", f"known are {sorted(known)}"
            )
        try:
            adapters = tuple(AdapterRecord(**entry) for entry in content.pop("adapters"))
            metrics = {k: MetricRecord(**v) for k, v in content.pop("metrics").items()}
            return cls(adapters=adapters, metrics=metrics, **content)
        except (TypeError, ValueError, AttributeError) as error:
            fault = f"has an invalid entry ({str(error).rstrip('.')})"
            raise TableError(MANIFEST, fault, _REMEDY) from error
