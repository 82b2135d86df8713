"""A trained agent and its encoder become a bundle, and only if both decide as they did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.embedding import QueryEncoder
from routing_gym.adapters.encoder_onnx import Precision
from routing_gym.agents.agent import Agent
from routing_gym.agents.onnx_policy import OnnxPolicy, policy_to_onnx
from routing_gym.benchmark.evaluation import Yardstick, measure
from routing_gym.benchmark.provenance import version
from routing_gym.benchmark.runs import Splits
from routing_gym.envs.data import RoutingData
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_files import (
    BUNDLE,
    CARD_FILE,
    POLICY_FILE,
    Golden,
    write_bundle,
)
from routing_gym.serving.bundle_manifest import (
    NEVER,
    BundleManifest,
    FallbackRule,
    PolicyRecord,
    TrainingStatistics,
)
from routing_gym.serving.confidence import Calibration, calibrate, confidences, margins
from routing_gym.serving.encoder_export import EncoderFiles, export_parts
from routing_gym.serving.exploration import Exploration, ExplorationKind
from routing_gym.serving.export_agreement import (
    policy_agreement,
    policy_scores,
    precision_agreement,
    text_agreement,
)
from routing_gym.serving.model_card import CardFacts, model_card
from routing_gym.serving.onnx_encoder import BundleEncoder

PACKAGES = ("numpy", "onnx", "onnxruntime", "tokenizers", "torch", "transformers")
_GOLDEN = 16
_FIGURES = ("reward", "accuracy", "reward_gap_closed", "tie_set_differ", "tie_set_all")


@dataclass(frozen=True)
class ExportSource:
    """A trained agent and all that it was trained on.

    Parameters
    ----------
    agent
        Trained, with the metadata of its run.
    encoder
        Made the observations; fitted.
    splits
        As the agent saw them.
    texts
        ``"validation"`` and ``"test"`` -> the texts of these splits.
    adapter_hashes
        Name -> sha256 of the adapter's weights; empty text for the base model.
    """

    agent: Agent
    encoder: QueryEncoder
    splits: Splits
    texts: Mapping[str, Sequence[str]]
    adapter_hashes: Mapping[str, str]


@dataclass(frozen=True)
class ExportOptions:
    """How a bundle is to behave.

    Parameters
    ----------
    name
        Of the policy; empty takes the agent's.
    precision
        Of the encoder.
    exploration, epsilon
        See `Exploration`.
    temperature
        Of the exploration ``"softmax"``; 0 takes the one that is fitted on validation.
    fallback
        Whether the best single adapter answers below the fitted confidence.
    resamples
        Of the bootstrap behind the intervals.
    """

    name: str = ""
    precision: Precision = "float32"
    exploration: ExplorationKind = "greedy"
    epsilon: float = 0.0
    temperature: float = 0.0
    fallback: bool = True
    resamples: int = 2000


@dataclass(frozen=True)
class _Verified:
    """What agrees with the original: policy, encoder, the figures, and the test embeddings."""

    policy: OnnxPolicy
    encoder: EncoderFiles
    figures: dict[str, float]
    test: np.ndarray


def export_bundle(
    source: ExportSource, folder: Path | str, options: ExportOptions | None = None
) -> PolicyBundle:
    """Export, verify against the original on the whole test split, and write a bundle.

    Parameters
    ----------
    source
        What to export.
    folder
        Replaced if it holds a bundle or nothing.
    options
        None takes the defaults.

    Returns
    -------
    PolicyBundle
        Loaded again from the folder, and thereby verified once more.

    Raises
    ------
    ValueError
        If the agent or the encoder cannot be exported, the export decides otherwise than the
        original on any test query, or the folder holds anything else. Nothing is written then.
    """
    options, folder = options or ExportOptions(), Path(folder)
    BUNDLE.check_replaceable(folder)
    verified = _verify(source, options.precision)
    encoder = BundleEncoder(verified.encoder.record, verified.encoder.files)
    held_out = encoder.encode(source.texts["validation"])
    scores, rewards = policy_scores(verified.policy, held_out), source.splits.validation.rewards
    calibration = calibrate(
        scores,
        rewards,
        output=verified.policy.kind,
        adapters=source.agent.adapters,
        best_single=int(source.splits.train.rewards.mean(axis=0, dtype=np.float64).argmax()),
    )
    manifest = _manifest(source, options, verified, calibration)
    facts = CardFacts(
        options=_plain(source.agent.config),
        validation={
            "reward": calibration.reward,
            "reward_with_fallback": calibration.reward_with_fallback,
            "fallback_share": calibration.fallback_share,
        },
        queries={
            name: len(getattr(source.splits, name)) for name in ("train", "validation", "test")
        },
    )
    files = {POLICY_FILE: verified.policy.content, CARD_FILE: model_card(manifest, facts).encode()}
    files |= verified.encoder.files
    golden = _golden(source, held_out, margins(scores, output=verified.policy.kind))
    write_bundle(folder, manifest, files | golden.files())
    return PolicyBundle.load(folder)


def training_statistics(policy: OnnxPolicy, train: RoutingData) -> TrainingStatistics:
    """Summarise what a policy sees and does on its train split.

    Parameters
    ----------
    policy
        The exported policy.
    train
        The split, with the observations of training.
    """
    rows = np.asarray(train.observations, dtype=np.float32)
    greedy = Exploration().apply(policy_scores(policy, rows), output=policy.kind)
    mean = rows.mean(axis=0, dtype=np.float64)
    return TrainingStatistics(
        arm_shares=tuple(greedy.mean(axis=0).tolist()),
        embedding_mean=tuple(mean.tolist()),
        embedding_spread=float(np.sqrt(np.square(rows - mean).sum(axis=1).mean())),
        queries=len(rows),
    )


def _verify(source: ExportSource, precision: Precision) -> _Verified:
    """Export agent and encoder and compare both with the originals on the test split."""
    agent, test = source.agent, source.splits.test
    policy, texts = policy_to_onnx(agent), list(source.texts["test"])
    figures = policy_agreement(agent, policy, test)
    files = export_parts(source.encoder)
    embedded = BundleEncoder(files.record, files.files).encode(texts)
    original = np.asarray(source.encoder.encode(texts), dtype=np.float32)
    figures |= text_agreement(
        agent, policy, exported=embedded, original=original, stored=test.observations
    )
    if precision != "float32":
        files = export_parts(source.encoder, precision=precision)
        reduced = BundleEncoder(files.record, files.files).encode(texts)
        figures |= precision_agreement(
            policy, reduced=reduced, full=embedded, rewards=test.rewards, label=precision
        )
        embedded = reduced
    return _Verified(policy, files, figures, embedded)


def _manifest(
    source: ExportSource, options: ExportOptions, verified: _Verified, calibration: Calibration
) -> BundleManifest:
    """Describe everything but the files."""
    agent, metadata, policy = source.agent, source.agent.metadata, verified.policy
    rule = calibration.rule
    if not options.fallback:
        rule = FallbackRule(rule.adapter, NEVER, rule.slope, rule.intercept)
    temperature = options.temperature or calibration.temperature
    return BundleManifest(
        name=options.name or agent.name,
        agent=agent.name,
        feedback=agent.feedback,
        adapters=agent.adapters,
        adapter_hashes={name: source.adapter_hashes.get(name, "") for name in agent.adapters},
        pool_fingerprint=str(metadata.get("pool_fingerprint", "")),
        base_model=str(metadata.get("base_model", "")),
        table=str(metadata.get("table", "")),
        encoder=verified.encoder.record,
        policy=PolicyRecord(policy.kind, len(agent.adapters), policy.masked),
        temperature=calibration.temperature,
        exploration=Exploration(options.exploration, options.epsilon, temperature),
        fallback=rule,
        training=training_statistics(policy, source.splits.train),
        reward={name: float(weight) for name, weight in metadata.get("reward", {}).items()},
        test=_test_figures(source.splits, verified, rule, resamples=options.resamples),
        agreement=verified.figures,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions={name: version(name) for name in PACKAGES},
        files={},
    )


def _test_figures(
    splits: Splits, verified: _Verified, rule: FallbackRule, *, resamples: int
) -> dict[str, Any]:
    """Measure what the bundle decides from the test split's texts."""
    scores, output = policy_scores(verified.policy, verified.test), verified.policy.kind
    greedy = Exploration().apply(scores, output=output).argmax(axis=1)
    doubtful = confidences(margins(scores, output=output), rule) < rule.threshold
    actions = np.where(doubtful, splits.test.adapters.index(rule.adapter), greedy)
    yardstick = Yardstick.from_splits(splits.test, train=splits.train)
    bootstrap = yardstick.bootstrap(resamples=resamples)
    row = measure(actions, yardstick, bootstrap=bootstrap, agent="bundle")
    plain = measure(greedy, yardstick, bootstrap=bootstrap, agent="bundle")
    figures: dict[str, Any] = {name: _interval(getattr(row, name)) for name in _FIGURES}
    figures |= {
        f"{name}_without_fallback": _interval(getattr(plain, name)) for name in _FIGURES[:2]
    }
    figures |= {"regret": row.regret, "entropy": row.entropy}
    figures |= {"fallback_share": float(doubtful.mean()), "queries": len(actions)}
    return figures | {name: float(value) for name, value in yardstick.references.items()}


def _golden(source: ExportSource, embeddings: np.ndarray, margin: np.ndarray) -> Golden:
    """Pick validation queries on which no rounding decides, and ask the agent itself."""
    clear = np.flatnonzero(margin >= np.quantile(margin, 0.25))
    rows = clear[np.unique(np.linspace(0, len(clear) - 1, _GOLDEN).round().astype(int))]
    probabilities = source.agent.probabilities(embeddings[rows])
    return Golden(
        texts=tuple(source.texts["validation"][row] for row in rows),
        embeddings=embeddings[rows],
        probabilities=probabilities,
        actions=probabilities.argmax(axis=1).astype(np.int64),
    )


def _interval(interval: Any) -> dict[str, float]:
    """Turn an interval into JSON values."""
    return {part: float(getattr(interval, part)) for part in ("value", "low", "high")}


def _plain(config: Any) -> dict[str, Any]:
    """Turn an agent's configuration into JSON values."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return content
