from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.policy import Decision, apply_mask, choose, full_mask

HALF = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])


def test_greedy_takes_the_first_most_probable_and_is_certain() -> None:
    decision = choose(HALF)
    assert decision.actions.tolist() == [0, 2]
    assert decision.probabilities.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert decision.propensities.tolist() == [1, 1]
    assert len(decision) == 2


def test_sampling_follows_the_probabilities_and_records_them() -> None:
    rows = np.tile(HALF[1], (20_000, 1))
    decision = choose(rows, rng=np.random.default_rng(0))
    shares = np.bincount(decision.actions) / len(rows)
    np.testing.assert_allclose(shares, HALF[1], atol=0.015)
    np.testing.assert_allclose(decision.propensities, HALF[1][decision.actions])


def test_sampling_never_draws_an_impossible_adapter() -> None:
    rows = np.tile([0.0, 1.0, 0.0], (5000, 1))
    assert set(choose(rows, rng=np.random.default_rng(0)).actions.tolist()) == {1}


def test_equal_generators_draw_equal_actions() -> None:
    rows = np.full((50, 4), 0.25)
    first, second = (choose(rows, rng=np.random.default_rng(3)).actions for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_mask_moves_the_mass_in_proportion() -> None:
    masked = apply_mask(HALF, np.array([True, True, False]))
    np.testing.assert_allclose(masked, [[0.5, 0.5, 0], [0.4, 0.6, 0]])


def test_mask_that_leaves_no_mass_becomes_uniform_over_the_allowed() -> None:
    masked = apply_mask(np.array([[1.0, 0.0, 0.0]]), np.array([[False, True, True]]))
    np.testing.assert_allclose(masked, [[0, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5, 0.5], r"not \(N, K\)"),
        ([[0.5, 0.6]], r"probabilities\[0\].*no distribution"),
        ([[0.5, 0.5], [-0.5, 1.5]], r"probabilities\[1\].*no distribution"),
        ([[np.nan, 1.0]], "no distribution"),
    ],
)
def test_choose_refuses_what_is_no_distribution(probabilities: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(np.array(probabilities))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.array([True, False]), "mask is bool"),
        (np.array([1, 0, 1]), "mask is int64"),
        (np.zeros(3, dtype=bool), "forbids every adapter of query 0"),
        (np.array([[True] * 3, [False] * 3]), "forbids every adapter of query 1"),
    ],
)
def test_full_mask_refuses(mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        full_mask(mask, (2, 3))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0], "one adapter index per query"),
        ([0.0, 1.0], "not integers"),
        ([0, 3], "outside 0 to 2"),
        ([2, 0], r"actions\[0\] = 2 has probability 0"),
    ],
)
def test_decision_refuses(actions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decision(np.array(actions), HALF)
