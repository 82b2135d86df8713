"""The records that everything else passes around: a query, and a query with its target answer."""

from __future__ import annotations

from dataclasses import dataclass

FORMS = ("word", "number", "list", "date", "record", "sentence", "code")
COMPLEXITIES = (1, 2, 3)


@dataclass(frozen=True)
class Query:
    """One question as a user would send it, with what its verifier needs kept apart.

    Parameters
    ----------
    query_id
        Unique in its table.
    text
        What the model sees; it says which form of answer is wanted.
    domain, task
        The task's domain (``"reasoning"``, ``"code"``, ``"creative"``, ``"analysis"`` or
        ``"general"``) and its name in the `TASKS` registry.
    complexity
        1 (easy) to 3 (hard); 0 where a table does not know.
    form
        The asked form of answer, one of `FORMS`, or "" where a table does not know.
    form_size
        How many items or words the text asks for; 0 where it leaves that free.
    reference
        JSON for the task's verifier. No metric reads it.
    split
        ``"train"``, ``"validation"``, ``"test"`` or "" before the splits are drawn.

    Raises
    ------
    ValueError
        If the text is empty, or the complexity or the form is unknown.
    """

    query_id: str
    text: str
    domain: str
    task: str
    complexity: int = 0
    form: str = ""
    form_size: int = 0
    reference: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(
                f"query {self.query_id!r} has an empty text: give it words or drop it."
            )
        if self.complexity not in (0, *COMPLEXITIES):
            raise ValueError(f"complexity={self.complexity} of {self.query_id!r}: use 0 to 3.")
        if self.form and self.form not in FORMS:
            raise ValueError(f"form={self.form!r} of {self.query_id!r}: use one of {FORMS} or ''.")


@dataclass(frozen=True)
class Example:
    """A query with one right answer, as adapters are trained on it."""

    query: Query
    target: str


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of a response.

    Parameters
    ----------
    accuracy
        1.0 if the answer, extracted leniently, is right, else 0.0.
    strict
        1.0 if the response is right and nothing but the asked form, else 0.0.
    """

    accuracy: float
    strict: float
