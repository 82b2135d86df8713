from __future__ import annotations

from typing import Any

import pytest

from routing_gym.queries.query import Query


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ""}, "query 'q' has an empty text"),
        ({"text": " \n"}, "query 'q' has an empty text"),
        ({"complexity": 4}, "complexity=4 of 'q': use 0 to 3"),
        ({"complexity": -1}, "complexity=-1 of 'q'"),
        ({"form": "poem"}, "form='poem' of 'q': use one of"),
    ],
)
def test_wrong_queries(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"query_id": "q", "text": "Why?", "domain": "general", "task": "toy"}
    with pytest.raises(ValueError, match=message):
        Query(**(right | change))
