"""Open queries: read from a file, and kept apart from the evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from routing_gym.queries.near_duplicates import NEAR_WORDS, TABLE_TEXT
from routing_gym.queries.open_queries import read_open_queries, screen
from tests.queries.made_data import encode, evaluation, guarded

pytest.importorskip("datasketch")


def test_both_kinds_of_file(tmp_path: Path) -> None:
    blue = "Why is the sky blue?"
    (tmp_path / "q.txt").write_text(f"{blue}\n\n  {blue}\nWhat is rain?\n")
    (tmp_path / "q.jsonl").write_text('{"text": " What is rain? "}\n')
    lines = read_open_queries(tmp_path / "q.txt", domain="general")
    assert [query.text for query in lines] == [blue, "What is rain?"]
    assert read_open_queries(tmp_path / "q.jsonl", domain="general") == lines[1:]
    assert (lines[0].task, lines[0].domain, lines[0].reference) == ("open", "general", "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "\n \n", "holds no text"),
        ("q.jsonl", "{", "line 1 is no JSON"),
        ("q.jsonl", '{"query": "x"}', "line 1 lacks a text"),
        ("q.jsonl", '["x"]', "line 1 lacks a text"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_open_queries(tmp_path / name, domain="general")
    with pytest.raises(FileNotFoundError, match=r"none\.txt' does not exist"):
        read_open_queries(tmp_path / "none.txt", domain="general")


def test_queries_of_the_evaluation_and_near_ones_are_left_out(tmp_path: Path) -> None:
    queries = evaluation()
    test = next(query for query in queries if query.split == "test")
    near = f"Hello! {guarded(queries)[0].text}"
    (tmp_path / "q.txt").write_text(
        f"What is rain?\n{test.text}\n{near}\nWhy do cats purr at night?"
    )
    kept, dropped = screen(
        read_open_queries(tmp_path / "q.txt", domain="x"), queries, encode=encode
    )
    assert [query.text for query, _ in kept] == ["What is rain?", "Why do cats purr at night?"]
    assert dropped == {TABLE_TEXT: 1, NEAR_WORDS: 1}
    assert kept[0][1]["cosine"] < 0.9
