from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.value_agent import best_allowed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    values = np.array([[0.1, 0.2], [value, 0.3]])
    with pytest.raises(ValueError, match=r"values of row 1 .* must be finite"):
        best_allowed(values, None)
    mask = np.array([[True, True], [False, True]])
    assert best_allowed(values, mask)[1].tolist() == [0, 1]
