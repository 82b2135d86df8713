"""Streams of queries by topic: the domains of a split, and draws from one of them."""

from __future__ import annotations

import numpy as np

from routing_gym.envs.streams import LaneStreams


class Topics:
    """The queries of a split, sorted by their domain.

    Parameters
    ----------
    domains
        str (N,), the domain of each query.

    Attributes
    ----------
    names
        The domains in alphabetical order, length C.
    counts
        int64 (C,), queries of each.
    shares
        float64 (C,), their shares of the split, summing to 1.
    """

    def __init__(self, domains: np.ndarray) -> None:
        names, self.of_query = np.unique(domains, return_inverse=True)
        self.names = tuple(str(name) for name in names)
        self.counts = np.bincount(self.of_query, minlength=len(names)).astype(np.int64)
        self.shares = self.counts / self.counts.sum()
        self._order = np.argsort(self.of_query, kind="stable")
        self._first = np.cumsum(self.counts) - self.counts

    def sticky(self, stickiness: float) -> np.ndarray:
        """Make the chain that keeps a domain with one probability.

        Parameters
        ----------
        stickiness
            Probability that the next query keeps the domain; with the rest it is of another one,
            in proportion to the others' queries. With a single domain it is always kept.

        Returns
        -------
        np.ndarray
            float64 (C, C), rows sum to 1.
        """
        if len(self.names) == 1:
            return np.ones((1, 1))
        others = np.tile(self.shares, (len(self.names), 1))
        np.fill_diagonal(others, 0.0)
        chain = (1 - stickiness) * others / others.sum(axis=1, keepdims=True)
        np.fill_diagonal(chain, stickiness)
        return chain

    def draw(self, lanes: np.ndarray, chosen: np.ndarray, streams: LaneStreams) -> np.ndarray:
        """Draw one query per lane from its domain, uniformly.

        Parameters
        ----------
        lanes, chosen
            int64 (M,), the lanes that draw and the position of each one's domain.
        streams
            Where they draw from, once each.

        Returns
        -------
        np.ndarray
            int64 (M,), query numbers.
        """
        counts = self.counts[chosen]
        within = np.minimum((streams.uniform(lanes) * counts).astype(np.int64), counts - 1)
        return self._order[self._first[chosen] + within]
