from __future__ import annotations

import math

import numpy as np
import pytest

from routing_gym.serving.bundle_manifest import FallbackRule
from routing_gym.serving.confidence import confidences, margins
from routing_gym.serving.exploration import Exploration, Output, draw
from routing_gym.serving.single_decision import SingleDecision, decide_single

RULE = FallbackRule("a", 0.5, 3.0, -1.0)
EXPLORATIONS = (
    Exploration(),
    Exploration("epsilon", epsilon=0.2),
    Exploration("softmax", temperature=0.3),
    Exploration("softmax", temperature=1e-3),
    Exploration("policy"),
)


def single(scores: list[float], **settings: object) -> SingleDecision:
    given: dict[str, object] = {
        "allowed": [True] * len(scores),
        "output": "probabilities",
        "exploration": Exploration("policy"),
        "rule": RULE,
        "rng": np.random.default_rng(0),
    }
    return decide_single(scores, **{**given, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("exploration", EXPLORATIONS, ids=str)
@pytest.mark.parametrize("output", ["probabilities", "values"])
def test_it_is_what_many_at_once_would_be(exploration: Exploration, output: Output) -> None:
    rng = np.random.default_rng(0)
    for case in range(300):
        width = int(rng.integers(2, 7))
        scores = (
            rng.dirichlet(np.full(width, 0.5))
            if output == "probabilities"
            else rng.normal(size=width)
        )
        if output == "probabilities" and case % 5 == 0:
            scores = np.eye(width)[case % width]
        allowed = rng.random(width) < 0.7
        allowed[int(rng.integers(width))] = True
        rows, mask = scores[None], allowed
        expected = exploration.apply(rows, mask, output=output)
        found = single(
            scores.tolist(),
            allowed=allowed.tolist(),
            output=output,
            exploration=exploration,
            rng=np.random.default_rng(case),
        )
        np.testing.assert_allclose([found.probabilities], expected, atol=1e-9)
        assert found.action == draw(expected, np.random.default_rng(case))[0]
        sure = confidences(margins(rows, mask, output=output), RULE)[0]
        assert found.confidence == pytest.approx(sure, abs=1e-9)
        greedy = single(
            scores.tolist(),
            allowed=allowed.tolist(),
            output=output,
            exploration=exploration,
            rng=None,
        )
        assert greedy.action == expected.argmax()
        assert greedy.probabilities[greedy.action] == 1.0


def test_draws_are_as_frequent_as_the_distribution_says() -> None:
    rng, counts = np.random.default_rng(0), [0, 0, 0]
    for _ in range(6000):
        counts[single([0.5, 0.0, 0.5], rng=rng).action] += 1
    assert counts[1] == 0
    assert counts[0] == pytest.approx(3000, abs=150)


def test_the_forbidden_is_never_taken_even_if_the_policy_wants_nothing_else() -> None:
    found = single([0.0, 1.0, 0.0], allowed=[True, False, True])
    assert found.probabilities == [0.5, 0.0, 0.5]
    assert single([0.2, 0.8], allowed=[False, True]).confidence == 1.0


@pytest.mark.parametrize(
    ("scores", "output", "message"),
    [
        ([0.5, 0.6], "probabilities", "no distribution"),
        ([-0.5, 1.5], "probabilities", "no distribution"),
        ([math.nan, 1.0], "probabilities", "no distribution"),
        ([math.nan, 1.0], "values", "must be finite"),
        ([math.inf, 1.0], "values", "must be finite"),
    ],
)
def test_what_is_no_policy_is_refused(scores: list[float], output: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        single(scores, output=output)
