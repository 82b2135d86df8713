"""A lane's random numbers depend on its seed and its own past draws alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.envs.dynamics import draw, stream_keys
from routing_gym.envs.streams import LaneStreams

ALL = np.arange(3)


def seeded(seed: Any, lanes: int = 3) -> LaneStreams:
    streams = LaneStreams(lanes)
    streams.seed(seed)
    return streams


def test_integers_are_those_of_the_one_step_environment() -> None:
    streams = seeded(7)
    drawn = np.array([streams.integers(ALL, 100) for _ in range(20)])
    for lane in range(3):
        expected = draw(stream_keys(7 + lane), np.arange(20, dtype=np.uint64), high=100)
        assert drawn[:, lane].tolist() == expected.tolist()


def test_a_lane_is_the_stream_of_its_seed_whatever_the_others_draw() -> None:
    many, alone = seeded(10), seeded(12, lanes=1)
    many.uniform(np.array([0, 1]))
    many.integers(np.array([1]), 5)
    one = np.zeros(1, dtype=np.int64)
    for _ in range(5):
        assert many.uniform(np.array([2])) == alone.uniform(one)
        assert many.integers(np.array([0, 2]), 50)[1] == alone.integers(one, 50)[0]
        assert many.choice(ALL, np.ones(4))[2] == alone.choice(one, np.ones(4))[0]


def test_numbers_are_uniform() -> None:
    streams = seeded(0, lanes=2000)
    lanes = np.arange(2000)
    levels = np.concatenate([streams.uniform(lanes) for _ in range(50)])
    assert levels.min() >= 0
    assert levels.max() < 1
    assert levels.mean() == pytest.approx(0.5, abs=0.005)
    assert levels.var() == pytest.approx(1 / 12, abs=0.002)
    drawn = np.concatenate([streams.integers(lanes, 7) for _ in range(50)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / len(drawn), 1 / 7, atol=0.005)
    # successive draws of a lane, and draws of neighbouring lanes, are unrelated
    grid = levels.reshape(50, 2000)
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.01


def test_choice_follows_the_weights() -> None:
    lanes = np.arange(3000)
    streams = seeded(1, lanes=3000)
    weights = np.array([1.0, 0.0, 3.0, 4.0])
    drawn = np.concatenate([streams.choice(lanes, weights) for _ in range(10)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / len(drawn), weights / 8, atol=0.01)
    own = np.zeros((3000, 4))
    own[lanes, lanes % 4] = 0.2
    assert (streams.choice(lanes, own) == lanes % 4).all()


def test_seeds() -> None:
    streams, twin = seeded([3, 8, 5]), seeded(3, lanes=1)
    first = streams.uniform(ALL)
    assert first[0] == twin.uniform(np.zeros(1, dtype=np.int64))[0]
    streams.seed([None, 8, None])  # lane 1 anew, the others go on
    second = streams.uniform(ALL)
    assert second[1] == first[1]
    assert second[0] != first[0]
    streams.seed(3, np.array([True, False, False]))
    third = streams.uniform(ALL)
    assert third[0] == first[0]
    assert third[1] not in (first[1], second[1])
    with pytest.raises(ValueError, match="seed has 2 entries, not L = 3"):
        streams.seed([1, 2])
