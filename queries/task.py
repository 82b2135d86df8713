"""A task: a generator of queries at three complexities, and an exact verifier of responses."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.queries.query import Example, Query, Verdict
from routing_gym.queries.splits import normalise

ENDINGS: dict[str, tuple[str, ...]] = {
    "word": (
        "Answer with one word.",
        "One word only.",
        "Reply with just the word.",
        "Give a single word.",
    ),
    "number": (
        "Answer with a number.",
        "Just the number, please.",
        "Reply with one number.",
        "Give only the number.",
    ),
    "list": (
        "Answer with a comma-separated list.",
        "Separate them with commas.",
        "Reply with the list only, using commas.",
        "Give just a list with commas.",
    ),
    "date": (
        "Answer as YYYY-MM-DD.",
        "Use the form YYYY-MM-DD.",
        "Reply in YYYY-MM-DD form.",
        "Give it as year-month-day (YYYY-MM-DD).",
    ),
    "record": (
        "Answer as name | age | city.",
        "Use the form name | age | city.",
        "Reply with name | age | city.",
        "Give one line: name | age | city.",
    ),
    "sentence": (
        "Answer with one sentence.",
        "One sentence only.",
        "Reply with a single sentence.",
        "Give just one sentence.",
    ),
    "code": (
        "Answer with Python code only.",
        "Reply with just the code.",
        "Give only the Python function.",
        "Code only, please.",
    ),
}


@dataclass(frozen=True)
class Draw:
    """What a generator draws: a phrasing's slots, the verifier's reference, a right answer."""

    slots: dict[str, Any]
    reference: Any
    target: str
    form_size: int = 0


class Task(ABC):
    """A kind of question with an exact verifier.

    A subclass sets `name`, `domain`, `form` and at least eight `phrasings` (format strings over the
    slots of a `Draw`) and writes `draw`, `is_right` and, where the asked form is not simply the
    target, `is_bare`.
    """

    name: ClassVar[str]
    domain: ClassVar[str]
    form: ClassVar[str]
    phrasings: ClassVar[tuple[str, ...]]
    source: ClassVar[str] = "routing-gym"
    endings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw one question at a complexity of 1 to 3."""

    @abstractmethod
    def is_right(self, reference: Any, response: str) -> bool:
        """Tell whether the response, read leniently, answers the question."""

    def is_bare(self, reference: Any, response: str) -> bool:
        """Tell whether the response is the asked form and nothing else."""
        return response.strip().rstrip(".").casefold() == str(reference).casefold()

    def sample(self, complexity: int, rng: np.random.Generator) -> Example:
        """Draw a query in one of the phrasings, with a right answer.

        Parameters
        ----------
        complexity
            1 to 3.
        rng
            The only source of chance.
        """
        draw = self.draw(complexity, rng)
        phrasing = pick(rng, self.phrasings)
        ending = pick(rng, self.known_endings)
        return self.ask(draw, complexity=complexity, phrasing=phrasing, ending=ending)

    @property
    def known_endings(self) -> tuple[str, ...]:
        """The sentences that ask for the form: the task's own, or those of its form."""
        return self.endings or ENDINGS[self.form]

    def ask(self, draw: Draw, *, complexity: int, phrasing: str, ending: str) -> Example:
        """Put a draw into words.

        Parameters
        ----------
        draw
            What is asked.
        complexity
            The complexity that it was drawn at.
        phrasing
            Format string over the draw's slots: one of `phrasings`, or another with the same slots.
        ending
            The sentence that asks for the form.
        """
        text = f"{phrasing.format(**draw.slots)} {ending}"
        return Example(self.query(text, draw, complexity=complexity), draw.target)

    def query(self, text: str, draw: Draw, *, complexity: int) -> Query:
        """Make the record of a text that asks for a draw."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return Query(
            query_id=f"{self.name}-{digest}",
            text=text,
            domain=self.domain,
            task=self.name,
            complexity=complexity,
            form=self.form,
            form_size=draw.form_size,
            reference=json.dumps(draw.reference),
        )

    def verify(self, query: Query, response: str) -> Verdict:
        """Score a response against the query's reference.

        Raises
        ------
        ValueError
            If the query belongs to another task or has no reference.
        """
        if query.task != self.name or not query.reference:
            raise ValueError(
                f"query {query.query_id!r} (task {query.task!r}) cannot be verified by task "
                f"{self.name!r}: give a query that this task made."
            )
        reference = json.loads(query.reference)
        right = not _is_empty_or_echo(query.text, response) and self.is_right(reference, response)
        return Verdict(float(right), float(right and self.is_bare(reference, response)))


def _is_empty_or_echo(text: str, response: str) -> bool:
    """Tell whether a response says nothing, or nothing but the query's own beginning."""
    said = normalise(response)
    return not said or (len(said.split()) >= 3 and normalise(text).startswith(said))


def pick(rng: np.random.Generator, options: Any) -> Any:
    """Choose one of a sequence."""
    return options[int(rng.integers(len(options)))]


def pick_distinct(rng: np.random.Generator, options: Any, count: int) -> list[Any]:
    """Choose several different ones of a sequence, in random order."""
    return [options[int(i)] for i in rng.choice(len(options), size=count, replace=False)]


def reasoning_gym_item(dataset: str, rng: np.random.Generator, **config: Any) -> dict[str, Any]:
    """Draw one item of a reasoning-gym data set.

    Raises
    ------
    ImportError
        If reasoning-gym is not installed; the message carries the remedy.
    """
    try:
        import reasoning_gym
    except ImportError as error:
        raise ImportError(
            f"the task on {dataset!r} needs reasoning-gym: pip install 'routing-gym[llm]'."
        ) from error
    seed = int(rng.integers(2**31))
    return reasoning_gym.create_dataset(dataset, seed=seed, size=1, **config)[0]
