"""Random numbers for lanes: what a lane draws depends on its seed and its past draws alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.envs.dynamics import draw, mix, stream_keys

_STEP = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


class LaneStreams:
    """One stream of random numbers per lane, drawn for any part of the lanes at once.

    A scalar environment with seed s and lane i of a vectorised one with seed s - i draw the same
    numbers, however many lanes there are.

    Parameters
    ----------
    lanes
        L, the number of streams.
    """

    def __init__(self, lanes: int) -> None:
        self._keys = np.zeros(lanes, dtype=np.uint64)
        self._counters = np.zeros(lanes, dtype=np.uint64)

    def seed(self, seed: int | Sequence[int | None], mask: np.ndarray | None = None) -> None:
        """Start streams anew.

        Parameters
        ----------
        seed
            An integer s gives lane i the stream of seed s + i; a sequence gives each lane its own,
            None leaves it as it is.
        mask
            bool (L,), the lanes that may be touched; None is all.

        Raises
        ------
        ValueError
            If a sequence has not one entry per lane.
        """
        lanes = len(self._keys)
        touched = np.ones(lanes, dtype=np.bool_) if mask is None else mask
        if isinstance(seed, (int, np.integer)):
            keys = stream_keys(int(seed), lanes)
        else:
            if len(seed) != lanes:
                raise ValueError(f"seed has {len(seed)} entries, not L = {lanes}.")
            keys = np.concatenate([stream_keys(lane or 0) for lane in seed])
            touched = touched & np.array([lane is not None for lane in seed])
        self._keys = np.where(touched, keys, self._keys)
        self._counters[touched] = 0

    def integers(self, lanes: np.ndarray, high: int) -> np.ndarray:
        """Draw one integer per lane.

        Parameters
        ----------
        lanes
            int64 (M,), the lanes that draw; each at most once.
        high
            Number of values, 1 to 2**32.

        Returns
        -------
        np.ndarray
            int64 (M,) in [0, high).
        """
        drawn = draw(self._keys[lanes], self._counters[lanes], high=high)
        self._counters[lanes] += np.uint64(1)
        return drawn

    def uniform(self, lanes: np.ndarray) -> np.ndarray:
        """Draw one number per lane, float64 (M,) in [0, 1)."""
        words = mix(self._keys[lanes] + (self._counters[lanes] + np.uint64(1)) * _STEP)
        self._counters[lanes] += np.uint64(1)
        return (words >> np.uint64(11)).astype(np.float64) * _TO_UNIT

    def choice(self, lanes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Draw one of several values per lane in proportion to weights.

        Parameters
        ----------
        lanes
            int64 (M,).
        weights
            float64 (V,) or (M, V), none negative, each row with a positive sum.

        Returns
        -------
        np.ndarray
            int64 (M,) in [0, V).
        """
        cumulative = np.cumsum(np.broadcast_to(weights, (len(lanes), weights.shape[-1])), axis=1)
        total = cumulative[:, -1:]
        levels = np.minimum(self.uniform(lanes)[:, None] * total, np.nextafter(total, 0))
        return (cumulative <= levels).sum(axis=1)
