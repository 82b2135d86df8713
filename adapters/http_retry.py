"""Asking a server again: what may be tried once more, when, and how often."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import tenacity


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


def patient(
    attempts: int, *, longest_wait: float, sleep: Callable[[float], object]
) -> tenacity.Retrying:
    """Call again after a `CallError` that allows it, a bounded number of times.

    Between two calls lies an exponential back-off with jitter, or what the server asks for.

    Parameters
    ----------
    attempts
        Calls in all, at least 1.
    longest_wait
        Seconds; the longest back-off.
    sleep
        Waits for a number of seconds.

    Raises
    ------
    ModuleNotFoundError
        If tenacity is not installed.
    """
    try:
        import tenacity
    except ImportError as error:
        raise ModuleNotFoundError(
            "asking a server again needs tenacity: pip install 'routing-gym[judge]'"
        ) from error
    backoff = tenacity.wait_exponential_jitter(max=longest_wait)

    def wait(state: Any) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        if asked is None:
            return float(backoff(state))
        # Not all threads at once, and never earlier than asked.
        return float(asked) + random.uniform(0.0, 0.25)

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=wait,
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, CallError) and e.again),
        sleep=cast(Any, sleep),
        reraise=True,
    )


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from its headers; None if it does not say.

    Knows ``retry-after-ms``, and ``retry-after`` in seconds or as a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
