from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.agents.ridge import RidgeAgent, _Moments
from tests.agents.problems import by_hand, identity

TRAIN = by_hand([[0, 1], [1, 1], [1, 0]], observations=[[-1], [0], [1]])


def train(agent: RidgeAgent, **splits: Any) -> RidgeAgent:
    agent.train(splits.get("train", TRAIN), validation=splits.get("validation", TRAIN), seed=0)
    return agent


def test_weights_by_hand() -> None:
    # x is centred with mean square 2/3; x'r / N = (1/3, -1/3); so W = (1/3) / (2/3 + penalty)
    agent = train(RidgeAgent(penalties=(1 / 3,)))
    np.testing.assert_allclose(
        agent.values(np.array([[0.0], [3.0]])), [[2 / 3, 2 / 3], [5 / 3, -1 / 3]]
    )


def test_the_intercept_is_not_penalised() -> None:
    agent = train(RidgeAgent(penalties=(1e6,)))
    np.testing.assert_allclose(agent.values(np.array([[1.0]])), [[2 / 3, 2 / 3]], atol=1e-5)


def test_each_block_has_its_own_penalty() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    rewards = np.stack([x[:, 0], x[:, 2]], axis=1)
    data = by_hand(rewards.tolist(), observations=x.tolist())
    agent = train(
        RidgeAgent(blocks=(2, 1), block_penalties=(1e-9, 1e9)), train=data, validation=data
    )
    np.testing.assert_allclose(agent._weights[:, 0], [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(agent._weights[2], 0, atol=1e-6)


def test_validation_chooses_the_penalty() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 30))
    noise = by_hand(rng.normal(size=(60, 2)).tolist(), observations=x.tolist())
    assert train(RidgeAgent(), train=noise, validation=identity_like(rng)).block_penalties == (3.0,)
    clean = by_hand(np.stack([x[:, 0], -x[:, 0]], 1).tolist(), observations=x.tolist())
    assert train(RidgeAgent(), train=clean, validation=clean).block_penalties == (3e-5,)


def identity_like(rng: np.random.Generator) -> Any:
    """Rewards that do not depend on the embedding, so that the least fit is the best."""
    return by_hand(
        rng.normal(size=(200, 2)).tolist(), observations=rng.normal(size=(200, 30)).tolist()
    )


def test_noisy_block_is_penalised_more() -> None:
    rng = np.random.default_rng(2)

    def split(n: int) -> Any:
        x = rng.normal(size=(n, 22))
        x[:, 2:] *= 3
        return by_hand(np.stack([x[:, 0], -x[:, 0]], 1).tolist(), observations=x.tolist())

    signal, noise = train(
        RidgeAgent(blocks=(2, 20)), train=split(40), validation=split(200)
    ).block_penalties
    assert noise > signal


def test_generalised_cross_validation_by_hand() -> None:
    # differences +-1/2, 0, +-1/2 around 0: their squares sum to 1/2, 0, 1/2, mean 1/3. With
    # penalty 1/3, W = (1/3, -1/3), so the residuals are +-1/6: squares sum to 1/18 twice, mean
    # 1/27. H has trace 1 + (2/3) / (2/3 + 1/3) = 5/3.
    error = _Moments.of(TRAIN).gcv(np.array([1 / 3]))
    assert error == pytest.approx((1 / 27) / (1 - 5 / 9) ** 2)


def test_generalised_cross_validation_needs_no_validation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 30))
    noise = by_hand(rng.normal(size=(200, 2)).tolist(), observations=x.tolist())
    clean = by_hand(np.stack([x[:, 0], -x[:, 0]], 1).tolist(), observations=x.tolist())
    agent = train(RidgeAgent(criterion="gcv"), train=clean, validation=noise)
    assert agent.block_penalties == (3e-5,)
    agent = train(RidgeAgent(criterion="gcv"), train=noise, validation=clean)
    assert agent.block_penalties[0] >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": ()}, "penalties is empty"),
        ({"penalties": (0.0,)}, "must all be above 0"),
        ({"criterion": "aic"}, "criterion='aic' must be"),
        ({"blocks": (0, 2)}, "widths of at least 1"),
        ({"blocks": (1, 2), "block_penalties": (1.0,)}, "one penalty per block"),
    ],
)
def test_refuses_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RidgeAgent(**options)


def test_refuses_blocks_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"sum to 5, but the embeddings have width 16"):
        RidgeAgent(blocks=(2, 3)).train(
            identity("train"), validation=identity("validation"), seed=0
        )
