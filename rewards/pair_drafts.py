"""Drafting adversarial pairs from an outcome table, in balance and verified."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.queries.dataset import verify as verify_by_task
from routing_gym.queries.query import Query, Verdict
from routing_gym.rewards.adversarial import AdversarialPair
from routing_gym.rewards.lures import has_lure
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.wrong_answers import RULES, Material, Stored

Verify = Callable[[Query, str], Verdict]
PER_CELL: dict[str, int] = {"real": 4, "content": 8, "dressed": 4, "void": 2}
"""Pairs of each rule in each domain, by the rule's kind: most where only the content is wrong."""
PEERS = 16
SPARE = 3
"""Times as many drafts where only a model can tell whether the lure is there."""


@dataclass(frozen=True)
class Draft:
    """A right answer and some verified wrong texts of one rule, all with the rule's lure."""

    rule: str
    right: Stored
    others: tuple[Stored, ...]
    wrong: tuple[str, ...]


def draft_pairs(
    stored: Sequence[Stored],
    *,
    rng: np.random.Generator,
    per_cell: Mapping[str, int] = PER_CELL,
    variants: int = 3,
    verify: Verify = verify_by_task,
) -> list[Draft]:
    """Draft pairs, rules and domains in balance, queries used as evenly as may be.

    A right answer is one that ends in what was asked: it stays right, and is nothing but the asked
    form, when words before it are cut away. This leaves out answers that are right by luck, such as
    a story in which the asked name occurs.

    Parameters
    ----------
    stored
        Every answer of a split.
    rng
        The only source of chance.
    per_cell
        Pairs wanted of each rule in each domain, by the rule's kind; there are fewer where a rule
        does not apply.
    variants
        Most wrong texts per draft of which `finish_pair` takes the likeliest, where a rule makes
        several that differ in content only, or is about likelihood.
    verify
        Tells whether a text is right.

    Raises
    ------
    ValueError
        If `per_cell` lacks a kind, a count is negative, `variants` is below 1, or no answer is
        right.
    """
    if set(per_cell) != set(PER_CELL) or min(per_cell.values()) < 0:
        raise ValueError(f"per_cell={dict(per_cell)}: give {', '.join(PER_CELL)}, none negative.")
    if variants < 1:
        raise ValueError(f"variants={variants} must be at least 1.")
    materials = _materials(stored, rng, verify)
    if not materials:
        raise ValueError(f"none of {len(stored)} answers is right: give a split with right ones.")
    drafts: list[Draft] = []
    for domain in dict.fromkeys(m.right.query.domain for m in materials):
        drafter = _Drafter([m for m in materials if m.right.query.domain == domain], rng, verify)
        for rule in RULES:
            wanted = per_cell[RULES[rule].kind] * (SPARE if RULES[rule].lure == "fluent" else 1)
            drafts += drafter.draft(rule, wanted, variants)
    return drafts


def finish_pair(draft: Draft, *, right: float, wrong: Sequence[float]) -> AdversarialPair:
    """Make a pair with the wrong text that the base model finds likeliest.

    Parameters
    ----------
    draft
        A draft.
    right, wrong
        Mean token log-likelihoods (nats) under the base of the right and of each wrong text.
    """
    best = int(np.argmax(wrong))
    text, stored, query = draft.wrong[best], draft.right, draft.right.query
    if RULES[draft.rule].kind == "real":
        source = next(s for s in draft.others if s.response == text)
    else:
        source = dataclasses.replace(
            stored, response=text, right=False, completion_tokens=0, seconds=0.0
        )
    return AdversarialPair(
        pair_id=f"{draft.rule}-{query.query_id}",
        rule=draft.rule,
        made="real" if RULES[draft.rule].kind == "real" else "rule",
        query_id=query.query_id,
        domain=query.domain,
        task=query.task,
        adapter_right=stored.adapter,
        adapter_wrong=source.adapter,
        right_answer=_answer(stored, right),
        wrong_answer=_answer(source, wrong[best]),
    )


def _answer(stored: Stored, log_likelihood: float) -> Answer:
    """Make what metrics are given."""
    return Answer(
        query=stored.query.text,
        response=stored.response,
        form=stored.query.form,
        form_size=stored.query.form_size,
        finished=stored.finished,
        prompt_tokens=stored.prompt_tokens,
        completion_tokens=stored.completion_tokens,
        seconds=stored.seconds,
        log_likelihood=min(float(log_likelihood), 0.0),
    )


