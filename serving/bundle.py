"""A policy in production: one folder that is verified, then decides without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.agents.policy import full_mask, one_hot
from routing_gym.serving.bundle_files import POLICY_FILE, Golden, read_files, read_manifest
from routing_gym.serving.bundle_manifest import BundleManifest
from routing_gym.serving.confidence import confidences, margins
from routing_gym.serving.exploration import Exploration, draw
from routing_gym.serving.onnx_encoder import BundleEncoder
from routing_gym.serving.onnx_session import open_session
from routing_gym.serving.single_decision import decide_single

# how far an embedding may be from its golden one on another machine; 8 bits round differently
# where a processor lacks the instructions for them
EMBEDDING_TOLERANCE = {"float32": 1e-4, "int8": 5e-2}
PROBABILITY_TOLERANCE = 1e-5


@dataclass(frozen=True)
class RoutedDecision:
    """Chosen adapters and all that a log should know about the choice.

    Parameters
    ----------
    actions
        int64 (N,), adapter indices.
    probabilities
        float64 (N, K), rows sum to 1: the exact distributions after mask and exploration. The row
        of a fallback keeps the distribution that its adapter would have been drawn from.
    confidences
        float64 (N,), in [0, 1]: the calibrated probability that the policy's choice earns at least
        what the best single adapter would.
    fallbacks
        bool (N,), True where the best single adapter replaced the policy's choice. It depends on
        the query alone, not on the draw.
    greedy
        int64 (N,), what the policy itself prefers among all adapters, before mask, exploration and
        fallback: what its choices in training are compared with.
    adapters
        K names.
    """

    actions: np.ndarray
    probabilities: np.ndarray
    confidences: np.ndarray
    fallbacks: np.ndarray
    greedy: np.ndarray
    adapters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def names(self) -> tuple[str, ...]:
        """The chosen adapters' names, length N."""
        return tuple(self.adapters[action] for action in self.actions)

    @property
    def propensities(self) -> np.ndarray:
        """float64 (N,): each chosen adapter's probability; for a fallback it may be 0."""
        return np.asarray(self.probabilities[np.arange(len(self.actions)), self.actions])


