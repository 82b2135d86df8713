"""A small synthetic problem for the quality model, with an encoder that needs no download."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.quality_features import NEEDS, read_inputs
from routing_gym.rewards.quality_training import QualityConfig, VerifiedAnswers

WIDTH = 12
QUICK = QualityConfig(
    members=3, hidden=16, epochs=12, patience=6, batch_size=64, query_axes=3, response_axes=3
)


class HashEncoder:
    """Unit embeddings that depend on the text alone; counts what it is asked."""

    def __init__(self) -> None:
        self.texts = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += len(texts)
        rows = [np.random.default_rng(zlib.crc32(t.encode())).normal(size=WIDTH) for t in texts]
        found = np.array(rows, dtype=np.float32).reshape(-1, WIDTH)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def verified(queries: int = 120, *, arms: int = 4, seed: int = 0) -> VerifiedAnswers:
    """Answers of which a high consistency and completeness make a right one, with some noise."""
    rng = np.random.default_rng(seed)
    count = queries * arms
    answers = [
        Answer(f"What is item {i // arms} of seed {seed}?", f"thing {i % arms}", form="word")
        for i in range(count)
    ]
    scores = {name: rng.uniform(0.05, 0.95, count) for name in NEEDS}
    drive = 6 * (scores["consistency"] - 0.5) + 6 * (scores["completeness"] - 0.5)
    labels = (drive + rng.normal(scale=0.3, size=count) > 0).astype(np.float64)
    encoder = HashEncoder()
    inputs = read_inputs(
        answers,
        scores,
        queries=encoder.encode([a.query for a in answers]),
        responses=encoder.encode([a.response for a in answers]),
        adapters=[f"arm_{i % arms}" for i in range(count)],
    )
    return VerifiedAnswers(inputs, labels, np.arange(count) // arms + 100_000 * seed)
