"""Made data: far from the evaluation and from itself, determined, resumable, and told honestly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from routing_gym.queries.content import ContentIndex
from routing_gym.queries.dataset import verify
from routing_gym.queries.leaks import jaccard_matrix, leaks
from routing_gym.queries.near_duplicates import NEAR_MEANING, NEAR_WORDS
from routing_gym.queries.paraphrases import SLOTS
from routing_gym.queries.query import COMPLEXITIES
from routing_gym.queries.splits import normalise
from routing_gym.queries.synthesis import (
    MadeData,
    SynthesisSettings,
    Target,
    Thresholds,
    make_samples,
    share_out,
)
from routing_gym.queries.synthesis_maker import CONTENT
from routing_gym.rewards.asked_form import asked_form
from tests.queries.made_data import encode, evaluation, guarded

pytest.importorskip("datasketch")
QUERIES = evaluation()
RHYME = [Target("rhyme", level) for level in COMPLEXITIES]


def settings(**options: Any) -> SynthesisSettings:
    """Small batches; letters tell less than meanings do."""
    limits = Thresholds(meaning=0.97, own_meaning=0.995)
    return SynthesisSettings(**{"thresholds": limits, "batch": 32, **options})


def make(count: int = 30, targets: Sequence[Target] = RHYME, **options: Any) -> MadeData:
    given = {"seed": 1, "evaluation": QUERIES, "encode": encode, "asked": asked_form, **options}
    return make_samples(targets, count, **{"settings": settings(), **given})


def dropped(made: MadeData) -> Counter[str]:
    found = Counter[str]()
    for counts in made.dropped.values():
        found.update(counts)
    return found


class Scribe:
    """A paraphraser that does what a function does."""

    def __init__(self, write: Any, name: str = "scribe") -> None:
        self.write, self.name, self.asked = write, name, 0

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        self.asked += len(texts)
        return [self.write(text) for text in texts]


def test_counts_answers_and_provenance() -> None:
    made = make(60)
    assert Counter(s.query.complexity for s in made.samples) == {1: 20, 2: 20, 3: 20}
    assert [s.query.complexity for s in made.samples[:3]] == [1, 2, 3]
    for sample in made.samples:
        assert verify(sample.query, sample.target).strict == 1.0
        assert sample.query.split == ""
        record = sample.provenance
        assert record["slots"]["word"] in sample.query.text
        assert record["answer"] == {"source": "verifier"}
        assert (record["seed"], record["region"]) == (1, f"rhyme / {sample.query.complexity}")
        assert {"generator", "version", "phrasing", "changes", "ending", "source"} <= set(record)
        assert {"query_id", "split", "cosine", "jaccard"} == set(record["nearest"])
    varied = sum(bool(s.provenance["changes"]) for s in made.samples)
    assert 15 <= varied <= 45


def test_nothing_is_near_to_the_evaluation_or_to_another() -> None:
    made = make(90)
    limits = Thresholds(meaning=0.97)
    assert leaks(made.samples, QUERIES, thresholds=limits, encode=encode, content="always") == []
    texts = [sample.query.text for sample in made.samples]
    assert len({normalise(text) for text in texts}) == 90
    own = jaccard_matrix(texts, texts, shingle=3)
    own[range(90), range(90)] = 0.0
    assert own.max() < limits.own_words


def test_contents_of_the_evaluation_are_held_out_where_enough_remain() -> None:
    index = ContentIndex(guarded(QUERIES))

    def same(made: MadeData) -> int:
        return sum(bool(index.find("rhyme", s.provenance["slots"])) for s in made.samples)

    held, free = make(), make(settings=settings(hold_out_content="never"))
    assert same(held) == 0
    assert same(free) > 0
    assert held.contents["rhyme / 1"].held_out
    assert not free.contents["rhyme / 1"].held_out
    assert dropped(held)[CONTENT] > 0
    letters = evaluation(alliteration=60)
    scarce = make(9, [Target("alliteration", 1)], evaluation=letters, encode=None)
    assert not scarce.contents["alliteration / 1"].held_out
    assert scarce.contents["alliteration / 1"].left < 24


def test_the_seed_determines_everything() -> None:
    one, two = make(12), make(12)
    assert one == two
    assert one.samples != make(12, seed=2).samples


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    whole = make(18, folder=tmp_path / "whole")
    seen: list[int] = []

    def kill(done: int) -> None:
        seen.append(done)
        if sum(seen) > 8:
            raise KeyboardInterrupt

    path = tmp_path / "cut" / "progress.jsonl"
    with pytest.raises(KeyboardInterrupt):
        make(18, folder=path.parent, on_samples=kill)
    with path.open("a") as file:
        file.write('["half a li')
    ticks: list[int] = []
    assert make(18, folder=path.parent, on_samples=ticks.append) == whole
    assert (ticks[0], sum(ticks)) == (6, 18)
    assert len(path.read_text().splitlines()) == 3
    make(3, folder=path.parent, seed=5)  # another identity does not use them
    assert len(path.read_text().splitlines()) == 6


def test_a_planted_near_duplicate_is_caught_by_filter_and_leaks() -> None:
    known = {q.reference.strip('"'): q.text for q in guarded(QUERIES) if q.task == "rhyme"}

    def copy(body: str) -> str:
        """The evaluation's own question about the same word, if there is one."""
        words = body.replace(".", " ").replace(",", " ").replace(";", " ").split()
        return next((known[word] for word in words if word in known), f"Kindly hear this: {body}")

    loose = Thresholds(words=1.0, meaning=1.0)
    options = {"hold_out_content": "never", "paraphrased": 1.0, "varied": 0.0}
    strict, open_door = (
        make(24, paraphrase=Scribe(copy), settings=settings(**options, **extra), asked=None)
        for extra in ({}, {"thresholds": loose})
    )
    assert dropped(strict)[NEAR_WORDS] + dropped(strict)[NEAR_MEANING] > 0
    limits = Thresholds(meaning=0.97)
    assert leaks(strict.samples, QUERIES, thresholds=limits, encode=encode) == []
    assert leaks(open_door.samples, QUERIES, thresholds=limits, encode=encode)


