from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from routing_gym.agents.thompson import best_draw_probabilities

EVERY = np.ones((1, 2), dtype=bool)


@pytest.mark.parametrize(
    ("means", "scales"),
    [([0.2, 0.0], [0.3, 0.4]), ([1.0, 0.0], [0.01, 2.0]), ([5.0, 0.0], [0.1, 0.1])],
)
def test_two_normals_have_a_closed_form(means: list[float], scales: list[float]) -> None:
    found = best_draw_probabilities(np.array([means]), np.array([scales]), EVERY)
    expected = special.ndtr((means[0] - means[1]) / np.hypot(*scales))
    np.testing.assert_allclose(found, [[expected, 1 - expected]], atol=1e-3)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("degrees", [None, np.array([6.0, 3.0, 40.0, 500.0])])
def test_many_adapters_agree_with_simulation(degrees: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    means, scales = rng.random((1, 4)), rng.uniform(0.02, 0.6, (1, 4))
    size = (200_000, 4)
    noise = rng.normal(size=size) if degrees is None else rng.standard_t(degrees, size=size)
    shares = np.bincount((means + scales * noise).argmax(axis=1), minlength=4) / len(noise)
    every = np.ones((1, 4), dtype=bool)
    found = best_draw_probabilities(means, scales, every, degrees=degrees)
    np.testing.assert_allclose(found[0], shares, atol=5e-3)


def test_forbidden_adapters_take_no_part() -> None:
    means, scales = np.array([[9.0, 0.2, 0.0]]), np.array([[0.1, 0.3, 0.4]])
    found = best_draw_probabilities(means, scales, np.array([[False, True, True]]))
    assert found[0, 0] == 0
    np.testing.assert_allclose(found[0, 1], special.ndtr(0.4), atol=1e-3)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    means, scales = rng.random((600, 3)), rng.uniform(0.1, 0.5, (600, 3))
    every = np.ones((600, 3), dtype=bool)
    together = best_draw_probabilities(means, scales, every)
    alone = best_draw_probabilities(means[300:301], scales[300:301], every[:1])
    np.testing.assert_allclose(together[300:301], alone, atol=1e-12)
