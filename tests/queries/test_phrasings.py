"""Variation by rule: slots stay in their order, braces stay braces, everything follows the seed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from routing_gym.queries import phrasings
from routing_gym.queries.dataset import make_task, verify
from routing_gym.queries.phrasings import LEADS, SYNONYMS, slots_of, vary
from routing_gym.queries.tasks import TASKS
from routing_gym.rewards.asked_form import asked_form


@pytest.mark.parametrize("name", TASKS)
def test_slots_and_asked_form_stay(name: str) -> None:
    pytest.importorskip("reasoning_gym")
    task, rng = make_task(name), np.random.default_rng(3)
    for phrasing in task.phrasings:
        draw, ending = task.draw(2, rng), task.known_endings[0]
        plain = task.ask(draw, complexity=2, phrasing=phrasing, ending=ending)
        for _ in range(6):
            wording = vary(phrasing, rng)
            assert wording.phrasing != phrasing
            assert wording.changes
            assert slots_of(wording.phrasing) == slots_of(phrasing)
            other = task.ask(draw, complexity=2, phrasing=wording.phrasing, ending=ending)
            assert asked_form(other.query.text) == asked_form(plain.query.text), wording
            assert json.loads(other.query.reference) == json.loads(plain.query.reference)
    assert verify(other.query, other.target).strict == 1.0


def test_literal_braces_stay() -> None:
    varied = vary("values = {{{numbers}}} in Python.", np.random.default_rng(0)).phrasing
    assert "values = {1, 2}" in varied.format(numbers="1, 2")


def test_the_generator_determines_the_wording() -> None:
    one, two = (vary("Write a line for {word}.", np.random.default_rng(5)) for _ in range(2))
    assert one == two


def test_a_rule_that_touches_slots_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrasings, "LEADS", ("Take {this}.",))
    with pytest.raises(ValueError, match="take braces out of LEADS"):
        vary("{sum} = ?", np.random.default_rng(0))


def test_no_rule_holds_braces_digits_or_a_form() -> None:
    texts = [*LEADS, *(new for options in SYNONYMS.values() for new in options)]
    assert not [text for text in texts if set(text) & set("{}0123456789")]
    assert not [text for text in texts if asked_form(text).form]
