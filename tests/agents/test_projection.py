from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.projection import Projection
from tests.agents.problems import identity


def test_by_hand() -> None:
    rows = np.array([[3.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])  # mean (1, 1), squared norms 4, 4, 0
    projection = Projection.fit(rows, components=1)
    contexts = projection(rows)
    np.testing.assert_allclose(contexts[:, 0], 1)
    assert contexts[0, 1] > 0
    np.testing.assert_allclose(contexts[:, 1], np.array([2, -2, 0]) / np.sqrt(8 / 3))


def test_without_components_the_embedding_is_scaled_only() -> None:
    rows = np.array([[3.0, 0.0], [0.0, 1.0]])
    contexts = Projection.fit(rows, components=0)(rows)
    np.testing.assert_allclose(contexts, np.column_stack([np.ones(2), rows / np.sqrt(5)]))


@pytest.mark.parametrize("components", [0, 4, 100])
def test_mean_squared_norm_is_one(components: int) -> None:
    rows = identity("train").observations
    projection = Projection.fit(rows, components=components)
    contexts = projection(rows)
    assert contexts.shape == (len(rows), projection.width)
    assert projection.width == 1 + (min(components, 16) or 16)
    assert (contexts[:, 1:] ** 2).sum(axis=1).mean() == pytest.approx(1)


def test_keeps_the_directions_of_largest_variance() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3)) * [1, 10, 5]
    contexts = Projection.fit(rows, components=2)(rows)
    assert abs(np.corrcoef(contexts[:, 1], rows[:, 1])[0, 1]) > 0.999
    assert abs(np.corrcoef(contexts[:, 2], rows[:, 2])[0, 1]) > 0.99


def test_embeddings_that_are_all_alike_leave_the_intercept() -> None:
    rows = np.ones((5, 3))
    np.testing.assert_array_equal(Projection.fit(rows, components=2)(rows), [[1, 0, 0]] * 5)
