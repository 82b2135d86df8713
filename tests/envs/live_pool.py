"""A pool that answers without a model, for live environments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.rewards.metric import Answer, Direction


@dataclass
class ScriptedPool:
    """Answers with the adapter's name and the query; every number depends on these two alone.

    Parameters
    ----------
    names
        The adapters.
    spoil
        Changes what is about to be returned; for pools that misbehave.
    """

    names: tuple[str, ...]
    spoil: Callable[[list[Completion]], list[Completion]] | None = None
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def spec(self) -> PoolSpec:
        """A pool of bases: nothing on disk."""
        return PoolSpec("no/model", tuple(AdapterSpec(name) for name in self.names))

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> list[Completion]:
        """Answer queries."""
        assert len(texts) == len(forms)
        assert batch_size >= 1
        self.calls.append((name, tuple(texts)))
        answers = [_completion(name, text) for text in texts]
        return self.spoil(answers) if self.spoil else answers


class WordCount:
    """An evaluator without a model: how long an answer is, and how sure its first token."""

    directions: dict[str, Direction] = {"quality": "higher", "tokens": "lower", "seconds": "lower"}  # noqa: RUF012

    def evaluate_batch(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        """Score answers."""
        return {
            "quality": np.array([np.exp((a.token_log_probs or (0.0,))[0]) for a in answers]),
            "tokens": np.array([a.completion_tokens / 100 for a in answers]),
            "seconds": np.array([a.seconds / 10 for a in answers]),
        }


def _completion(name: str, text: str) -> Completion:
    """Make an answer whose measurements are drawn from its text."""
    answer = f"{name}: {text}"
    rng = np.random.default_rng(list(hashlib.sha256(answer.encode()).digest()))
    tokens = int(rng.integers(2, 9))
    return Completion(
        text=answer,
        prompt_tokens=int(rng.integers(10, 40)),
        completion_tokens=tokens,
        seconds=float(rng.uniform(0.01, 0.5)),
        finished=bool(rng.random() < 0.8),
        token_log_probs=tuple(-rng.exponential(size=tokens)),
        token_entropies=tuple(rng.exponential(size=tokens)),
    )
