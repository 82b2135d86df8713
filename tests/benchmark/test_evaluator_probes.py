from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routing_gym.benchmark.evaluator_figures import MIX, PLAIN, QUALITY
from routing_gym.benchmark.evaluator_probes import (
    OVERALL,
    check_consistency,
    fairer_pairs,
    pair_scorers,
    read_samples,
    temptation,
    temptation_figures,
)
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.adversarial import AdversarialPair
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer, Direction
from tests.synthetic import identity_table


class Fixed:
    """A metric that gives every answer the same score, or the share of its letters in a word."""

    direction: Direction = "higher"

    def __init__(self, name: str, score: float = 0.5, *, like: str = "") -> None:
        self.name, self._score, self._like = name, score, like

    def score(self, answers: list[Answer]) -> np.ndarray:
        if not self._like:
            return np.full(len(answers), self._score)
        return np.array([float(answer.response == self._like) for answer in answers])


class Cost(Fixed):
    direction: Direction = "lower"


def pair(number: int, rule: str, *, right: str = "right", wrong: str = "wrong") -> AdversarialPair:
    query = f"Question {number // 2}?"
    return AdversarialPair(
        pair_id=f"p{number}",
        rule=rule,
        made="rule",
        query_id=f"q{number // 2}",
        domain="analysis",
        task="extract",
        adapter_right="base",
        adapter_wrong="base",
        right_answer=Answer(query, right),
        wrong_answer=Answer(query, wrong),
    )


@pytest.fixture
def pairs() -> list[AdversarialPair]:
    return [pair(i, "echo" if i % 2 else "run_on") for i in range(40)]


def evaluator(**like: str) -> SelfEvaluator:
    """Every metric that the rewards weigh: constant, but for those that like a response."""
    names = (QUALITY, "relevance", "coherence", "completeness", "factuality", "safety")
    metrics = [Fixed(name, like=like.get(name, "")) for name in names]
    return SelfEvaluator([*metrics, Cost("tokens", 0.1), Cost("seconds", 0.1)])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_both_sides_of_a_pair_are_scored(pairs: list[AdversarialPair]) -> None:
    columns = pair_scorers(
        pairs, evaluator(quality="right", relevance="wrong"), names=(QUALITY, "relevance")
    )
    assert list(columns) == [QUALITY, "relevance", MIX, PLAIN]
    right, wrong = columns[QUALITY]
    assert right.tolist() == [1.0] * 40
    assert wrong.tolist() == [0.0] * 40
    assert (columns[MIX][0] > columns[MIX][1]).all()
    assert (columns[PLAIN][0] < columns[PLAIN][1]).all()


def test_shares_by_hand(pairs: list[AdversarialPair]) -> None:
    # the quality model is fooled by every echo, relevance by all, safety knows nothing
    echo = np.array([pair.rule == "echo" for pair in pairs])
    columns = {
        QUALITY: (np.full(40, 0.5), np.where(echo, 0.6, 0.4)),
        "relevance": (np.zeros(40), np.ones(40)),
        "safety": (np.ones(40), np.ones(40)),
        PLAIN: (np.ones(40), np.zeros(40)),
    }
    found = temptation(pairs, columns, rng=rng(), resamples=200)
    assert found.counts == {OVERALL: 40, "run_on": 20, "echo": 20}
    assert found.shares[QUALITY][OVERALL].value == 0.5
    assert found.shares[QUALITY]["run_on"] == Interval(1.0, 1.0, 1.0)
    assert found.shares[QUALITY]["echo"] == Interval(0.0, 0.0, 0.0)
    assert found.shares["safety"][OVERALL] == Interval(0.5, 0.5, 0.5)
    assert found.worst_rule(QUALITY) == "echo"
    figures = temptation_figures(found)
    assert figures["adversarial_right"] == found.shares[QUALITY][OVERALL]
    assert figures["adversarial_right_rule_min"] == Interval(0.0, 0.0, 0.0)
    assert figures["adversarial_right_plain"] == Interval(1.0, 1.0, 1.0)
    assert figures["adversarial_right_best_single_metric"] == Interval(0.5, 0.5, 0.5)
    assert figures["adversarial_pairs"] == 40


