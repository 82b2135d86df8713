"""What a bundle says about itself: ``manifest.json``, read strictly."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from routing_gym.serving.exploration import Exploration, Output

FORMAT = 1
MANIFEST_FILE = "manifest.json"
NEVER = 0.0  # a threshold that no confidence falls below
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEAL = "version"
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True)
class FileRecord:
    """A file's sha256 (64 hex digits) and its size in bytes."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256={self.sha256!r} is not 64 hex digits.")
        if self.bytes < 0:
            raise ValueError(f"bytes={self.bytes} is negative.")


@dataclass(frozen=True)
class EncoderPart:
    """One of the encoders that stand side by side.

    Parameters
    ----------
    kind
        What runs it: ``"transformer"``, ``"tfidf"``, ``"surface"``, ``"surface_kernel"`` or
        ``"position"``.
    name
        The encoder's own name, which identifies what it was fitted to.
    width
        Of its embeddings.
    max_tokens
        Tokens that it reads of a text; 0 means all.
    files
        Role (``"model"``, ``"tokenizer"``, ``"description"``, ``"arrays"``) -> file.
    """

    kind: str
    name: str
    width: int
    max_tokens: int = 0
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderRecord:
    """The encoder: its name as the table has it, D, the limit, the precision and the parts."""

    name: str
    width: int
    max_tokens: int
    precision: Literal["float32", "int8"]
    parts: tuple[EncoderPart, ...]

    def __post_init__(self) -> None:
        if not self.parts or sum(part.width for part in self.parts) != self.width:
            raise ValueError(
                f"encoder: the parts' widths {[part.width for part in self.parts]} do not sum to "
                f"width={self.width}."
            )


@dataclass(frozen=True)
class PolicyRecord:
    """What ``policy.onnx`` puts out, (N, width), and whether it wants to see the mask."""

    output: Output
    width: int
    masked: bool = False


@dataclass(frozen=True)
class FallbackRule:
    """When the best single adapter answers instead.

    Parameters
    ----------
    adapter
        Name of the best single adapter of the train split.
    threshold
        Below this confidence it is taken; 0 means never.
    slope, intercept
        confidence = sigmoid(slope x margin + intercept), margin = best minus second-best score.
    """

    adapter: str
    threshold: float = NEVER
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class TrainingStatistics:
    """What the policy prefers on its train split, for detecting drift.

    Parameters
    ----------
    arm_shares
        (K,), share of the train queries on which the policy, deciding greedily, takes each adapter.
    embedding_mean
        (D,), of the train queries.
    embedding_spread
        Root of the mean squared distance of a train query's embedding from that mean.
    queries
        N of the train split.
    """

    arm_shares: tuple[float, ...]
    embedding_mean: tuple[float, ...]
    embedding_spread: float
    queries: int


