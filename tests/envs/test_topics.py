"""Topics: what belongs to which domain, the sticky chain by hand, and uniform draws."""

from __future__ import annotations

import numpy as np

from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.topics import Topics

DOMAINS = np.array(["b", "a", "c", "b", "b", "a"])


def test_domains_by_hand() -> None:
    topics = Topics(DOMAINS)
    assert topics.names == ("a", "b", "c")
    assert topics.counts.tolist() == [2, 3, 1]
    assert topics.of_query.tolist() == [1, 0, 2, 1, 1, 0]
    np.testing.assert_allclose(topics.shares, [1 / 3, 1 / 2, 1 / 6])


def test_the_chain_by_hand() -> None:
    topics = Topics(DOMAINS)
    chain = topics.sticky(0.6)
    np.testing.assert_allclose(chain[0], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(chain[1], [0.4 * 2 / 3, 0.6, 0.4 / 3])
    np.testing.assert_allclose(chain.sum(axis=1), 1)
    np.testing.assert_array_equal(topics.sticky(1.0), np.eye(3))
    assert np.diag(topics.sticky(0.0)).tolist() == [0, 0, 0]
    assert Topics(np.array(["d", "d"])).sticky(0.3).tolist() == [[1.0]]


def test_draws_are_uniform_within_the_domain() -> None:
    topics, streams = Topics(DOMAINS), LaneStreams(6000)
    streams.seed(0)
    lanes = np.arange(6000)
    rows = topics.draw(lanes, lanes % 3, streams)
    np.testing.assert_array_equal(topics.of_query[rows], lanes % 3)
    shares = np.bincount(rows, minlength=6) / 2000
    np.testing.assert_allclose(shares, [1 / 3, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 2], atol=0.04)