def test_fairer_views_of_pairs(pairs: list[AdversarialPair]) -> None:
    signals = dataclasses.replace(
        pairs[0].right_answer, token_log_probs=(-0.5,), token_entropies=(0.25,)
    )
    real = dataclasses.replace(pairs[0], made="real", right_answer=signals)
    views = fairer_pairs([real, *pairs[1:]])
    assert list(views) == ["real", "without_signals", "real_without_signals"]
    assert list(views["real"]) == [real]
    assert len(views["without_signals"]) == len(pairs)
    stripped = views["real_without_signals"][0].right_answer
    assert (stripped.token_log_probs, stripped.token_entropies) == (None, None)
    assert stripped.response == real.right_answer.response
    assert list(fairer_pairs(pairs)) == ["without_signals"]


def test_whole_queries_are_resampled(pairs: list[AdversarialPair]) -> None:
    # each query is one run_on that is right and one echo that is wrong: no query differs
    echo = np.array([pair.rule == "echo" for pair in pairs])
    columns = {QUALITY: (np.full(40, 0.5), np.where(echo, 0.6, 0.4))}
    found = temptation(pairs, columns, rng=rng(), resamples=200)
    assert found.shares[QUALITY][OVERALL] == Interval(0.5, 0.5, 0.5)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="make_adversarial"):
        temptation([], {}, rng=rng(), resamples=100)


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    """Let the closed form be certain of right answers, and of every fourth query's wrong ones."""
    plain = identity_table(n=40)
    closed = np.where(plain.scores["accuracy"] == 1, 0.9, 0.1)
    closed[::4] = 0.9
    metrics = {**plain.manifest.metrics, "consistency": MetricRecord()}
    return dataclasses.replace(
        plain,
        scores={**plain.scores, "consistency": closed},
        manifest=dataclasses.replace(plain.manifest, metrics=metrics),
    )


def write_samples(table: OutcomeTable, path: Path) -> None:
    """Write four samples of every answer: right answers are repeated, wrong ones scatter."""
    rows = [
        {
            "query_id": table.query_id[i],
            "adapter": adapter,
            "sample": number,
            "response": table.responses[i, k] if table.scores["accuracy"][i, k] else f"no {number}",
        }
        for i in range(len(table))
        for k, adapter in enumerate(table.adapters)
        for number in (3, 1, 2, 0)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_sampled_consistency_beside_the_closed_form(table: OutcomeTable, tmp_path: Path) -> None:
    write_samples(table, tmp_path / "samples.parquet")
    samples = read_samples(tmp_path / "samples.parquet")
    assert samples["q00001", "adapter_0"] == [f"no {number}" for number in range(4)]
    found = check_consistency(table, samples, rng=rng(), resamples=100)
    assert (found.answers, found.samples) == (160, 4.0)
    assert found.sampled_auroc.value == 1.0
    # of 120 wrong answers 30 are as certain as the right ones
    assert found.closed_auroc.value == pytest.approx(1 - 30 / 120 / 2)
    assert found.closed_auroc.low < found.closed_auroc.value < found.closed_auroc.high
    assert 0 < found.agreement.low < found.agreement.value < 1


def test_samples_of_another_table_are_refused(table: OutcomeTable) -> None:
    with pytest.raises(ValueError, match="'q9' by 'adapter_0' are of no cell"):
        check_consistency(table, {("q9", "adapter_0"): ["x"]}, rng=rng(), resamples=100)
    with pytest.raises(ValueError, match="samples is empty"):
        check_consistency(table, {}, rng=rng(), resamples=100)


def test_a_file_that_holds_no_samples_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": ["q0"]}), tmp_path / "samples.parquet")
    with pytest.raises(ValueError, match=r"lacks the columns \['adapter', 'sample', 'response'\]"):
        read_samples(tmp_path / "samples.parquet")
