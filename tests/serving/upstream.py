"""The misbehaving upstream server of the trials, for the tests."""

from __future__ import annotations

from routing_gym.serving.trial_upstream import (
    BASE_MODEL,
    MODES,
    PROMPT_TOKENS,
    WORDS,
    Upstream,
)

__all__ = ["BASE_MODEL", "MODES", "PROMPT_TOKENS", "WORDS", "Upstream"]
