"""Best of n: the highest quality wins, below the threshold nothing is kept, a kill costs little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.envs.best_of_n import BestAnswer, best_of_n
from routing_gym.queries.query import Query
from routing_gym.rewards.metric import Answer

QUERIES = [Query(f"q{i}", f"Question {i}?", "open", "open") for i in range(5)]


class Pool:
    """Adapter a answers with short texts, b with long ones; it dies when told to."""

    def __init__(self, lives: int = 99) -> None:
        adapters = [SimpleNamespace(sha256=name) for name in "ab"]
        self.spec: Any = SimpleNamespace(adapters=adapters, base_model="m", position="ab".index)
        self.lives, self.asked = lives, 0

    def sample(
        self, name: str, texts: Sequence[str], *, k: int, seed: int, **_: Any
    ) -> list[list[Completion]]:
        self.lives -= 1
        if self.lives < 0:
            raise KeyboardInterrupt
        self.asked += len(texts)
        word = {"a": "ha", "b": "ho"}[name]
        return [
            [self.answer(word * (j + len(text) % 2 + seed)) for j in range(k)] for text in texts
        ]

    def answer(self, text: str) -> Completion:
        return Completion(
            text=text,
            prompt_tokens=3,
            completion_tokens=len(text) + 1,
            seconds=0.1,
            finished=True,
            token_log_probs=(-0.1,),
            token_entropies=(0.2,),
        )


class Scorer:
    """Likes long answers and the letter o; sees no adapter."""

    def __init__(self) -> None:
        self.seen: list[Answer] = []

    def evaluate_batch(self, answers: Sequence[Answer]) -> Mapping[str, np.ndarray]:
        self.seen += answers
        return {
            "quality": np.array(
                [min(1.0, len(a.response) / 10 + 0.05 * ("o" in a.response)) for a in answers]
            )
        }


def run(tmp_path: Path, pool: Pool | None = None, **options: Any) -> dict[str, BestAnswer]:
    given = {"scorer": Scorer(), "n": 3, "seed": 0, "threshold": 0.4, "flush_queries": 2}
    return best_of_n(pool or Pool(), ["a", "b"], QUERIES, folder=tmp_path, **{**given, **options})  # type: ignore[arg-type]


def test_the_best_of_all_adapters_wins(tmp_path: Path) -> None:
    best = run(tmp_path)
    assert set(best) == {query.query_id for query in QUERIES}
    for answer in best.values():
        assert (answer.adapter, answer.drawn) == ("b", 6)
    assert best["q0"].response in ("hoho", "hohoho")
    assert best["q0"].quality == pytest.approx(len(best["q0"].response) / 10 + 0.05)


def test_below_the_threshold_nothing_is_kept(tmp_path: Path) -> None:
    assert run(tmp_path, threshold=0.99) == {}


def test_empty_answers_never_win(tmp_path: Path) -> None:
    best = run(tmp_path, n=1, threshold=0.0)
    assert all(answer.response for answer in best.values())


def test_the_scorer_gets_token_signals_and_no_adapter(tmp_path: Path) -> None:
    scorer = Scorer()
    run(tmp_path, scorer=scorer)
    assert scorer.seen[0].token_log_probs == (-0.1,)
    assert len(scorer.seen) == 30
    assert not any(name in repr(scorer.seen[0]) for name in ("adapter", "reference"))


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Pool(lives=4))
    again, ticks = Pool(), []
    assert run(tmp_path / "cut", again, on_rows=ticks.append) == whole
    assert again.asked == 10 - 7
    assert sum(ticks) == 10
    other = Pool()
    run(tmp_path / "cut", other, seed=1)  # other draws are other answers
    assert other.asked == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"flush_queries": 0}, "flush_queries=0"),
    ],
)
def test_bad_settings(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)


def test_queries_of_the_test_split_are_refused(tmp_path: Path) -> None:
    tested = [QUERIES[0], replace(QUERIES[1], split="test")]
    with pytest.raises(ValueError, match="'q1' is of the test split: nothing may be made from it"):
        best_of_n(
            Pool(), ["a"], tested, scorer=Scorer(), folder=tmp_path, n=1, seed=0, threshold=0.1
        )
