"""Drafts of adversarial pairs: verified, balanced, reproducible."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from routing_gym.queries.query import Query, Verdict
from routing_gym.rewards.adversarial import AdversarialPair
from routing_gym.rewards.lures import has_lure
from routing_gym.rewards.pair_drafts import PER_CELL, Draft, balanced, draft_pairs, finish_pair
from routing_gym.rewards.wrong_answers import RULES, Stored

FACTS = "Ann is taller than Ben. Ben is taller than Carl. Who is tallest? Give a name."


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def stored(response: str = "Ann", *, name: str = "q", adapter: str = "one", **cost: Any) -> Stored:
    return Stored(
        Query(name, FACTS, "general", "word", form="word"), adapter, response, True, **cost
    )


def reads(query: Query, text: str) -> Verdict:
    """A lenient verifier: the reference, or a text that ends on it."""
    said = text.rstrip(".")
    right = said == query.reference or said.endswith((f" {query.reference}", f"n{query.reference}"))
    return Verdict(float(right), float(said == query.reference))


def answers(count: int = 24) -> list[Stored]:
    """Two domains; three arms: a bare right answer, a right sentence, a wrong one."""
    rows = []
    for i in range(count):
        domain = "reasoning" if i % 2 else "general"
        text = f"Item {i}: is it {i + 1}, {i + 50} or {i + 70}? Just the number, please."
        query = Query(f"q{i}", text, domain, domain, form="number", reference=str(i + 50))
        cost = {"prompt_tokens": 20, "completion_tokens": 4, "seconds": 0.5}
        rows += [
            Stored(query, "base", f"I would say that it is {i + 50}", True, **cost),
            Stored(query, "one", f"{i + 50}", i % 4 > 0, **cost),
            Stored(query, "two", f"Is it {i + 1}", False, finished=False, **cost),
        ]
    return rows


def drafts(**fields: Any) -> list[Draft]:
    return draft_pairs(answers(), rng=rng(), verify=reads, **fields)


def test_drafts_are_verified_balanced_and_reproducible() -> None:
    found = drafts()
    assert [(d.rule, d.right, d.wrong) for d in found] == [
        (d.rule, d.right, d.wrong) for d in drafts()
    ]
    assert found != draft_pairs(answers(), rng=np.random.default_rng(1), verify=reads)
    for draft in found:
        query, lure = draft.right.query, RULES[draft.rule].lure
        assert reads(query, draft.right.response).accuracy
        assert 1 <= len(draft.wrong) <= 3
        for wrong in draft.wrong:
            asked = {"query": query.text, "form": query.form}
            assert not reads(query, wrong).accuracy
            assert has_lure(lure, **asked, right=draft.right.response, wrong=wrong)
    for domain in ("reasoning", "general"):
        part = [d.rule for d in found if d.right.query.domain == domain]
        assert part.count("perturbed_number") == PER_CELL["content"]
        assert part.count("echo") == PER_CELL["void"]
        assert part.count("changed_code") == 0


def test_the_right_answer_is_bare_or_closes_with_a_bare_one() -> None:
    for draft in drafts():
        number = int(draft.right.query.query_id[1:])
        assert draft.right.adapter == ("one" if number % 4 else "base")


def test_answers_right_by_luck_or_cut_off_are_left_out() -> None:
    query = Query("q", "Which is it? Just the number, please.", "general", "t", reference="7")
    lucky = [
        Stored(query, "one", "11, 9, 7", True),
        Stored(query, "two", "It is 7", True, finished=False),
        Stored(query, "three", "7", False),
    ]
    with pytest.raises(ValueError, match="none of 3 answers is right"):
        draft_pairs(lucky, rng=rng(), verify=reads)


def test_queries_are_used_evenly() -> None:
    found = drafts()
    uses = [sum(d.right.query.query_id == f"q{i}" for d in found) for i in range(24)]
    assert max(uses) - min(uses) <= 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variants": 0}, "variants=0"),
        ({"per_cell": {"real": 1}}, "give real, content, dressed, void"),
        ({"per_cell": {**PER_CELL, "void": -1}}, "none negative"),
    ],
)
def test_bad_counts(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        drafts(**fields)


def test_the_likeliest_wrong_text_is_taken() -> None:
    right = stored(prompt_tokens=9, completion_tokens=2, seconds=0.5)
    pair = finish_pair(
        Draft("swapped_entity", right, (), ("Ben", "Carl")), right=-2.0, wrong=[-3.0, -1.0]
    )
    assert (pair.wrong, pair.made, pair.adapter_wrong) == ("Carl", "rule", "one")
    assert (pair.wrong_answer.log_likelihood, pair.right_answer.log_likelihood) == (-1.0, -2.0)
    assert (pair.wrong_answer.completion_tokens, pair.wrong_answer.prompt_tokens) == (0, 9)
    assert pair.likelier is True


def test_a_real_wrong_answer_keeps_its_arm_and_costs() -> None:
    other = stored("Ben is tall.", adapter="two", finished=False, completion_tokens=32)
    draft = Draft("longer_arm", stored(), (other,), ("Ben is tall.",))
    pair = finish_pair(draft, right=-1.0, wrong=[-2.0])
    assert (pair.made, pair.adapter_right, pair.adapter_wrong) == ("real", "one", "two")
    assert (pair.wrong_answer.finished, pair.wrong_answer.completion_tokens) == (False, 32)
    assert (pair.tempts, pair.likelier) == (True, False)


def test_pairs_without_their_lure_and_repeats_are_dropped() -> None:
    def fluent(name: str, wrong: float) -> AdversarialPair:
        draft = Draft("fluent_arm", stored(name=name), (stored("Ben", name=name),), ("Ben",))
        return finish_pair(draft, right=-1.0, wrong=[wrong])

    pairs = [fluent("a", -0.5), fluent("a", -0.5), fluent("b", -1.5), fluent("c", -0.1)]
    assert [p.query_id for p in balanced(pairs)] == ["a", "c"]
    assert [p.query_id for p in balanced(pairs, per_cell={**PER_CELL, "real": 1})] == ["a"]
