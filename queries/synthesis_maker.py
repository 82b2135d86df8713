"""The maker of samples: drafts questions, words them, refuses and keeps them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from routing_gym.queries.content import ContentIndex, content_of
from routing_gym.queries.dataset import make_task
from routing_gym.queries.near_duplicates import DuplicateFilter, Encode
from routing_gym.queries.paraphrases import (
    MEANING,
    SAME_MEANING,
    AskedForm,
    Paraphraser,
    paraphrase_fault,
)
from routing_gym.queries.phrasings import Wording, vary
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from routing_gym.queries.synthesis_settings import Contents, SynthesisSettings, Target
from routing_gym.queries.task import Draw, Task, pick

GENERATOR, VERSION = "routing_gym.queries.synthesis", 1
CONTENT, UNVERIFIED = "content of an evaluation query", "target not verified"
FORM_LOST = "wording asks for another form"
ENOUGH_CONTENTS, ENOUGH_SHARE, PROBES = 24, 0.25, 300
"""What must remain of a task's contents for "auto" to hold out those of the evaluation."""


@dataclass(frozen=True)
class Draft:
    """A question on its way to a sample.

    Parameters
    ----------
    draw
        What is asked.
    query
        The question in words.
    words
        How it was worded: number of the phrasing, changes by rule, ending, paraphraser.
    fault
        What is wrong with it; "" if nothing is known to be.
    """

    draw: Draw
    query: Query
    words: dict[str, Any]
    fault: str = ""

    def plain_body(self, task: Task) -> str:
        """Word the question in the task's own phrasing, without the ending."""
        return task.phrasings[self.words["phrasing"]].format(**self.draw.slots)

    def plain_text(self, task: Task) -> str:
        """Word the question in the task's own phrasing."""
        return f"{self.plain_body(task)} {self.words['ending']}"


def put_into_words(
    task: Task, complexity: int, rng: np.random.Generator, *, varied: float
) -> Draft:
    """Draw a question and word it.

    Parameters
    ----------
    task, complexity, rng
        As in `Task.sample`.
    varied
        Probability that the phrasing is changed by rule.
    """
    draw = task.draw(complexity, rng)
    number, ending = int(rng.integers(len(task.phrasings))), pick(rng, task.known_endings)
    wording = Wording(task.phrasings[number])
    if rng.random() < varied:
        wording = vary(wording.phrasing, rng)
    example = task.ask(draw, complexity=complexity, phrasing=wording.phrasing, ending=ending)
    words = {"phrasing": number, "changes": list(wording.changes), "ending": ending}
    return Draft(draw, example.query, words)


def replace_text(task: Task, draft: Draft, text: str) -> Query:
    """Make the record of a draft in other words."""
    return task.query(text, draft.draw, complexity=draft.query.complexity)


