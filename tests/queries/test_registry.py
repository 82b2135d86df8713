from __future__ import annotations

import pytest

from routing_gym.queries.registry import resolve

KNOWN = {"ceil": "math:ceil", "broken": "math:nothing", "lost": "no.such.module:thing"}


def test_names_and_references_resolve() -> None:
    import math

    assert resolve(KNOWN, "ceil") is math.ceil
    assert resolve(KNOWN, "math:floor") is math.floor


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ciel", "unknown number 'ciel': known are broken, ceil, lost; did you mean 'ceil'"),
        ("zzz", "unknown number 'zzz': known are broken, ceil, lost."),
        ("broken", "number 'broken' cannot be imported from 'math:nothing'"),
        ("lost", "number 'lost' cannot be imported from 'no.such.module:thing'"),
        ("math:nothing", "cannot be imported"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(KNOWN, name, kind="number")
