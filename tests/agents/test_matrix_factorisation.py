from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.agents.matrix_factorisation import (
    Factorisation,
    MatrixFactorisationAgent,
    pair_loss,
)
from tests.agents.problems import identity


def test_score_by_hand() -> None:
    network = Factorisation(2, 2, 2)
    weights = {
        "adapters.weight": [[3.0, 4.0], [1.0, 0.0]],  # of length 1: (.6, .8) and (1, 0)
        "project.weight": [[1.0, 0.0], [0.0, 2.0]],
        "project.bias": [0.5, 0.0],
        "score.weight": [[1.0, 10.0]],
    }
    network.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    # the query's factors are (1.5, 6); scores .6 * 1.5 + 10 * .8 * 6 and 1 * 1.5
    with torch.no_grad():
        scores = network(torch.tensor([[1.0, 3.0]]))
    np.testing.assert_allclose(scores, [[48.9, 1.5]], rtol=1e-6)


def test_loss_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0, 0.0]])
    rewards = torch.tensor([[1.0, 0.0, 0.0]])
    # pairs: the first wins twice (targets 1), the others tie (target 1/2, at its optimum ln 2)
    expected = (2 * np.log1p(np.exp(-2.0)) + np.log(2)) / 3
    assert float(pair_loss(scores, rewards)) == pytest.approx(expected, rel=1e-6)


def test_a_tie_teaches_that_both_are_alike() -> None:
    scores = torch.tensor([[1.0, 0.0]], requires_grad=True)
    pair_loss(scores, torch.tensor([[0.5, 0.5]])).backward()
    assert scores.grad is not None
    assert float(scores.grad[0, 0]) > 0  # the first is scored too high


def test_training_keeps_the_best_epoch() -> None:
    agent = MatrixFactorisationAgent(epochs=12, rank=16)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    assert 1 <= agent.epoch <= 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank=0 is too small"),
        ({"epochs": 0}, "epochs=0 is too small"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is negative"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MatrixFactorisationAgent(**options)
