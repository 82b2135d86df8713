"""Contents: what is asked is read back from every wording, and found in any other."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.queries.content import ContentIndex, content_of, read_slots
from routing_gym.queries.dataset import make_task
from routing_gym.queries.query import Query
from routing_gym.queries.task import pick
from routing_gym.queries.tasks import TASKS
from tests.queries.made_data import evaluation, guarded

pytest.importorskip("reasoning_gym")


@pytest.mark.parametrize("name", TASKS)
def test_every_wording_is_read_back(name: str) -> None:
    task, rng = make_task(name), np.random.default_rng(0)
    for phrasing in task.phrasings:
        draw = task.draw(2, rng)
        example = task.ask(
            draw, complexity=2, phrasing=phrasing, ending=pick(rng, task.known_endings)
        )
        slots = read_slots(example.query)
        assert slots is not None, example.query.text
        assert content_of(slots) == content_of({key: draw.slots[key] for key in slots})


def test_phrasings_that_tell_the_same_have_one_content() -> None:
    task, rng = make_task("siblings"), np.random.default_rng(1)
    draw = task.draw(1, rng)
    asked = [
        task.ask(draw, complexity=1, phrasing=p, ending="Just the number, please.").query
        for p in task.phrasings
    ]
    index = ContentIndex(asked[:1])
    assert all(index.find("siblings", read_slots(query) or {}) for query in asked)


def test_a_slot_that_a_phrasing_leaves_out_does_not_hide_the_question() -> None:
    task, rng = make_task("sorting"), np.random.default_rng(0)
    draw = task.draw(1, rng)
    query = task.ask(
        draw, complexity=1, phrasing="List {numbers} {way}.", ending="Separate them with commas."
    ).query
    assert ContentIndex([query]).find("sorting", draw.slots) == query.query_id
    assert ContentIndex([query]).find("sorting", {**draw.slots, "numbers": "1, 2, 3"}) is None


def test_signs_are_part_of_the_content() -> None:
    assert content_of({"sum": "7 + 5"}) != content_of({"sum": "7 - 5"})
    assert content_of({"word": "Cat."}) == content_of({"word": "cat"})


def test_unknown_texts_and_tasks_are_counted() -> None:
    strange = [
        Query("a", "Rhyme on cat. One sentence only.", "creative", "rhyme"),
        Query("b", "Any question?", "other", "nothing of ours"),
    ]
    index = ContentIndex([*strange, *guarded(evaluation())])
    assert index.unread == 2
    assert index.find("nothing of ours", {"word": "cat"}) is None
