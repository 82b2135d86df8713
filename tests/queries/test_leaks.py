"""Leaks: planted near duplicates and paraphrases are found, of every kind."""

from __future__ import annotations

import pytest

from routing_gym.queries.leaks import leaks
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from tests.queries.made_data import encode, evaluation, guarded, reworded

QUERIES = evaluation(rhyme=60)
VICTIM = guarded(QUERIES)[0]
WORD = VICTIM.reference.strip('"')
FAR = "Say something in verse; its close should sound like {} does, if you can."


def planted(text: str, *, slots: bool = True, held_out: bool = True) -> Sample:
    record = {"content_held_out": held_out, "slots": {"word": WORD} if slots else None}
    return Sample(reworded(VICTIM, text), "I like it.", record)


def kinds(sample: Sample, **options: object) -> set[str]:
    return {leak.kind for leak in leaks([sample], QUERIES, encode=encode, **options)}  # type: ignore[arg-type]


def test_a_copy_leaks_in_every_way() -> None:
    assert kinds(planted(VICTIM.text.upper())) == {"text", "words", "meaning", "content"}


def test_a_near_duplicate_leaks_by_words_and_meaning() -> None:
    assert kinds(planted(f"Hello! {VICTIM.text}", slots=False)) == {"words", "meaning"}


def test_a_paraphrase_leaks_by_its_content() -> None:
    assert kinds(planted(FAR.format(WORD))) == {"content"}
    assert kinds(planted(FAR.format(WORD), held_out=False)) == set()
    assert kinds(planted(FAR.format(WORD), held_out=False), content="always") == {"content"}
    assert kinds(planted(FAR.format(WORD)), content="never") == set()


def test_slots_are_read_where_none_are_kept() -> None:
    text = f"Give me a rhyming line for {WORD}. One sentence only."
    assert "content" in kinds(planted(text, slots=False))


def test_the_train_split_is_kept_apart_by_its_very_texts_alone() -> None:
    train = next(query for query in QUERIES if query.split == "train")
    assert kinds(Sample(reworded(train, train.text), "x", {})) >= {"text"}
    near = Sample(Query("p", f"Hello! {train.text}", "creative", "rhyme"), "x", {})
    assert "text" not in kinds(near)


def test_far_samples_and_empty_sets_do_not_leak() -> None:
    clean = Sample(Query("q", "How warm is it on Mars in winter?", "open", "open"), "Cold.", {})
    assert leaks([clean], QUERIES, encode=encode) == []
    assert leaks([], QUERIES) == []
    assert leaks([clean], []) == []


def test_a_leak_names_the_pair() -> None:
    found = leaks([planted(VICTIM.text)], QUERIES)
    assert {(leak.sample_id, leak.query_id) for leak in found} == {("planted", VICTIM.query_id)}
    assert all(leak.similarity == pytest.approx(1.0) for leak in found)


@pytest.mark.parametrize(
    ("terms", "kinds_"), [("2, 4, 8, 16", {"content"}), ("-2, -4, -8, -16", set())]
)
def test_signs_tell_questions_apart(terms: str, kinds_: set[str]) -> None:
    known = Query("q", "Continue the sequence 2, 4, 8, 16. Just the number, please.", "general",
                  "sequences", form="number", split="test")  # fmt: skip
    text = f"Predict the next value: {terms}. Give only the number."
    query = Query("made", text, "general", "sequences", form="number")
    sample = Sample(query, "32", {"content_held_out": True, "slots": {"terms": terms}})
    assert {leak.kind for leak in leaks([sample], [known])} == kinds_
