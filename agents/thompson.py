"""The propensities of Thompson sampling: how probable it is that each adapter's draw is highest."""

from __future__ import annotations

import numpy as np
from scipy import special

# quantiles of each adapter's distribution that the integral is taken over
_LEVELS = special.ndtr(np.linspace(-7, 7, 64))
# standard scores at which distribution functions are tabulated, close by around 0
_SCORES = np.sinh(np.linspace(-4, 4, 513))
_CHUNK = 256  # queries per block, to bound memory at CHUNK x K x K x 64 floats


def best_draw_probabilities(
    means: np.ndarray,
    scales: np.ndarray,
    allowed: np.ndarray,
    *,
    degrees: np.ndarray | None = None,
) -> np.ndarray:
    r"""Integrate, for independent draws, the probability that each is the highest.

    :math:`P(a) = \int \prod_{b \ne a} F_b(v)\,dF_a(v)`, by the trapezoidal rule over the union of
    every adapter's quantiles, which resolves narrow and wide distributions alike.

    Parameters
    ----------
    means
        float64 (N, K), centres of the distributions.
    scales
        float64 (N, K), their standard deviations, above 0; for Student's t its scale.
    allowed
        bool (N, K), adapters that take part; every row has at least one.
    degrees
        float64 (K,), degrees of freedom of Student's t, one per adapter; None means normal.

    Returns
    -------
    np.ndarray
        float64 (N, K), rows sum to 1, accurate to about 1e-3.
    """
    blocks = [
        _block(means[i : i + _CHUNK], scales[i : i + _CHUNK], allowed[i : i + _CHUNK], degrees)
        for i in range(0, len(means), _CHUNK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(means.shape)


def _block(
    means: np.ndarray, scales: np.ndarray, allowed: np.ndarray, degrees: np.ndarray | None
) -> np.ndarray:
    """Integrate for some queries."""
    n, k = means.shape
    if degrees is None:
        table = np.tile(special.ndtr(_SCORES), (k, 1))
    else:
        table = special.stdtr(degrees[:, None], _SCORES)  # (K, scores)
    quantiles = np.stack([np.interp(_LEVELS, row, _SCORES) for row in table])
    grid = means[:, :, None] + scales[:, :, None] * quantiles
    # a forbidden adapter's quantiles fall on another's: they cost nothing and change nothing
    grid = np.where(allowed[:, :, None], grid, grid[np.arange(n), allowed.argmax(1)][:, None])
    points = np.sort(grid.reshape(n, -1), axis=1)  # (N, K nodes)
    standard = (points[:, None] - means[:, :, None]) / scales[:, :, None]
    below = np.stack([np.interp(standard[:, arm], _SCORES, table[arm]) for arm in range(k)], axis=1)
    below = np.where(allowed[:, :, None], below, 1.0)  # (N, K, points)
    shares = np.zeros((n, k))
    for arm in range(k):
        others = np.prod(np.delete(below, arm, axis=1), axis=1)
        steps = np.diff(below[:, arm], axis=1)
        shares[:, arm] = (steps * (others[:, 1:] + others[:, :-1]) / 2).sum(axis=1)
    return shares / shares.sum(axis=1, keepdims=True)
