"""A small table with every column that the self-evaluator's report reads."""

from __future__ import annotations

import dataclasses

import numpy as np

from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table

JUDGED = ("quality", "consistency", "certainty", "weakest_token", "p_true", "base_likelihood")


def judged_table(n: int = 200, seed: int = 1) -> OutcomeTable:
    """Make the identity problem with known judges.

    Quality is nearly right, relevance is noise, safety constant; completeness, factuality and
    coherence rank perfectly; the token signals and P(True) know a little.
    """
    plain = identity_table(n=n)
    rng = np.random.default_rng(seed)
    right = plain.scores["accuracy"]
    scores = dict(plain.scores)
    scores["relevance"] = rng.uniform(size=right.shape)
    scores["safety"] = np.ones_like(right)
    for name in JUDGED:
        scores[name] = np.clip(right * 0.3 + rng.uniform(0, 0.7, right.shape), 0, 1)
    scores["quality"] = np.clip(right * 0.6 + rng.uniform(0, 0.5, right.shape), 0, 1)
    metrics = {**plain.manifest.metrics, **{name: MetricRecord() for name in JUDGED}}
    manifest = dataclasses.replace(plain.manifest, metrics=metrics)
    return dataclasses.replace(plain, scores=scores, manifest=manifest)
