from __future__ import annotations

import numpy as np
import pytest

from routing_gym.serving.exploration import Exploration

VALUES = np.array([[0.1, 0.5, 0.3], [2.0, 2.0, 1.0]])
SHARES = np.array([[0.2, 0.7, 0.1], [0.5, 0.0, 0.5]])
E = np.exp


@pytest.mark.parametrize(
    ("exploration", "expected"),
    [
        (Exploration(), [[0, 1, 0], [1, 0, 0]]),  # the first of equals
        (Exploration("epsilon", epsilon=0.3), [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]),
        (Exploration("epsilon", epsilon=1.0), [[1 / 3] * 3, [1 / 3] * 3]),
        (Exploration("policy"), [[0, 1, 0], [1, 0, 0]]),
        (
            Exploration("softmax", temperature=0.2),
            [
                np.array([E(0.5), E(2.5), E(1.5)]) / (E(0.5) + E(2.5) + E(1.5)),
                np.array([1, 1, E(-5)]) / (2 + E(-5)),
            ],
        ),
    ],
)
def test_values_become_exact_distributions(exploration: Exploration, expected: list) -> None:
    result = exploration.apply(VALUES, output="values")
    np.testing.assert_allclose(result, expected, atol=1e-15)
    assert result.dtype == np.float64


@pytest.mark.parametrize(
    ("exploration", "expected"),
    [
        (Exploration(), [[0, 1, 0], [1, 0, 0]]),
        (Exploration("policy"), SHARES),
        (Exploration("softmax"), SHARES),  # temperature 1 changes nothing
        (
            Exploration("softmax", temperature=0.5),
            [np.square(SHARES[0]) / np.square(SHARES[0]).sum(), [0.5, 0, 0.5]],
        ),
        (Exploration("epsilon", epsilon=0.03), [[0.01, 0.98, 0.01], [0.98, 0.01, 0.01]]),
    ],
)
def test_probabilities_become_exact_distributions(exploration: Exploration, expected: list) -> None:
    np.testing.assert_allclose(
        exploration.apply(SHARES, output="probabilities"), expected, atol=1e-15
    )


@pytest.mark.parametrize(
    ("exploration", "output", "expected"),
    [
        (Exploration(), "values", [[0, 0, 1], [0, 1, 0]]),
        (Exploration("epsilon", epsilon=0.2), "values", [[0.1, 0, 0.9], [0, 0.9, 0.1]]),
        (Exploration("policy"), "probabilities", [[2 / 3, 0, 1 / 3], [0, 0, 1]]),
        (Exploration("softmax"), "probabilities", [[2 / 3, 0, 1 / 3], [0, 0, 1]]),
    ],
)
def test_forbidden_adapters_get_nothing(
    exploration: Exploration, output: str, expected: list
) -> None:
    mask = np.array([[True, False, True], [False, True, True]])
    scores = VALUES if output == "values" else SHARES
    result = exploration.apply(scores, mask, output=output)  # type: ignore[arg-type]
    np.testing.assert_allclose(result, expected, atol=1e-15)


def test_allowed_adapters_without_mass_share_it() -> None:
    mask = np.array([False, True, False])
    for kind in ("greedy", "policy", "softmax", "epsilon"):
        result = Exploration(kind).apply(SHARES[1:], mask, output="probabilities")  # type: ignore[arg-type]
        np.testing.assert_array_equal(result, [[0, 1, 0]])


def test_large_values_do_not_overflow() -> None:
    values = np.array([[1e6, -1e6, 1e6 - 1]])
    result = Exploration("softmax", temperature=1e-3).apply(values, output="values")
    np.testing.assert_allclose(result, [[1, 0, 0]], atol=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "boltzmann"}, "choose greedy, epsilon, softmax, policy"),
        ({"epsilon": 1.5}, r"epsilon=1.5 is outside \[0, 1\]"),
        ({"epsilon": float("nan")}, "outside"),
        ({"temperature": 0.0}, "not above 0"),
        ({"temperature": float("inf")}, "not above 0"),
    ],
)
def test_refuses_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exploration(**settings)


@pytest.mark.parametrize(
    ("scores", "mask", "output", "message"),
    [
        (np.array([[np.nan, 1.0]]), None, "values", "must be finite"),
        (np.array([[0.5, 0.6]]), None, "probabilities", "is no distribution"),
        (np.ones((1, 2)), np.array([False, False]), "values", "forbids every adapter"),
        (np.ones((1, 2)), np.array([True] * 3), "values", "True where an adapter may be chosen"),
    ],
)
def test_refuses_bad_scores(
    scores: np.ndarray, mask: np.ndarray | None, output: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Exploration().apply(scores, mask, output=output)  # type: ignore[arg-type]
