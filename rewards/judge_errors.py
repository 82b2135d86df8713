"""What can go wrong with a judge, none of it with a key in its text.

`CallError` concerns one request; the others end the whole run. Those are OSErrors, because the
trouble is outside of this program.
"""

from __future__ import annotations

from routing_gym.adapters.http_retry import CallError


class JudgeError(OSError):
    """The judge cannot go on."""


class KeyRefusedError(JudgeError):
    """The server refused the key, or wants one."""


class BudgetError(JudgeError):
    """The budget does not allow another request."""


class FormatRefusedError(CallError):
    """The server does not know the kind of structured output that was asked for."""
