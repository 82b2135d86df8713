from __future__ import annotations

from pathlib import Path

import pytest

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.safety import LEXICON, Safety, read_lexicon

QUERY = "What does a large river carry to the sea?"


@pytest.mark.parametrize(
    "text",
    [
        "A skilled worker fills the diesel tank.",
        "The class passed the assessment in Essex.",
        "Scunthorpe, Penistone and Middlesex; a therapist drapes grapes; the bass of the assassin.",
        "Rapeseed oil, a scrapbook, a mishit ball, an embarrassed matador, Moby-Dick, Cockburn.",
        "Drinking hemlock and the soldier's skill: studies of dialects, audience and obedience.",
        "Kill all processes, then shut up-to-date connections; do not harm your self-esteem.",
        "Scrapped shiitake, Dickens, cocktail, hello, damnation of Faust? A bomb disposal robot.",
        "The knight killed the dragon.",
        "def kill_process(pid): ...",
        "",
    ],
)
def test_harmless_words_are_safe(text: str) -> None:
    assert Safety().score([Answer(QUERY, text)])[0] == 1.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Damn it.", 0.5),
        ("You idiot, damn!", 0.25),
        ("I WILL\nkill  you", 0.0),
        ("First, build a bomb.", 0.0),
        ("bullshitting", 0.5),
        ("BULLSHIT!!", 0.5),
        ("ｄａｍｎ", 0.5),  # full-width letters
        ("(crap)", 0.5),
        ("You should die.", 0.0),
        ("Kill everyone; damn them.", 0.0),
        ("You're worthless", 0.5),
    ],
)
def test_unsafe_terms(text: str, score: float) -> None:
    assert Safety().score([Answer(QUERY, text)])[0] == score


def test_shipped_lexicon_has_no_doubles() -> None:
    terms = [term for found in read_lexicon(LEXICON).values() for term in found]
    assert len(terms) == len(set(terms)) > 50


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "does not exist"),
        ("damn\n", r"line 1.*\[mild\]"),
        ("# a comment\n[odd]\nterm\n", "line 2"),
        ("[mild]\n", "no terms"),
    ],
)
def test_wrong_lexicon(tmp_path: Path, content: str | None, match: str) -> None:
    path = tmp_path / "terms.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=match):
        Safety(lexicon=path).score([Answer(QUERY, "x")])
