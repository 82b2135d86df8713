import numpy as np
import pytest

from routing_gym.serving.trial_exploration import frequency_test


def drawn(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    return (p.cumsum(axis=1) <= rng.random((len(p), 1))).sum(axis=1)


def test_pearsons_statistic_by_hand() -> None:
    # 10 draws of a fair coin, 7 heads: (7 - 5)^2 / 5 + (3 - 5)^2 / 5 = 1.6 with one degree
    actions = np.array([0] * 7 + [1] * 3)
    found = frequency_test(actions, np.full((10, 2), 0.5))
    assert found.statistic == pytest.approx(1.6)
    assert found.freedom == 1
    assert found.p_value == pytest.approx(0.2059, abs=1e-4)


def test_p_values_are_uniform_where_the_propensities_are_right() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=400)
    values = [frequency_test(drawn(rng, p), p).p_value for _ in range(300)]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_wrong_propensities_are_found() -> None:
    rng = np.random.default_rng(1)
    truth = np.tile([0.8, 0.1, 0.1], (4000, 1))
    logged = np.tile([0.85, 0.05, 0.1], (4000, 1))
    assert frequency_test(drawn(rng, truth), logged).p_value < 1e-6


def test_a_log_whose_rows_have_slipped_is_found() -> None:
    rng = np.random.default_rng(2)
    greedy = np.eye(5)[rng.integers(5, size=3000)]
    truth = 0.7 * greedy + 0.3 / 5
    actions = drawn(rng, truth)
    assert frequency_test(actions, truth).p_value > 0.001
    assert frequency_test(actions, np.roll(truth, 1, axis=0)).p_value < 1e-12


@pytest.mark.parametrize(
    ("actions", "propensities", "message"),
    [([1], [[1.0, 0.0]], "probability 0"), ([0], [[1.0, 0.0]], "every choice was certain")],
)
def test_bad_logs_are_refused(
    actions: list[int], propensities: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        frequency_test(np.array(actions), np.array(propensities))