def test_a_planted_paraphrase_is_caught_by_filter_and_leaks() -> None:
    far = Scribe(lambda body: f"Verse, please. My own line was this: {body}"[: 2 * len(body) + 80])
    held, free = (
        make(30, paraphrase=far, settings=settings(hold_out_content=wish, paraphrased=1.0))
        for wish in ("auto", "never")
    )
    assert dropped(held)[CONTENT] > 0
    limits = Thresholds(meaning=0.97)
    assert leaks(held.samples, QUERIES, thresholds=limits, encode=encode, content="always") == []
    found = leaks(free.samples, QUERIES, thresholds=limits, encode=encode, content="always")
    assert {leak.kind for leak in found} == {"content"}


def test_paraphrases_are_named_and_bad_ones_dropped() -> None:
    scribe = Scribe(lambda text: f"Kindly do this for me: {text}" if "couplet" in text else "No.")
    made = make(40, paraphrase=scribe, settings=settings(paraphrased=0.5))
    named = [s for s in made.samples if s.provenance.get("paraphraser") == "scribe"]
    assert named
    assert all("couplet" in sample.query.text for sample in named)
    assert all(sample.query.text.startswith("Kindly") for sample in named)
    assert dropped(made)[SLOTS] > 10


@pytest.mark.parametrize("hold_out", ["always", "never"])
def test_a_task_that_runs_dry_says_what_helps(hold_out: Any) -> None:
    near = Thresholds(own_words=0.3)
    scarce = settings(varied=0.0, patience=60, hold_out_content=hold_out, thresholds=near)
    with pytest.raises(ValueError, match="run out of different texts") as caught:
        make(400, [Target("alliteration", 1)], settings=scarce, encode=None)
    message = str(caught.value)
    assert "'alliteration' at complexity 1" in message
    assert "raise the thresholds" in message
    assert ("hold_out_content leaves it" in message) == (hold_out == "always")


def test_shares_follow_the_weights_and_equal_targets_join() -> None:
    targets = [Target("rhyme", 1, 2.0), Target("rhyme", 2), Target("rhyme", 1, 1.0)]
    assert {t.label: n for t, n in share_out(targets, 10).items()} == {
        "rhyme / 1": 8,
        "rhyme / 2": 2,
    }
    assert sum(share_out([Target("rhyme", c, 1 / 3) for c in COMPLEXITIES], 100).values()) == 100


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: Target("rhyme", 4), "complexity=4"),
        (lambda: Target("rhyme", 1, 0.0), "weight=0.0"),
        (lambda: SynthesisSettings(varied=2), "varied=2 must be a share"),
        (lambda: SynthesisSettings(patience=0), "patience=0"),
        (lambda: SynthesisSettings(hold_out_content="yes"), "use auto, always or never"),  # type: ignore[arg-type]
        (lambda: share_out([], 5), "0 targets, count=5"),
        (lambda: share_out(RHYME, 0), "count=0"),
        (lambda: make(3, [Target("poems", 1)]), "unknown task 'poems'"),
    ],
)
def test_bad_input(bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bad()