class Maker:
    """Drafts, words, refuses and keeps samples."""

    def __init__(
        self,
        settings: SynthesisSettings,
        *,
        seed: int,
        evaluation: Sequence[Query],
        encode: Encode | None,
        paraphrase: Paraphraser | None,
        asked: AskedForm | None,
    ) -> None:
        self._settings, self._seed, self._encode = settings, seed, encode
        self._paraphrase, self._asked = paraphrase, asked
        self._filter = DuplicateFilter(evaluation, thresholds=settings.thresholds, encode=encode)
        self._contents = ContentIndex(self._filter.guarded)

    def identity(self, shares: Mapping[Target, int], evaluation: Sequence[Query]) -> list[Any]:
        """List what determines the samples."""
        name = self._paraphrase.name if self._paraphrase else ""
        asked = [[t.task, t.complexity, t.region, n] for t, n in shares.items()]
        texts = sorted((query.text, query.split) for query in evaluation)
        parts = [VERSION, self._seed, repr(self._settings), name, bool(self._encode), asked, texts]
        return [*parts, bool(self._asked)]

    def probe(self, target: Target) -> Contents:
        """See how much of a target's contents is left, and decide whether to hold it out."""
        task = make_task(target.task)
        rng = np.random.default_rng([0, target.complexity, *target.task.encode()])
        drawn = [task.draw(target.complexity, rng).slots for _ in range(PROBES)]
        left = [slots for slots in drawn if self._contents.find(task.name, slots) is None]
        kinds, share = len(set(map(content_of, left))), len(left) / PROBES
        wish = self._settings.hold_out_content
        enough = kinds >= ENOUGH_CONTENTS and share >= ENOUGH_SHARE
        return Contents(
            drawn=len(set(map(content_of, drawn))),
            left=kinds,
            share=share,
            held_out=wish == "always" or (wish == "auto" and enough),
        )

    def fill(
        self,
        target: Target,
        wanted: int,
        contents: Contents,
        on_samples: Callable[[int], object] | None,
    ) -> tuple[list[Sample], Counter[str]]:
        """Make a target's samples."""
        task = make_task(target.task)
        rng = np.random.default_rng([self._seed, target.complexity, *target.task.encode()])
        made: list[Sample] = []
        dropped: Counter[str] = Counter()
        in_a_row = 0
        while len(made) < wanted:
            size = min(self._settings.batch, max(8, 2 * (wanted - len(made))))
            for draft, reason, vector in self._judged(task, target, contents, rng, size):
                text = draft.query.text
                reason = reason or self._filter.refusal_of_meaning(vector)
                reason = reason or self._filter.own_refusal(text, vector)
                if reason:
                    dropped[reason] += 1
                    in_a_row += 1
                    if in_a_row > self._settings.patience:
                        raise ValueError(_run_dry(target, wanted, len(made), dropped, contents))
                    continue
                in_a_row = 0
                made.append(self._sample(task, target, contents, draft, vector))
                self._filter.keep(text, vector)
                if on_samples:
                    on_samples(1)
                if len(made) == wanted:
                    break
        return made, dropped

    def remember(self, samples: Sequence[Sample]) -> None:
        """Let samples of an earlier run count as made."""
        vectors = self._embedded([sample.query.text for sample in samples])
        for sample, vector in zip(samples, vectors, strict=True):
            self._filter.keep(sample.query.text, vector)

    def _judged(
        self,
        task: Task,
        target: Target,
        contents: Contents,
        rng: np.random.Generator,
        size: int,
    ) -> Iterator[tuple[Draft, str, np.ndarray | None]]:
        """Draft a batch; refuse what needs no embedding, and embed the rest."""
        drafts = self._worded(task, target.complexity, rng, size)
        reasons = [self._refusal(task, draft, contents) for draft in drafts]
        rest = [d.query.text for d, reason in zip(drafts, reasons, strict=True) if not reason]
        vectors = iter(self._embedded(rest))
        for draft, reason in zip(drafts, reasons, strict=True):
            yield draft, reason, (None if reason else next(vectors))

    def _worded(
        self, task: Task, complexity: int, rng: np.random.Generator, size: int
    ) -> list[Draft]:
        """Draw questions and put them into words."""
        drafts = [
            put_into_words(task, complexity, rng, varied=self._settings.varied) for _ in range(size)
        ]
        if self._paraphrase is None:
            return drafts
        chosen = np.flatnonzero(rng.random(len(drafts)) < self._settings.paraphrased).tolist()
        for row, draft in zip(
            chosen, self._rephrased(task, [drafts[i] for i in chosen]), strict=True
        ):
            drafts[row] = draft
        return drafts

    def _rephrased(self, task: Task, drafts: Sequence[Draft]) -> list[Draft]:
        """Let the paraphraser word drafts, and note what is wrong with what it wrote."""
        if self._paraphrase is None or not drafts:
            return list(drafts)
        bodies = [draft.plain_body(task) for draft in drafts]
        replies = [(reply or "").strip() for reply in self._paraphrase(bodies)]
        both = self._embedded([*bodies, *(r or b for r, b in zip(replies, bodies, strict=True))])
        found = []
        for row, (draft, body, reply) in enumerate(zip(drafts, bodies, replies, strict=True)):
            one, two = both[row], both[len(drafts) + row]
            alike = 1.0 if one is None or two is None else float(one @ two)
            fault = paraphrase_fault(
                body,
                reply,
                slots=draft.draw.slots,
                target=draft.draw.target,
                ending=draft.words["ending"],
                asked=self._asked,
            )
            fault = fault or (MEANING if alike < SAME_MEANING else "")
            text = f"{reply} {draft.words['ending']}"
            query = draft.query if fault else replace_text(task, draft, text)
            words = {**draft.words, "changes": [], "paraphraser": self._paraphrase.name}
            found.append(replace(draft, query=query, words=words, fault=fault))
        return found

    def _refusal(self, task: Task, draft: Draft, contents: Contents) -> str:
        """Say why a draft is refused, as far as no embedding is needed; "" if it is not."""
        if draft.fault:
            return draft.fault
        if contents.held_out and self._contents.find(task.name, draft.draw.slots) is not None:
            return CONTENT
        if reason := self._filter.refusal(draft.query.text):
            return reason
        if self._asked and self._asked(draft.query.text) != self._asked(draft.plain_text(task)):
            return FORM_LOST
        verdict = task.verify(draft.query, draft.draw.target)
        return "" if verdict.accuracy == verdict.strict == 1.0 else UNVERIFIED

    def _sample(
        self,
        task: Task,
        target: Target,
        contents: Contents,
        draft: Draft,
        vector: np.ndarray | None,
    ) -> Sample:
        """Make a sample of a draft, with its provenance."""
        provenance = {
            "generator": GENERATOR,
            "version": VERSION,
            "seed": self._seed,
            "source": task.source,
            "complexity": target.complexity,
            "region": target.region or target.label,
            "slots": {name: str(value) for name, value in draft.draw.slots.items()},
            **draft.words,
            "answer": {"source": "verifier"},
            "content_held_out": contents.held_out,
            "nearest": self._filter.nearest(draft.query.text, vector),
        }
        return Sample(draft.query, draft.draw.target, provenance)

    def _embedded(self, texts: Sequence[str]) -> Sequence[np.ndarray | None]:
        """Embed texts; nothing for each without an encoder."""
        if self._encode is None or not texts:
            return list(itertools.repeat(None, len(texts)))
        return list(self._encode(texts))


def _run_dry(
    target: Target, wanted: int, made: int, dropped: Counter[str], contents: Contents
) -> str:
    """Say that a task has no more texts, why, and what helps."""
    most = ", ".join(f"{reason}: {number}" for reason, number in dropped.most_common(3))
    remedy = "ask for fewer, raise the thresholds, give it a paraphraser, or raise varied"
    if contents.held_out:
        remedy += (
            f"; hold_out_content leaves it {contents.left} of {contents.drawn} contents, 'never' "
            "would allow all (the filter of texts stays)"
        )
    return (
        f"task {target.task!r} at complexity {target.complexity} has run out of different texts: "
        f"{made} of {wanted} could be made ({most}): {remedy}."
    )
