from __future__ import annotations

import pytest

from routing_gym.rewards.cost import Seconds, Tokens
from routing_gym.rewards.metric import Answer

QUERY = "What does a large river carry to the sea?"


def test_costs_are_shares_of_their_ceilings() -> None:
    answers = [
        Answer(QUERY, "x", completion_tokens=32, seconds=1.0),
        Answer(QUERY, "x", completion_tokens=999, seconds=99.0),
        Answer(QUERY, "12345678"),
    ]
    assert Tokens(ceiling=64).score(answers).tolist() == [0.5, 1.0, 2 / 64]
    assert Seconds(ceiling=4).score(answers).tolist() == [0.25, 1.0, 0.0]


@pytest.mark.parametrize("ceiling", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("cost", [Tokens, Seconds])
def test_wrong_ceiling(cost: type[Tokens] | type[Seconds], ceiling: float) -> None:
    with pytest.raises(ValueError, match=r"ceiling=.*positive"):
        cost(ceiling=ceiling)