def balanced(
    pairs: Sequence[AdversarialPair], *, per_cell: Mapping[str, int] = PER_CELL
) -> list[AdversarialPair]:
    """Keep different pairs that tempt as their rule promises, so many per rule and domain."""
    kept: dict[tuple[str, str], AdversarialPair] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for pair in pairs:
        cell, key = (pair.rule, pair.domain), (pair.query_id, pair.wrong)
        if pair.tempts and key not in kept and counts[cell] < per_cell[RULES[pair.rule].kind]:
            kept[key] = pair
            counts[cell] += 1
    return list(kept.values())


class _Drafter:
    """One domain's material, with what is remembered while pairs are drafted from it."""

    def __init__(
        self, materials: Sequence[Material], rng: np.random.Generator, verify: Verify
    ) -> None:
        self.materials = [materials[i] for i in rng.permutation(len(materials))]
        self.rng, self.verify = rng, verify
        self.uses: Counter[str] = Counter()
        self.contents: dict[str, tuple[str, ...]] = {}

    def draft(self, rule: str, wanted: int, variants: int) -> Iterator[Draft]:
        """Draft pairs of a rule, from the least used queries first."""
        done = 0
        for material in sorted(self.materials, key=lambda m: self.uses[m.right.query.query_id]):
            if done == wanted:
                return
            if RULES[rule].kind == "dressed":
                material = dataclasses.replace(material, wrong=self._contents(material, variants))
            texts = self._wrong(rule, material, variants)
            if texts:
                done += 1
                self.uses[material.right.query.query_id] += 1
                yield Draft(rule, material.right, material.others, texts)

    def _contents(self, material: Material, variants: int) -> tuple[str, ...]:
        """Wrong contents for a query's rules that dress one up."""
        key = material.right.query.query_id
        if key not in self.contents:
            rules = [rule for rule in RULES if RULES[rule].kind == "content"]
            tries = (self._wrong(rule, material, variants) for rule in rules)
            self.contents[key] = next(filter(None, tries), ())
        return self.contents[key]

    def _wrong(self, rule: str, material: Material, variants: int) -> tuple[str, ...]:
        """Propose, and keep what tempts and is verified wrong."""
        query, right = material.right.query, material.right.response
        lure, asked = RULES[rule].lure, {"query": query.text, "form": query.form}
        if RULES[rule].kind != "content" and lure != "fluent":
            variants = 1  # else the base, which likes its own words most, would be every wrong arm
        found: list[str] = []
        for text in RULES[rule].propose(material, self.rng):
            if len(found) == variants:
                break
            tempts = has_lure(lure, **asked, right=right, wrong=text)
            if tempts and text != right and not self.verify(query, text).accuracy:
                found.append(text)
        return tuple(found)


def _materials(
    stored: Sequence[Stored], rng: np.random.Generator, verify: Verify
) -> list[Material]:
    """Choose each query's right answer and gather what rules need beside it."""
    by_query: dict[str, list[Stored]] = defaultdict(list)
    for answer in stored:
        by_query[answer.query.query_id].append(answer)
    chosen = {key: _closing(answers, verify) for key, answers in by_query.items()}
    rights = [answer for answer in chosen.values() if answer is not None]
    materials = []
    for right in rights:
        key = right.query.query_id
        peers = [p for p in rights if p.query.task == right.query.task and p is not right]
        some = [peers[i] for i in rng.permutation(len(peers))[:PEERS]]
        wrong = tuple(s for s in by_query[key] if not s.right and s.response.strip())
        materials.append(Material(right, others=wrong, peers=tuple(some)))
    return materials


def _closing(answers: Sequence[Stored], verify: Verify) -> Stored | None:
    """Choose the first right answer that is bare, else the first that closes with a bare one."""
    whole = [a for a in answers if a.right and a.finished]
    for answer in whole:
        if verify(answer.query, answer.response).strict:
            return answer
    for answer in whole:
        said = answer.response.split()
        for cut in range(1, len(said)):
            listed = said[cut - 1].endswith(",")  # the last of several answers, not the answer
            if not listed and verify(answer.query, " ".join(said[cut:])).strict:
                return answer
    return None
