"""What can be asked of Drift-v0: events, when they fall, and what was expected of the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import require_number

Event = Literal["degrade", "exchange", "appear", "none"]
EVENTS: tuple[Event, ...] = ("degrade", "exchange", "appear", "none")
DRAWN: tuple[Event, ...] = ("exchange", "exchange", "degrade", "appear")
"""Half of the episodes exchange two adapters: the change from which there is most to learn."""
Mix = Literal["piecewise", "continuous"]
MIXES: tuple[Mix, ...] = ("piecewise", "continuous")


def window_of(window: tuple[float, float]) -> tuple[float, float]:
    """Read the share of the episode in which the event falls.

    Raises
    ------
    ValueError
        If it is no pair of shares in order.
    """
    if isinstance(window, str) or not isinstance(window, Sequence) or len(window) != 2:
        raise ValueError(f"window={window!r} must be two shares, such as (0.2, 0.6).")
    early = require_number("window[0]", window[0], high=1.0)
    late = require_number("window[1]", window[1], high=1.0)
    if early > late:
        raise ValueError(f"window={window!r} ends before it begins: give the earlier share first.")
    return early, late


def events_of(events: Sequence[Event]) -> tuple[Event, ...]:
    """Read what may happen.

    Raises
    ------
    ValueError
        If it is empty, or a name is unknown.
    """
    if isinstance(events, str) or not isinstance(events, Sequence) or not events:
        raise ValueError(f"events={events!r} must be a list out of {', '.join(EVENTS)}.")
    for event in events:
        if event not in EVENTS:
            raise ValueError(f"events={list(events)!r} holds {event!r}: use {', '.join(EVENTS)}.")
    return tuple(events)


def changes_of(values: np.ndarray, event: Event) -> np.ndarray:
    """List to whom an event can happen.

    Parameters
    ----------
    values
        float64 (N, K).
    event
        One of `EVENTS`.

    Returns
    -------
    np.ndarray
        int64 (P, 2), an adapter and the other one in it.

    Raises
    ------
    ValueError
        If it would change nothing.
    """
    count = values.shape[1]
    if event in ("appear", "none"):
        return np.stack([np.arange(count)] * 2, axis=1)
    best = values >= values.max(axis=1, keepdims=True)
    pairs = []
    for first, second in permutations(range(count), 2):
        # Worse where it counts: on the queries that the first one answers best.
        worse = values[best[:, first], first].sum() > values[best[:, first], second].sum()
        differ = not np.array_equal(values[:, first], values[:, second])
        if worse if event == "degrade" else differ and first < second:
            pairs.append((first, second))
    if not pairs:
        raise ValueError(
            f"event {event!r} changes nothing here, as all adapters are worth the same on every "
            "query: leave it out, or take a table on which they differ."
        )
    return np.array(pairs, dtype=np.int64)


def expected_of(
    data: RoutingData, expected: np.ndarray | Literal["observations"] | None
) -> np.ndarray:
    """Read what the adapters were expected to earn, float64 (N, K).

    Raises
    ------
    ValueError
        If the numbers do not fit the data.
    """
    shape = data.rewards.shape
    if expected is None:
        return np.zeros(shape)
    if isinstance(expected, str):
        if expected != "observations" or data.observations.shape[1] < shape[1]:
            raise ValueError(
                f"expected={expected!r} must be 'observations', on data whose first K = "
                f"{shape[1]} observation entries are predictions, or an array (N, K)."
            )
        return data.observations[:, : shape[1]].astype(np.float64)
    array = np.asarray(expected)
    if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"expected has shape {array.shape} and dtype {array.dtype}: give finite numbers of "
            f"shape (N, K) = {shape}."
        )
    return array.astype(np.float64)
