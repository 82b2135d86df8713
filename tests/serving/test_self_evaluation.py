from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.rewards.encoding import RememberingEncoder
from routing_gym.rewards.registry import DEFAULT_METRICS, FROM_TOKENS
from routing_gym.serving.backend import TokenSignals
from routing_gym.serving.logs import NAME
from routing_gym.serving.self_evaluation import (
    QUALITY_ENCODER,
    BackgroundEvaluation,
    RewardEstimator,
    ServedAnswer,
)
from tests.serving.stand_ins import StandInBundle


def answer(text: str = "Paris is the capital of France.", **fields: Any) -> ServedAnswer:
    return ServedAnswer("d" * 32, "base", "What is the capital of France?", text, **fields)


class Constant:
    def __init__(self, reward: float = 0.5) -> None:
        self.value = reward
        self.seen: list[ServedAnswer] = []

    def reward(self, answer: ServedAnswer) -> float:
        self.seen.append(answer)
        if answer.response == "fail":
            raise RuntimeError("no score")
        return self.value


class EncodingBundle(StandInBundle):
    """Its encoder calls itself the metrics' encoder."""

    def __init__(self, reward: dict[str, float]) -> None:
        super().__init__()
        object.__setattr__(self.manifest, "reward", reward)
        object.__setattr__(self.manifest.encoder, "name", QUALITY_ENCODER)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = super().encode(texts) + 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def background(evaluator: Any, **settings: Any) -> tuple[BackgroundEvaluation, list[Any]]:
    delivered: list[Any] = []
    made = BackgroundEvaluation(
        evaluator,
        **{
            "share": 1.0,
            "size": 3,
            "busy": lambda: False,
            "deliver": lambda served, reward: delivered.append((served, reward)),
            "seed": 0,
            **settings,
        },
    )
    return made, delivered


def test_answers_are_scored_in_the_background_and_failures_cost_one_reward() -> None:
    async def run() -> list[Any]:
        made, delivered = background(Constant(2.0))
        made.start()
        assert made.offer(answer("fail"))
        assert made.offer(answer("good"))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if delivered:
                break
        await made.close()
        return delivered

    assert [(served.response, reward) for served, reward in asyncio.run(run())] == [("good", 1.0)]


def test_a_full_queue_a_blank_query_and_the_undrawn_are_left_out() -> None:
    made, _ = background(Constant())
    assert not made.offer(ServedAnswer("d", "base", " ", "text"))
    assert [made.offer(answer()) for _ in range(5)] == [True, True, True, False, False]
    sampled, _ = background(Constant(), share=0.3, size=1000)
    taken = sum(sampled.offer(answer()) for _ in range(1000))
    assert 250 < taken < 350


def test_it_waits_while_the_server_is_busy() -> None:
    async def run() -> None:
        busy = [True]
        evaluator = Constant()
        made, delivered = background(evaluator, busy=lambda: busy[0])
        made.start()
        made.offer(answer())
        await asyncio.sleep(0.15)
        assert not evaluator.seen
        busy[0] = False
        for _ in range(200):
            await asyncio.sleep(0.01)
            if delivered:
                break
        assert delivered
        await made.close()

    asyncio.run(run())


def test_the_reward_is_the_training_reward_of_what_can_be_scored() -> None:
    bundle = EncodingBundle({"completeness": 3.0, "tokens": 1.0, "p_true": 5.0, "safety": 0.0})
    estimator = RewardEstimator.of_bundle(bundle, torch=False, signals=True)  # type: ignore[arg-type]
    given = answer(completion_tokens=64, seconds=1.0)
    scores = estimator.scores(given)
    assert scores.keys() == {"completeness", "tokens"}
    assert scores["tokens"] == 0.5
    expected = (3 * scores["completeness"] + 1 - scores["tokens"]) / 4
    assert estimator.reward(given) == pytest.approx(expected)


