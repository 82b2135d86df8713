from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from routing_gym.queries.registry import resolve
from routing_gym.rewards import METRICS
from routing_gym.rewards.coherence import Coherence, repetition_free_share
from routing_gym.rewards.cost import Seconds, Tokens
from routing_gym.rewards.metric import DIRECTIONS, Answer, Metric
from routing_gym.rewards.relevance import Relevance
from routing_gym.rewards.safety import LEXICON, Safety, read_lexicon

QUERY = "What does a large river carry to the sea?"


class BagOfWords:
    """Embeds a text as its normalised counts of a few words, and counts what it encodes."""

    vocabulary = ("river", "sea", "moon")
    encoded = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += len(texts)
        counts = np.array([[text.count(w) for w in self.vocabulary] for text in texts], float)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric:
    factory = resolve(METRICS, request.param, kind="metric")
    if request.param == "relevance":
        return factory(encoder=BagOfWords())
    if request.param == "coherence":
        return factory(likelihood=lambda queries, responses: np.full(len(queries), -1.0))
    return factory()


AWKWARD = [
    "",
    " ",
    "\n",
    "7",
    "Paris.",
    "a" * 5000,
    "é ß 漢字 \x00",
    "((((",
    "|||",
    "```",
    ",,,",
    "=",
]


def test_contract(metric: Metric) -> None:
    answers = [
        Answer(QUERY, text, form=form, form_size=size)
        for text in AWKWARD
        for form in ("", "number", "word", "list", "sentence", "code", "date", "record")
        for size in (0, 3)
    ]
    scores = metric.score(answers)
    assert scores.shape == (len(answers),)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(metric.score(answers[::-1]), scores[::-1])
    assert metric.score([]).shape == (0,)
    assert metric.direction in DIRECTIONS
    assert METRICS[metric.name].endswith(type(metric).__name__)


def test_docstring_says_what_it_sees_and_what_fools_it(metric: Metric) -> None:
    text = type(metric).__doc__ or ""
    assert re.search(r"\*\*Sees\*\*", text)
    assert re.search(r"\*\*Is fooled by\*\*", text)


def test_relevance_is_the_cosine() -> None:
    encoder = BagOfWords()
    answers = [Answer("river sea", text) for text in ("river", "moon", "sea and river", "")]
    scores = Relevance(encoder).score(answers)
    np.testing.assert_allclose(scores, [2**-0.5, 0, 1, 0], atol=1e-12)
    assert encoder.encoded == 4  # the query once


def test_relevance_does_not_reward_an_echo() -> None:
    scores = Relevance(BagOfWords()).score([Answer(QUERY, QUERY), Answer(QUERY, "river sand")])
    assert scores[0] == 0.0
    assert scores[1] > 0.5


def test_coherence_is_the_exponential_of_the_likelihood() -> None:
    answer = Answer(QUERY, "It carries sand.", log_likelihood=-0.5)
    assert Coherence().score([answer])[0] == pytest.approx(np.exp(-0.5))


def test_coherence_asks_only_for_what_is_missing() -> None:
    asked: list[str] = []

    def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        asked.extend(responses)
        return np.full(len(queries), -2.0)

    answers = [
        Answer(QUERY, "Sand.", log_likelihood=-1.0),
        Answer(QUERY, "Mud."),
        Answer(QUERY, ""),
    ]
    scores = Coherence(likelihood).score(answers)
    np.testing.assert_allclose(scores, [np.exp(-1), np.exp(-2), 0])
    assert asked == ["Mud."]


@pytest.mark.parametrize(
    "loop", ["the sea " * 30, "ha" * 60, "It carries sand. It carries sand. " * 8, "1, 2, " * 40]
)
def test_repeated_text_is_not_coherent(loop: str) -> None:
    scores = Coherence().score([Answer(QUERY, loop, log_likelihood=-0.01)])
    assert scores[0] < 0.2


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        "1, 3, 5, 9",
        "A large river carries sand, mud and stones from the mountains down to the sea.",
        "def f(values):\n    total = 0\n    for value in values:\n        total += value\n"
        "    return total",
    ],
)
def test_ordinary_text_repeats_nothing(text: str) -> None:
    assert repetition_free_share(text) > 0.9


@pytest.mark.parametrize(
    "text",
    [
        "A skilled worker fills the diesel tank.",
        "The class passed the assessment in Essex.",
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


def test_costs_are_shares_of_their_ceilings() -> None:
    answers = [
        Answer(QUERY, "x", completion_tokens=32, seconds=1.0),
        Answer(QUERY, "x", completion_tokens=999, seconds=99.0),
        Answer(QUERY, "12345678"),
    ]
    assert Tokens(ceiling=64).score(answers).tolist() == [0.5, 1.0, 2 / 64]
    assert Seconds(ceiling=4).score(answers).tolist() == [0.25, 1.0, 0.0]


@pytest.mark.parametrize("ceiling", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("cost", [Tokens, Seconds])
def test_wrong_ceiling(cost: type[Tokens] | type[Seconds], ceiling: float) -> None:
    with pytest.raises(ValueError, match=r"ceiling=.*positive"):
        cost(ceiling=ceiling)


@pytest.mark.parametrize(
    ("measurement", "value"),
    [
        ("query", "  "),
        ("seconds", -1.0),
        ("seconds", float("nan")),
        ("completion_tokens", -1),
        ("form_size", -2),
        ("log_likelihood", 0.5),
        ("log_likelihood", float("nan")),
    ],
)
def test_wrong_answer_record(measurement: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{measurement}="):
        Answer(**{"query": QUERY, "response": "x", measurement: value})  # type: ignore[arg-type]
