"""What happens on the web page, step by step, without its looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from routing_gym.serving.demo_client import DemoAnswer, DemoClient, DemoDecision
from routing_gym.serving.demo_view import decision_view, scores_view
from routing_gym.serving.self_evaluation import ServedAnswer


class ScoringEvaluator(Protocol):
    """What the page asks of a self-evaluator."""

    def scores(self, answer: ServedAnswer) -> Mapping[str, float]:
        """Score an answer: metric -> score."""
        ...

    def weigh(self, scores: Mapping[str, float]) -> float:
        """Return the reward of an answer with these scores."""
        ...


@dataclass(frozen=True)
class Shown:
    """What the page shows.

    Parameters
    ----------
    decision
        HTML.
    answer
        The answer's text.
    scores
        HTML.
    rated
        Id of the decision that a thumb rates; empty while there is no answer.
    """

    decision: str = ""
    answer: str = ""
    scores: str = ""
    rated: str = ""


class Conversation:
    """What happens on the page, without its looks.

    Parameters
    ----------
    client
        Asks the server.
    evaluator
        Scores answers; None shows no scores.
    """

    def __init__(self, client: DemoClient, *, evaluator: ScoringEvaluator | None = None) -> None:
        self._client = client
        self._evaluator = evaluator

    @property
    def scored(self) -> bool:
        """Whether answers are scored."""
        return self._evaluator is not None

    async def ask(self, question: str, *, key: str = "") -> AsyncIterator[Shown]:
        """Route, answer and score a question, telling of each step as soon as it is done.

        Raises
        ------
        ApiError
            What the server says when it refuses.
        """
        decision = await self._client.route(question, key=key)
        shown = Shown(decision=decision_view(decision))
        yield shown
        answer = await self._client.answer(decision.adapter, question, key=key)
        shown = replace(shown, answer=answer.text, rated=decision.decision_id)
        yield shown
        if self._evaluator is not None:
            scores = await asyncio.to_thread(_score, self._evaluator, decision, question, answer)
            yield replace(shown, scores=scores)

    async def rate(self, decision_id: str, reward: float, *, key: str = "") -> str:
        """Send a reward; returns what to tell the visitor."""
        status = await self._client.feedback(decision_id, reward, key=key)
        return f"Thank you: the reward {reward:g} is {status}."


def _score(
    evaluator: ScoringEvaluator, decision: DemoDecision, question: str, answer: DemoAnswer
) -> str:
    """Score an answer as the background evaluation would."""
    served = ServedAnswer(
        decision.decision_id,
        decision.adapter,
        question,
        answer.text,
        finished=answer.finished,
        completion_tokens=answer.completion_tokens,
        seconds=answer.seconds,
        signals=answer.signals,
    )
    scores = evaluator.scores(served)
    return scores_view(scores, reward=evaluator.weigh(scores))
