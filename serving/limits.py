"""How many requests at once: a bounded queue that refuses at once what it has no room for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import TracebackType

from routing_gym.serving.errors import Overloaded

_MEMORY = 0.9  # weight of the past in the mean time that a turn takes


class Gate:
    """Lets so many requests work and so many wait, in the order of their arrival.

    Parameters
    ----------
    concurrency
        Requests that work at the same time, at least 1.
    queue_size
        Requests that wait, at least 0.

    Raises
    ------
    ValueError
        If a number is too small.
    """

    def __init__(self, *, concurrency: int, queue_size: int) -> None:
        if concurrency < 1 or queue_size < 0:
            raise ValueError(
                f"concurrency={concurrency} must be at least 1, queue_size={queue_size} at least 0."
            )
        self._concurrency = concurrency
        self._queue_size = queue_size
        self._waiting: deque[Ticket] = deque()
        self._in_flight = 0
        self._turn_seconds = 1.0

    @property
    def in_flight(self) -> int:
        """Requests that work."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def enter(self) -> Ticket:
        """Take a place, at work or in the queue.

        Returns
        -------
        Ticket
            A context manager that gives the place back; ``await ticket.turn()`` before the work.

        Raises
        ------
        Overloaded
            If both are full; it says after how many seconds there is likely to be room.
        """
        ticket = Ticket(self)
        if self._in_flight < self._concurrency:
            self._in_flight += 1
            ticket.grant()
        elif len(self._waiting) < self._queue_size:
            self._waiting.append(ticket)
        else:
            turns = (len(self._waiting) + 1) / self._concurrency
            raise Overloaded(
                "queue_full",
                f"the server writes {self._in_flight} answers and {len(self._waiting)} requests "
                "wait: try again later.",
                retry_after=turns * self._turn_seconds,
            )
        return ticket

    def _leave(self, ticket: Ticket) -> None:
        """Give a ticket's place to the next in the queue."""
        if not ticket.granted:
            self._waiting.remove(ticket)
            return
        self._turn_seconds += (1 - _MEMORY) * (ticket.seconds - self._turn_seconds)
        if self._waiting:
            self._waiting.popleft().grant()
        else:
            self._in_flight -= 1


class Ticket:
    """A place in a `Gate`; made by `Gate.enter`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._turn = asyncio.get_running_loop().create_future()
        self._start = 0.0
        self._left = False

    @property
    def granted(self) -> bool:
        """Whether the turn has come."""
        return self._turn.done() and not self._turn.cancelled()

    @property
    def seconds(self) -> float:
        """Seconds since the turn came."""
        return time.monotonic() - self._start

    def grant(self) -> None:
        """Let the turn come."""
        self._start = time.monotonic()
        self._turn.set_result(None)

    async def turn(self) -> None:
        """Wait for the turn."""
        await asyncio.shield(self._turn)  # a cancelled waiter must not cancel the grant

    def leave(self) -> None:
        """Give the place back; a second call does nothing."""
        if not self._left:
            self._left = True
            self._gate._leave(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
