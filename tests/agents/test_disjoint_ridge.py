from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.disjoint_ridge import DisjointRidge
from tests.agents.bandits import FIRST, QUERY, SECOND


def give(model: DisjointRidge, lesson: tuple[list, list, list]) -> None:
    contexts, actions, rewards = lesson
    model.update(np.array(contexts), np.array(actions), np.array(rewards))


def test_two_rounds_by_hand() -> None:
    model = DisjointRidge(2, 2, ridge=1.0)
    give(model, FIRST)
    np.testing.assert_allclose(model.covariance[0], [[1 / 2, 0], [0, 1]])
    np.testing.assert_allclose(model.weights[0], [1 / 2, 0])
    give(model, SECOND)
    np.testing.assert_allclose(model.covariance[0], np.array([[2, -1], [-1, 3]]) / 5)
    np.testing.assert_allclose(model.weights[0], [0.4, -0.2])
    np.testing.assert_allclose(model.predict(QUERY), [[0.2, 0]], atol=1e-12)
    np.testing.assert_allclose(model.spread(QUERY), np.sqrt([[0.6, 2.0]]))
    assert model.counts.tolist() == [2, 0]
    # r'r - theta' A theta = 1 - (.4, -.2) . (1, 0)
    np.testing.assert_allclose(model.squared_error, [0.6, 0], atol=1e-12)
    np.testing.assert_array_equal(model.covariance[1], np.eye(2))


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_many_rounds_equal_the_closed_form(batch: int) -> None:
    rng = np.random.default_rng(0)
    x, actions, r = rng.normal(size=(500, 6)), rng.integers(3, size=500), rng.random(500)
    model = DisjointRidge(3, 6, ridge=0.5)
    for start in range(0, 500, batch):
        rows = slice(start, start + batch)
        model.update(x[rows], actions[rows], r[rows])
    for arm in range(3):
        own, reward = x[actions == arm], r[actions == arm]
        precision = 0.5 * np.eye(6) + own.T @ own
        theta = np.linalg.solve(precision, own.T @ reward)
        np.testing.assert_allclose(model.covariance[arm], np.linalg.inv(precision), atol=1e-12)
        np.testing.assert_allclose(model.weights[arm], theta, atol=1e-12)
        error = reward @ reward - theta @ precision @ theta
        assert model.squared_error[arm] == pytest.approx(error)


def test_rounding_does_not_build_up() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(20_000), rng.normal(size=(20_000, 32)) / np.sqrt(32)])
    model = DisjointRidge(1, 33, ridge=1.0)
    for row in x:
        model.absorb(0, row[None], np.ones(1))
    np.testing.assert_allclose(model.covariance[0] @ (np.eye(33) + x.T @ x), np.eye(33), atol=1e-9)


def test_arrays_bring_everything_back() -> None:
    model = DisjointRidge(2, 2, ridge=1.0)
    give(model, FIRST)
    again = DisjointRidge.from_arrays(model.arrays())
    give(model, SECOND), give(again, SECOND)
    for name, values in model.arrays().items():
        np.testing.assert_array_equal(values, again.arrays()[name])


def test_the_highest_bound_of_one_query_is_the_highest_of_many() -> None:
    rng = np.random.default_rng(0)
    x, actions, r = rng.normal(size=(60, 5)), rng.integers(3, size=60), rng.random(60)
    model = DisjointRidge(3, 5, ridge=0.7, prior=0.5)
    model.update(x, actions, r)
    together = model.upper_bounds(x, alpha=0.3)
    np.testing.assert_allclose(together, model.predict(x) + 0.3 * model.spread(x))
    for context, best in zip(x, together.argmax(axis=1), strict=True):
        assert model.highest_bound(context, alpha=0.3) == (best, True)


def test_equal_bounds_are_noticed() -> None:
    model = DisjointRidge(3, 2, ridge=1.0)
    context = np.array([1.0, 0.0])
    assert model.highest_bound(context, alpha=0.3) == (0, False)
    model.update(context[None], np.array([1]), np.array([1.0]))
    assert model.highest_bound(context, alpha=0.3) == (1, True)
    model.update(np.repeat(context[None], 2, axis=0), np.array([0, 2]), np.array([1.0, 0.0]))
    assert model.highest_bound(context, alpha=0.3) == (0, False)


def test_what_a_decision_computed_is_used_once_only() -> None:
    context = np.array([1.0, 0.5])
    first, second = (DisjointRidge(2, 2, ridge=1.0) for _ in range(2))
    first.highest_bound(context, alpha=1.0)
    for _ in range(2):  # the second time, the model has moved
        first.absorb_one(0, context, 1.0)
        second.absorb(0, context[None].copy(), np.ones(1))
    for name, values in first.arrays().items():
        np.testing.assert_allclose(values, second.arrays()[name])