def test_metrics_with_an_encoder_use_the_policys() -> None:
    bundle = EncodingBundle({"relevance": 1.0})
    estimator = RewardEstimator.of_bundle(bundle, torch=False, signals=True)  # type: ignore[arg-type]
    assert 0 <= estimator.reward(answer()) <= 1


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric that can be scored"):
        RewardEstimator.of_bundle(EncodingBundle({"p_true": 1.0}), torch=True, signals=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no other is loaded"):
        RewardEstimator.of_bundle(StandInBundle(), torch=False, signals=True)  # type: ignore[arg-type]


def test_without_signals_the_metrics_that_read_them_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", records.append)
    monkeypatch.setattr(logging.getLogger(NAME), "handlers", [handler])
    level = logging.getLogger(NAME).level
    logging.getLogger(NAME).setLevel(logging.INFO)
    bundle = EncodingBundle({name: 1.0 for name in FROM_TOKENS} | {"completeness": 3, "tokens": 1})
    estimator = RewardEstimator.of_bundle(bundle, torch=False, signals=False)  # type: ignore[arg-type]
    given = answer(completion_tokens=64)
    scores = estimator.scores(given)
    assert scores.keys() == {"completeness", "tokens"}
    assert estimator.reward(given) == pytest.approx((3 * scores["completeness"] + 0.5) / 4)
    estimator.warn()
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.fields["left_out"] == list(FROM_TOKENS)  # type: ignore[attr-defined]
    complete = RewardEstimator.of_bundle(bundle, torch=False, signals=True)  # type: ignore[arg-type]
    complete.warn()
    assert len(records) == 1
    logging.getLogger(NAME).setLevel(level)


@pytest.mark.parametrize("name", FROM_TOKENS)
def test_costs_are_no_reward(name: str) -> None:
    bundle = EncodingBundle({name: 9.0, "tokens": 0.5, "seconds": 0.5})
    with pytest.raises(ValueError, match="without token signals and is not a cost: known are rel"):
        RewardEstimator.of_bundle(bundle, torch=False, signals=False)  # type: ignore[arg-type]


def stored_signals(scores: dict[str, float], count: int) -> TokenSignals:
    """Make signals that have the sum, minimum and mean that a table's columns tell."""
    total, lowest = np.log(scores["consistency"]), np.log(scores["weakest_token"])
    rest = 0.0 if count == 1 else min(0.0, (total - lowest) / (count - 1))
    entropy = max(0.0, -float(np.log(scores["certainty"])))
    return TokenSignals((float(lowest), *[float(rest)] * (count - 1)), (entropy,) * count)


@pytest.mark.slow
@pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="the outcome table is not here")
def test_a_served_answer_has_the_tables_scores() -> None:
    """The columns of confidence are the stored signals: sum, minimum and mean are all that counts.

    A table's quality is cross-fitted on the train split, so only other cells are compared.
    """

    class TableBundle(EncodingBundle):
        encode = RememberingEncoder().encode  # type: ignore[assignment]

    table = OutcomeTable.load(DEFAULT_TABLE)
    rng = np.random.default_rng(0)
    bundle = TableBundle({name: 1.0 for name in DEFAULT_METRICS})
    estimator = RewardEstimator.of_bundle(bundle, torch=False, signals=True)  # type: ignore[arg-type]
    for form in np.unique(table.form):
        for row in rng.choice(np.flatnonzero((table.split == "test") & (table.form == form)), 3):
            arm = int(rng.integers(len(table.adapters)))
            stored = {name: float(table.scores[name][row, arm]) for name in DEFAULT_METRICS}
            served = ServedAnswer(
                "d" * 32,
                table.adapters[arm],
                str(table.text[row]),
                str(table.responses[row, arm]),
                finished=bool(table.finished[row, arm]),
                completion_tokens=int(table.completion_tokens[row, arm]),
                seconds=float(table.seconds[row, arm]),
                signals=stored_signals(stored, int(table.completion_tokens[row, arm])),
            )
            assert estimator.scores(served) == pytest.approx(stored, abs=2e-3), (form, row, arm)