@dataclass(frozen=True)
class BundleManifest:
    """Everything that binds a bundle: pool, table, encoder, policy and files.

    Parameters
    ----------
    name
        Of the policy, as in ``model="router:<name>"``.
    agent, feedback
        The agent's registry name and what its training saw.
    adapters
        K names; the position is the action id.
    adapter_hashes
        Name -> sha256 of the weights; "" for the base model.
    pool_fingerprint, base_model, table
        The pool, the base model and the outcome table's fingerprint.
    encoder, policy
        See `EncoderRecord` and `PolicyRecord`.
    temperature
        At which a softmax of the scores foretells the best adapter of validation queries best.
    exploration
        How the server explores unless it is told otherwise.
    fallback
        See `FallbackRule`.
    training
        See `TrainingStatistics`.
    reward
        Weights of the scores that the policy was trained on.
    test
        Figure -> number, or {"value", "low", "high"}: measured on the test split.
    agreement
        Figure -> number: how well the export reproduces agent and encoder.
    created
        UTC time of the export, ISO 8601; no part of the version.
    versions
        Package -> version at export.
    files
        Name -> sha256 and size, of every other file of the folder.
    format
        Of this schema.

    Raises
    ------
    ValueError
        If entries contradict each other.
    """

    name: str
    agent: str
    feedback: str
    adapters: tuple[str, ...]
    adapter_hashes: dict[str, str]
    pool_fingerprint: str
    base_model: str
    table: str
    encoder: EncoderRecord
    policy: PolicyRecord
    temperature: float
    exploration: Exploration
    fallback: FallbackRule
    training: TrainingStatistics
    reward: dict[str, float]
    test: dict[str, Any]
    agreement: dict[str, float]
    created: str
    versions: dict[str, str]
    files: dict[str, FileRecord]
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(
                f"format {self.format} is not {FORMAT}, the one that this version reads: export "
                "the policy again."
            )
        k = len(self.adapters)
        if k < 2 or len(set(self.adapters)) < k or "" in self.adapters:
            raise ValueError(f"adapters={self.adapters!r} must be at least two different names.")
        if set(self.adapter_hashes) != set(self.adapters):
            raise ValueError("adapter_hashes does not name the same adapters as adapters.")
        if self.fallback.adapter not in self.adapters:
            raise ValueError(f"fallback.adapter={self.fallback.adapter!r} is none of the adapters.")
        if (self.policy.width, len(self.training.arm_shares)) != (k, k):
            raise ValueError(f"policy.width and training.arm_shares do not fit {k} adapters.")
        if len(self.training.embedding_mean) != self.encoder.width:
            raise ValueError("training.embedding_mean does not have the encoder's width.")
        for name in self.files:
            if not _FILE_NAME.fullmatch(name) or name == MANIFEST_FILE:
                raise ValueError(f"files: {name!r} is no name of a file beside the manifest.")

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of the sha256 of the canonical manifest without ``created``."""
        content = {key: value for key, value in self.as_dict().items() if key != "created"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    def to_json(self) -> str:
        """Return the text of ``manifest.json``, with the version as a seal."""
        content = self.as_dict() | {_SEAL: self.version}
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BundleManifest:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If it is not JSON, an entry is missing, unknown or of another type, of another format
            (the entry is named), or was changed after it was written.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{MANIFEST_FILE} is not JSON ({error}).") from error
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError(f"{MANIFEST_FILE} is no bundle's manifest: it has no 'format'.")
        if content["format"] != FORMAT:
            raise ValueError(
                f"{MANIFEST_FILE} has format {content['format']!r}, this version reads {FORMAT}: "
                "export the policy again."
            )
        seal = content.pop(_SEAL, None)
        try:
            manifest = _build(cls, content, place="manifest")
        except ValueError as error:
            raise ValueError(f"{MANIFEST_FILE}: {error}") from error
        if seal != manifest.version:
            raise ValueError(
                f"{MANIFEST_FILE} says that it is version {seal!r}, its content is "
                f"{manifest.version!r}: it was changed by hand or by accident; export again."
            )
        return manifest


def _build(cls: type[T], content: Any, *, place: str) -> T:
    """Make a dataclass of JSON values, strictly: no key too many, none too few, no other type."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} is {type(content).__name__}, not an object.")
    hints = get_type_hints(cls)
    known = [entry.name for entry in fields(cls)]  # type: ignore[arg-type]
    for key in content:
        if key not in known:
            raise ValueError(f"{place}.{key} is unknown to this version.")
    for key in known:
        if key not in content:
            raise ValueError(f"{place}.{key} is missing.")
    return cls(**{key: _value(hints[key], content[key], place=f"{place}.{key}") for key in known})


def _value(hint: Any, value: Any, *, place: str) -> Any:
    """Check one JSON value against a type and return it as that type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return _build(hint, value, place=place)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], item, place=f"{place}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(inner[1], item, place=f"{place}.{key}") for key, item in value.items()}
    if origin is Literal and value in inner:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ValueError(f"{place}={value!r} is not {getattr(hint, '__name__', hint)}.")
