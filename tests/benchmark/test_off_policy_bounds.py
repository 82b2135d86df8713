from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_bounds import (
    common_cells,
    dr_variance,
    efficiency_bound,
    ips_variance,
    policy_value,
    snips_variance,
)

REWARDS = np.array([[1.0, 0.2], [0.0, 0.6], [0.5, 0.5], [1.0, 0.0]])
LOGGING = np.array([[0.7, 0.3]] * 2 + [[0.4, 0.6]] * 2)
TARGET = np.array([[0.1, 0.9]] * 2 + [[1.0, 0.0]] * 2)
CELLS = np.array([0, 0, 1, 1])
POLICIES = {"logging": LOGGING, "target": TARGET}


def moments(terms: np.ndarray) -> tuple[float, float]:
    """Mean and variance of a decision's term (N, K) over the whole population."""
    mean = float((LOGGING * terms).sum(axis=1).mean())
    return mean, float((LOGGING * terms**2).sum(axis=1).mean()) - mean**2


def test_value_by_hand() -> None:
    assert policy_value(REWARDS, TARGET) == pytest.approx((0.28 + 0.54 + 0.5 + 1.0) / 4)


def test_variances_against_the_enumerated_population() -> None:
    weights, value = TARGET / LOGGING, policy_value(REWARDS, TARGET)
    mean, variance = moments(weights * REWARDS)
    assert mean == pytest.approx(value)
    assert ips_variance(REWARDS, **POLICIES) == pytest.approx(variance)
    assert snips_variance(REWARDS, **POLICIES) == pytest.approx(
        moments(weights * (REWARDS - value))[1]
    )
    model = np.random.default_rng(0).random(REWARDS.shape)
    terms = (TARGET * model).sum(axis=1)[:, None] + weights * (REWARDS - model)
    mean, variance = moments(terms)
    assert mean == pytest.approx(value)
    assert dr_variance(REWARDS, predictions=model, **POLICIES) == pytest.approx(variance)


def test_the_bound_is_reached_by_the_conditional_mean_and_by_no_other_model() -> None:
    means = np.array([[0.5, 0.4]] * 2 + [[0.75, 0.25]] * 2)
    bound = efficiency_bound(REWARDS, cells=CELLS, **POLICIES)
    assert dr_variance(REWARDS, predictions=means, **POLICIES) == pytest.approx(bound)
    rng = np.random.default_rng(1)
    for _ in range(20):
        other = np.repeat(rng.random((2, 2)), 2, axis=0)  # a function of the cell
        assert dr_variance(REWARDS, predictions=other, **POLICIES) >= bound


def test_with_every_row_a_cell_only_the_rows_vary() -> None:
    bound = efficiency_bound(REWARDS, cells=np.arange(4), **POLICIES)
    assert bound == pytest.approx((TARGET * REWARDS).sum(axis=1).var())


def test_cells_are_split_until_policies_are_constant() -> None:
    found = common_cells(np.zeros(4), LOGGING, TARGET)
    assert found[0] == found[1] != found[2] == found[3]
    assert sorted(set(found.tolist())) == [0, 1]
    with pytest.raises(ValueError, match="logging varies within a cell: refine"):
        efficiency_bound(REWARDS, cells=np.zeros(4, dtype=int), **POLICIES)


def test_a_target_without_support_has_no_variance() -> None:
    logging = LOGGING.copy()
    logging[2] = [0.0, 1.0]
    with pytest.raises(ValueError, match=r"logging\[2, 0\] = 0 where target is 1"):
        ips_variance(REWARDS, logging=logging, target=TARGET)
