"""What the tests of the web page put in the place of a self-evaluator, and a page to visit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from routing_gym.serving.demo import mount_demo
from routing_gym.serving.self_evaluation import ServedAnswer
from tests.serving.stand_ins import make_app


class StandInEvaluator:
    """Scores every answer alike, and remembers what it was given."""

    def __init__(self) -> None:
        self.answers: list[ServedAnswer] = []

    def scores(self, answer: ServedAnswer) -> dict[str, float]:
        """Return two scores, one of which could not be computed."""
        self.answers.append(answer)
        return {"relevance": 0.8, "<i>coherence</i>": float("nan")}

    def reward(self, answer: ServedAnswer) -> float:
        """Return the reward."""
        return self.weigh(self.scores(answer))

    def weigh(self, scores: Mapping[str, float]) -> float:
        """Return the same reward for all scores."""
        return 0.7


def demo_app(
    folder: Path, *, evaluator: StandInEvaluator | None = None, **settings: Any
) -> FastAPI:
    """Build an application over stand-ins, with the page."""
    app = make_app(folder, **settings)
    return mount_demo(app, evaluator=evaluator, ask_key=app.state.services.auth.enabled)
