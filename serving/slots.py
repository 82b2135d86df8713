"""Places for requests at once, none of which is lost when a waiting client leaves."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """A number of places, given out in the order of arrival.

    `asyncio.wait_for` around a semaphore may swallow a cancellation that comes in the moment in
    which the wait ends (Python 3.10 and 3.11): the request of a client that left would run on.

    Parameters
    ----------
    count
        Places, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return self._free

    async def acquire(self, patience: float) -> None:
        """Take a place; without waiting if one is free.

        Parameters
        ----------
        patience
            Seconds to wait for one.

        Raises
        ------
        TimeoutError
            If none has become free.
        """
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn}, timeout=patience)
        except asyncio.CancelledError:
            if turn.done():  # the place came, but nobody is left who would give it back
                self.release()
            else:
                self._waiting.remove(turn)
            raise
        if not turn.done():
            self._waiting.remove(turn)
            raise TimeoutError(f"no place within {patience:g} s.")

    def release(self) -> None:
        """Give a place back, to the first who waits."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1