class PolicyBundle:
    """A verified bundle, ready to decide; safe to use from several threads at once.

    Make one with `load`.

    Parameters
    ----------
    manifest
        What the bundle says about itself.
    encoder
        Turns texts into embeddings.
    policy
        A session of ``policy.onnx``.

    Attributes
    ----------
    adapters
        K names; the position is the action id.
    version
        Of the policy: 12 hex digits that change with anything but the time of export.
    name
        Of the policy.
    """

    def __init__(self, manifest: BundleManifest, encoder: BundleEncoder, policy: Any) -> None:
        self.manifest, self.encoder, self._policy = manifest, encoder, policy
        self.adapters, self.version, self.name = manifest.adapters, manifest.version, manifest.name
        self._fallback = manifest.adapters.index(manifest.fallback.adapter)

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 1, verify: bool = True) -> PolicyBundle:
        """Read, verify and start a bundle.

        Parameters
        ----------
        path
            What ``scripts/export_policy.py`` wrote.
        threads
            Of the encoder, at least 1.
        verify
            Whether to check sizes and hashes and to replay the golden inputs; without it only what
            cannot run is refused.

        Raises
        ------
        FileNotFoundError
            If the folder holds no bundle.
        ValueError
            If a file is missing, unknown or changed, or the bundle does not compute what it did
            when it was exported.
        ImportError
            If the extra is not installed.
        """
        if threads < 1:
            raise ValueError(f"threads={threads} is too small: give at least 1.")
        folder = Path(path)
        manifest = read_manifest(folder)
        files = read_files(folder, manifest, verify=verify)
        policy = open_session(files[POLICY_FILE], file=POLICY_FILE)
        bundle = cls(manifest, BundleEncoder(manifest.encoder, files, threads=threads), policy)
        bundle._check_policy()
        if verify:
            bundle.replay(Golden.read(files))
        return bundle

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D).

        Raises
        ------
        ValueError
            If the texts are one text, or no texts.
        """
        return self.encoder.encode(texts)

    def decide(
        self,
        texts: Sequence[str],
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
        exploration: Exploration | None = None,
    ) -> RoutedDecision:
        """Choose one adapter per text.

        Parameters
        ----------
        texts
            N texts.
        rng
            Draws the adapters; None takes each text's most probable one.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
        exploration
            None takes the manifest's.

        Raises
        ------
        ValueError
            If a text is none, or the mask has another shape or forbids every adapter of a text.
        """
        return self.decide_embedded(self.encode(texts), rng=rng, mask=mask, exploration=exploration)

    def decide_embedded(
        self,
        embeddings: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
        exploration: Exploration | None = None,
    ) -> RoutedDecision:
        """Choose one adapter per embedding, float32 (N, D); otherwise as `decide`."""
        exploration, output = exploration or self.manifest.exploration, self.manifest.policy.output
        scores = free = self.scores(embeddings, mask=mask)
        if mask is not None and self.manifest.policy.masked:
            free = self.scores(embeddings)
        greedy = free.argmax(axis=1)
        if len(scores) == 1:  # the common case of a server
            return self._decide_single(scores[0].tolist(), mask, exploration, rng, greedy=greedy)
        distributions = exploration.apply(scores, mask, output=output)
        if rng is None:
            actions = distributions.argmax(axis=1)
            distributions = one_hot(actions, len(self.adapters))
        else:
            actions = draw(distributions, rng)
        rule = self.manifest.fallback
        confidence = confidences(margins(scores, mask, output=output), rule)
        fallbacks = confidence < rule.threshold
        if fallbacks.any() and mask is not None:  # a doubt alone makes no adapter available
            fallbacks &= full_mask(mask, scores.shape)[:, self._fallback]
        return RoutedDecision(
            actions=np.where(fallbacks, self._fallback, actions),
            probabilities=distributions,
            confidences=confidence,
            fallbacks=fallbacks,
            greedy=greedy,
            adapters=self.adapters,
        )

    def _decide_single(
        self,
        scores: list[float],
        mask: np.ndarray | None,
        exploration: Exploration,
        rng: np.random.Generator | None,
        *,
        greedy: np.ndarray,
    ) -> RoutedDecision:
        """Decide on one query without NumPy's detours."""
        width, rule = len(self.adapters), self.manifest.fallback
        allowed = [True] * width if mask is None else full_mask(mask, (1, width))[0].tolist()
        action, distribution, confidence = decide_single(
            scores,
            allowed=allowed,
            output=self.manifest.policy.output,
            exploration=exploration,
            rule=rule,
            rng=rng,
        )
        falls = confidence < rule.threshold and allowed[self._fallback]
        return RoutedDecision(
            actions=np.array([self._fallback if falls else action]),
            probabilities=np.array([distribution]),
            confidences=np.array([confidence]),
            fallbacks=np.array([falls]),
            greedy=greedy,
            adapters=self.adapters,
        )

    def scores(self, embeddings: np.ndarray, *, mask: np.ndarray | None = None) -> np.ndarray:
        """Return float64 (N, K), what the policy computes: probabilities or values.

        Raises
        ------
        ValueError
            If the embeddings are not finite numbers of shape (N, D), or the mask does not fit.
        """
        rows, width = np.asarray(embeddings, dtype=np.float32), self.manifest.encoder.width
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ValueError(f"embeddings has shape {rows.shape}, not (N, {width}).")
        if not np.isfinite(rows).all():
            raise ValueError("embeddings holds numbers that are not finite: encode them again.")
        feeds = {"observations": rows}
        if self.manifest.policy.masked:
            feeds["mask"] = full_mask(mask, (len(rows), len(self.adapters)))
        if not len(rows):
            return np.zeros((0, len(self.adapters)))
        scores: np.ndarray = self._policy.run(["scores"], feeds)[0]
        return scores

    def check_pool(self, adapters: Sequence[str], fingerprint: str = "") -> None:
        """Refuse to decide for another pool than the policy was trained on.

        Parameters
        ----------
        adapters
            The pool's names in the order of their action ids.
        fingerprint
            The pool's; empty where only the names are known.

        Raises
        ------
        ValueError
            If names, their order or the fingerprint differ.
        """
        if tuple(adapters) != self.adapters:
            raise ValueError(
                f"the pool has adapters {tuple(adapters)}, policy {self.name!r} was trained on "
                f"{self.adapters}: serve that pool, or train again."
            )
        wanted = self.manifest.pool_fingerprint
        if fingerprint and wanted and fingerprint != wanted:
            raise ValueError(
                f"the pool's fingerprint is {fingerprint[:12]}, policy {self.name!r} was trained "
                f"on {wanted[:12]}: its adapters have other weights; train again."
            )

    def replay(self, golden: Golden) -> None:
        """Compute the golden inputs again and compare.

        Raises
        ------
        ValueError
            If an embedding, a probability or a choice differs.
        """
        tolerance = EMBEDDING_TOLERANCE[self.manifest.encoder.precision]
        if golden.embeddings.shape[1:] != (self.manifest.encoder.width,):
            raise ValueError("golden embeddings have another width than the encoder.")
        error = np.abs(self.encode(golden.texts) - golden.embeddings).max()
        if not error <= tolerance:
            raise ValueError(
                f"the encoder's golden embeddings differ by {error:.2g}, more than {tolerance}: "
                "export the bundle again on this kind of machine."
            )
        scores = self.scores(golden.embeddings)
        own = Exploration("policy").apply(scores, output=self.manifest.policy.output)
        if own.shape != golden.probabilities.shape:
            raise ValueError("golden probabilities have another number of adapters.")
        error, actions = np.abs(own - golden.probabilities).max(), own.argmax(axis=1)
        if not error <= PROBABILITY_TOLERANCE or (actions != golden.actions).any():
            raise ValueError(
                f"the policy's golden probabilities differ by {error:.2g} in "
                f"{int((actions != golden.actions).sum())} other choices: export the bundle again."
            )

    def _check_policy(self) -> None:
        """Refuse a policy whose inputs and outputs are not those of the manifest."""
        record, width = self.manifest.policy, self.manifest.encoder.width
        shapes = {entry.name: tuple(entry.shape) for entry in self._policy.get_inputs()}
        wanted = {"observations": ("N", width)}
        if record.masked:
            wanted["mask"] = ("N", record.width)
        outputs = {entry.name: tuple(entry.shape) for entry in self._policy.get_outputs()}
        if shapes != wanted or outputs != {"scores": ("N", record.width)}:
            raise ValueError(
                f"{POLICY_FILE} maps {shapes} to {outputs}, the manifest says {wanted} to "
                f"{record.width} scores: it is another bundle's; export again."
            )
