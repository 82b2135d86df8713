"""What can go wrong with a judge, none of it with a key in its text.

`CallError` concerns one request; the others end the whole run. Those are OSErrors, because the
trouble is outside of this program.
"""

from __future__ import annotations


class JudgeError(OSError):
    """The judge cannot go on."""


class KeyRefusedError(JudgeError):
    """The server refused the key, or wants one."""


class BudgetError(JudgeError):
    """The budget does not allow another request."""


class CallError(Exception):
    """One request came to nothing.

    Parameters
    ----------
    message
        What happened.
    again
        Whether the same request may succeed later.
    retry_after
        Seconds that the server asks to wait, None if it does not say.
    """

    def __init__(
        self, message: str, *, again: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.again = again
        self.retry_after = retry_after


class FormatRefusedError(CallError):
    """The server does not know the kind of structured output that was asked for."""
