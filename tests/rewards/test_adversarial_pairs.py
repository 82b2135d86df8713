"""The committed adversarial pairs: what they are, and whom the shipped evaluator prefers."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Query
from routing_gym.rewards.adversarial import (
    AdversarialPair,
    preference,
    read_pairs,
    without_token_signals,
)
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.lures import overlap
from routing_gym.rewards.reward import DEFAULT_REWARD
from routing_gym.rewards.wrong_answers import RULES

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture(scope="module")
def pairs() -> list[AdversarialPair]:
    return read_pairs(RESULTS / "self_evaluator" / "adversarial.parquet")


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return OutcomeTable.load(RESULTS / "table").where(split="test")


@pytest.fixture(scope="module")
def rows(table: OutcomeTable) -> dict[str, int]:
    return {query_id: row for row, query_id in enumerate(table.query_id)}


def test_pairs_are_many_different_and_of_every_rule_and_domain(
    pairs: list[AdversarialPair], table: OutcomeTable
) -> None:
    assert len(pairs) >= 200
    assert len({pair.pair_id for pair in pairs}) == len(pairs)
    assert len({(pair.query_id, pair.wrong) for pair in pairs}) == len(pairs)
    assert len({pair.query_id for pair in pairs}) >= 100
    rules = Counter(pair.rule for pair in pairs)
    assert set(rules) == set(RULES)
    assert min(rules.values()) >= 4
    domains = Counter(pair.domain for pair in pairs)
    assert set(domains) == set(table.domain)
    assert max(domains.values()) <= 2 * min(domains.values())
    assert {pair.made for pair in pairs} == {"real", "rule"}


def test_every_verdict_is_the_tasks(
    pairs: list[AdversarialPair], table: OutcomeTable, rows: dict[str, int]
) -> None:
    def accuracies(pair: AdversarialPair) -> tuple[float, float]:
        row = rows[pair.query_id]
        query = Query(
            query_id=pair.query_id,
            text=table.text[row],
            domain=table.domain[row],
            task=table.task[row],
            reference=table.reference[row],
        )
        assert (pair.domain, pair.task) == (query.domain, query.task)
        assert pair.right_answer.query == query.text
        return verify(query, pair.right).accuracy, verify(query, pair.wrong).accuracy

    with ThreadPoolExecutor() as workers:  # code is run in processes of its own
        found = list(workers.map(accuracies, pairs))
    unsound = [
        pair.pair_id for pair, values in zip(pairs, found, strict=True) if values != (1.0, 0.0)
    ]
    assert unsound == []


def test_generated_answers_are_the_tables(
    pairs: list[AdversarialPair], table: OutcomeTable, rows: dict[str, int]
) -> None:
    real = [(pair.query_id, pair.adapter_right, pair.right_answer) for pair in pairs]
    real += [(p.query_id, p.adapter_wrong, p.wrong_answer) for p in pairs if p.made == "real"]
    for query_id, adapter, answer in real:
        cell = rows[query_id], table.adapters.index(adapter)
        assert answer.response == table.responses[cell]
        assert answer.finished == table.finished[cell]
        assert answer.completion_tokens == table.completion_tokens[cell]
        assert answer.form == table.form[rows[query_id]]


def test_every_wrong_answer_tempts_as_its_rule_claims(pairs: list[AdversarialPair]) -> None:
    for pair in pairs:
        query, lure = pair.right_answer.query, RULES[pair.rule].lure
        if lure == "longer":
            assert len(pair.wrong) > len(pair.right)
        elif lure == "overlap":
            assert overlap(query, pair.wrong) > overlap(query, pair.right)
        elif lure == "fluent":
            right, wrong = (a.log_likelihood for a in (pair.right_answer, pair.wrong_answer))
            assert right is not None
            assert wrong is not None
            assert wrong > right
        assert pair.tempts, pair.pair_id


def test_most_wrong_answers_are_longer_likelier_or_share_more_words(
    pairs: list[AdversarialPair],
) -> None:
    tempting = [
        len(pair.wrong) > len(pair.right)
        or bool(pair.likelier)
        or overlap(pair.right_answer.query, pair.wrong)
        > overlap(pair.right_answer.query, pair.right)
        for pair in pairs
    ]
    assert np.mean(tempting) >= 0.7


def test_every_answer_carries_what_an_evaluator_may_ask_for(pairs: list[AdversarialPair]) -> None:
    for pair in pairs:
        for answer in (pair.right_answer, pair.wrong_answer):
            log_probs, entropies = answer.token_log_probs, answer.token_entropies
            assert log_probs is not None
            assert entropies is not None
            assert len(log_probs) == len(entropies) > 0
            assert np.isfinite(log_probs).all()
            assert answer.p_true is not None
            assert answer.log_likelihood is not None
            assert answer.seconds > 0
            assert answer.prompt_tokens > 0


def test_texts_made_by_rule_give_themselves_away(pairs: list[AdversarialPair]) -> None:
    """Hold what the module warns of: the adapter's own text is nearly always the likelier one."""
    made = [pair for pair in pairs if pair.made == "rule"]
    real = [pair for pair in pairs if pair.made == "real"]

    def likelier_right(pair: AdversarialPair) -> bool:
        sums = [
            sum(answer.token_log_probs or ()) for answer in (pair.right_answer, pair.wrong_answer)
        ]
        return sums[0] > sums[1]

    assert np.mean([likelier_right(pair) for pair in made]) > 0.9
    assert np.mean([likelier_right(pair) for pair in real]) < 0.9


@pytest.mark.parametrize("which", ["all", "real", "without token signals"])
def test_the_shipped_evaluator_prefers_right_answers(
    pairs: list[AdversarialPair], evaluator: SelfEvaluator, which: str
) -> None:
    if which == "real":
        pairs = [pair for pair in pairs if pair.made == "real"]
    elif which != "all":
        pairs = without_token_signals(pairs)
    answers = [p.right_answer for p in pairs] + [p.wrong_answer for p in pairs]
    rewards = DEFAULT_REWARD(evaluator.evaluate_batch(answers), evaluator.directions)
    hits = preference(pairs, rewards[: len(pairs)], rewards[len(pairs) :])
    shares = {rule: float(values.mean()) for rule, values in hits.items()}
    assert shares["overall"] >= 0.85, shares


@pytest.fixture(scope="module")
def evaluator() -> SelfEvaluator:
    """Make the evaluator as it is shipped."""
    return SelfEvaluator()
