from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.judge_report import (
    JudgedSample,
    cost_figures,
    judge_markdown,
    pair_figures,
    rating_figures,
    verdict_files,
)
from routing_gym.benchmark.statistics import Interval
from routing_gym.rewards.judge import Preference, Rating
from routing_gym.rewards.judge_cost import Spending
from routing_gym.rewards.judge_run import Verdict
from routing_gym.rewards.judge_settings import JudgeSettings
from tests.synthetic import identity_table

TABLE = identity_table(n=40, k=4)  # query i is answered by arm i % 4 alone


def sample(cells: list[tuple[int, int]], pairs: list[tuple[int, int, int]]) -> JudgedSample:
    shaped = np.array(pairs, dtype=np.int64).reshape(-1, 3)
    return JudgedSample(TABLE, np.array(cells).reshape(-1, 2), shaped)


def rated(*values: int | None) -> list[Rating]:
    return [Rating(Verdict(value, failure="" if value else "no")) for value in values]


def value(figure: float | Interval) -> float:
    return figure.value if isinstance(figure, Interval) else figure


def test_ratings_by_hand() -> None:
    # right, right, wrong, wrong, wrong; judged right, wrong, right, wrong, failed
    cells = [(0, 0), (1, 1), (2, 1), (3, 1), (4, 1)]
    figures = rating_figures(sample(cells, []), rated(5, 3, 4, 1, None), right_from=4)
    assert value(figures["judge_kappa"]) == pytest.approx(0.0)
    assert value(figures["judge_accuracy"]) == 0.5
    assert value(figures["judge_auroc"]) == 0.75  # 5 > 4, 5 > 1, 3 < 4, 3 > 1
    assert (figures["judged_right"], figures["verified_right"]) == (0.5, 0.5)
    assert (figures["answers_judged"], figures["answers_failed"]) == (4, 1)


def test_the_threshold_counts() -> None:
    cells = [(0, 0), (1, 1), (2, 1), (3, 1)]
    ratings = rated(3, 3, 2, 2)
    strict = rating_figures(sample(cells, []), ratings, right_from=4)
    lenient = rating_figures(sample(cells, []), ratings, right_from=3)
    assert value(strict["judge_accuracy"]) == 0.5
    assert value(lenient["judge_accuracy"]) == 1.0


def test_pairs_by_hand() -> None:
    pairs = [(0, 0, 1), (1, 0, 1), (2, 2, 0), (3, 0, 3)]
    verdicts = [("A", "B"), ("A", "A"), ("B", "A"), ("B", None)]
    preferences = [Preference(Verdict(one), Verdict(other)) for one, other in verdicts]
    chosen = sample([], pairs)
    assert chosen.right.tolist() == ["first", "second", "first", "second"]
    figures = pair_figures(chosen, preferences)
    assert value(figures["pair_right"]) == pytest.approx(1 / 3)  # won, tie, lost, failed
    assert value(figures["pair_tie"]) == pytest.approx(1 / 3)
    assert value(figures["position_bias"]) == pytest.approx(1 / 3)
    assert (figures["pairs_judged"], figures["pairs_failed"]) == (3, 1)


def test_equal_texts_are_paid_once() -> None:
    chosen = sample([(0, 0), (0, 0), (1, 0)], [(0, 0, 1)])
    verdict = Verdict(5, prompt_tokens=100, completion_tokens=10)
    figures = cost_figures(
        chosen,
        [Rating(verdict)] * 3,
        [Preference(verdict, verdict)],
        spending=Spending(requests=1, cost=0.5),
        settings=JudgeSettings(model="m", prompt_price=1e4),
    )
    assert figures["cost"] == 0.5
    assert figures["cost_without_cache"] == pytest.approx(4.0)


def test_nothing_valid() -> None:
    figures = rating_figures(sample([(0, 0)], []), rated(None), right_from=4)
    assert figures == {"answers_judged": 0, "answers_failed": 1}
    failed = Preference(Verdict(None), Verdict("A"))
    assert set(pair_figures(sample([], [(0, 0, 1)]), [failed])) == {"pairs_judged", "pairs_failed"}


def test_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = JudgedSample.draw(TABLE, answers=100, pairs=30, rng=rng)
    assert len({tuple(cell) for cell in drawn.cells.tolist()}) == 100
    assert len(set(drawn.pairs[:, 0].tolist())) == 30
    accuracy = TABLE.scores["accuracy"]
    row, first, second = drawn.pairs.T
    assert (accuracy[row, first] + accuracy[row, second] == 1).all()
    assert 5 < (drawn.right == "first").sum() < 25
    assert drawn.truth.sum() == accuracy[tuple(drawn.cells.T)].sum()
    assert drawn.answers[0].query == TABLE.text[drawn.cells[0, 0]]


def test_more_than_there_is() -> None:
    drawn = JudgedSample.draw(TABLE, answers=999, pairs=999, rng=np.random.default_rng(0))
    assert (len(drawn.cells), len(drawn.pairs)) == (160, 40)


def test_files_and_markdown() -> None:
    chosen, ratings = sample([(0, 0), (1, 0)], []), rated(5, None)
    files = verdict_files(chosen, ratings, [])
    assert list(files) == ["ratings.csv"]
    assert "q00000,adapter_0,reasoning,1,5," in files["ratings.csv"]
    text = judge_markdown(chosen, ratings, {"judged": 1.0}, right_from=4)
    assert "| 5      |              1 |              0 |" in text
    assert "| failed |              0 |              1 |" in text
