"""One decision as a server writes it; the format is that of `off_policy_log`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LoggedDecision:
    """One decision; the fields are those of the table in `routing_gym.benchmark.off_policy_log`.

    `reward`, `propensities`, `query`, `query_id`, `embedding`, `eligible` and `encoder` may be
    None. A fallback's propensity may be ``nan``.
    """

    decision_id: str
    time: str
    adapters: tuple[str, ...]
    pool_fingerprint: str
    policy_version: str
    action: int
    propensity: float
    propensities: tuple[float, ...] | None = None
    reward: float | None = None
    fallback: bool = False
    query: str | None = None
    query_id: str | None = None
    embedding: tuple[float, ...] | None = None
    eligible: tuple[bool, ...] | None = None
    encoder: str | None = None

    @property
    def adapter(self) -> str:
        """Name of the adapter that answered."""
        return self.adapters[self.action]

    def to_json(self) -> str:
        """Write as one line without its line break; fields that are None are left out."""
        fields = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        fields["adapter"] = self.adapter
        if self.embedding is not None:  # nine digits are all that float32 holds
            fields["embedding"] = [float(f"{value:.9g}") for value in self.embedding]
        if np.isnan(self.propensity):
            fields["propensity"] = None
        kept = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(kept, ensure_ascii=False, allow_nan=False)


def feedback_line(decision_id: str, reward: float) -> str:
    """Write the reward of an earlier decision as one line of a ``.jsonl`` log."""
    return json.dumps({"decision_id": decision_id, "reward": reward}, allow_nan=False)
