"""What a pool reports when some of its answers failed for good: all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from routing_gym.adapters.generation import Completion

_SHOWN = 3


class UnansweredError(OSError):
    """Some queries were not answered; what was answered is kept here.

    Parameters
    ----------
    adapter
        Who was asked.
    texts
        The queries.
    answers
        One per query, None where there is none.
    reasons
        Row of an unanswered query -> what happened.
    fatal
        Why asking further queries is of no use; "" if it is.
    """

    def __init__(
        self,
        adapter: str,
        texts: Sequence[str],
        *,
        answers: Sequence[Completion | None],
        reasons: Mapping[int, str],
        fatal: str = "",
    ) -> None:
        self.adapter, self.texts, self.fatal = adapter, tuple(texts), fatal
        self.answers, self.reasons = tuple(answers), dict(reasons)
        named = [f"{texts[row][:60]!r} ({why})" for row, why in self.reasons.items()]
        super().__init__(unanswered_sentence(adapter, named, asked=len(texts), fatal=fatal))

    def __reduce__(self) -> Any:
        rest: dict[str, Any] = {
            "answers": self.answers,
            "reasons": self.reasons,
            "fatal": self.fatal,
        }
        return partial(UnansweredError, **rest), (self.adapter, self.texts)


def unanswered_sentence(adapter: str, named: Sequence[str], *, asked: int, fatal: str = "") -> str:
    """Say which queries were not answered, and why.

    Parameters
    ----------
    adapter
        Who was asked.
    named
        The unanswered queries, each with its reason.
    asked
        How many queries there were.
    fatal
        Why the rest was not asked.
    """
    shown = "; ".join(named[:_SHOWN]) + ("; ..." if len(named) > _SHOWN else "")
    lost = f"adapter {adapter!r} did not answer {len(named)} of {asked} queries: {shown}"
    return f"{fatal}; {lost}" if fatal else lost
