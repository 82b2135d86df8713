"""Seeds for libraries that draw from the global generators, without touching the caller's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_seed(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators for a block, then restore them.

    Stable-Baselines3 shuffles with numpy's and initialises with torch's global generator; inside
    this block that is repeatable, and outside nothing has happened.

    Parameters
    ----------
    seed
        At least 0, below 2**32.

    Raises
    ------
    ValueError
        If the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is out of range: give 0 to 2**32 - 1.")
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - saved so that it can be given back
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - what Stable-Baselines3 draws from
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - given back
