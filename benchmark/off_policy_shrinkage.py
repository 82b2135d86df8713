"""Off-policy estimators with shrunk weights, and the choice of how much to shrink.

Notation and conventions are those of `routing_gym.benchmark.off_policy`: arrays (..., N), N logged
decisions. All of them trade bias for variance: they stay biased however long the log is, so that no
interval accounts for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from routing_gym.benchmark.off_policy import Terms, doubly_robust

TUNING_STEPS = 8


def clipped_ips(weights: np.ndarray, rewards: np.ndarray, *, clip: float | np.ndarray) -> Terms:
    r"""IPS with bounded weights, :math:`\frac1N \sum_i \min(w_i, c)\, r_i`; (..., N) each.

    Ionides, "Truncated importance sampling", 2008; Bottou et al., "Counterfactual reasoning and
    learning systems", JMLR 2013. Biased towards 0 for rewards of at least 0.
    """
    return Terms(SHRINKAGES["clip"](weights, clip) * rewards)


def switch_dr(
    weights: np.ndarray,
    rewards: np.ndarray,
    *,
    predicted: np.ndarray,
    expected: np.ndarray,
    threshold: float | np.ndarray,
) -> Terms:
    r"""DR that trusts the model alone where weights exceed a threshold; (..., N) each.

    :math:`\frac1N \sum_i \hat v_i + w_i 1[w_i \le \tau] (r_i - \hat q_i)`: Wang, Agarwal & Dudík,
    "Optimal and adaptive off-policy evaluation in contextual bandits", ICML 2017.
    """
    shrunk = SHRINKAGES["switch"](weights, threshold)
    return doubly_robust(shrunk, rewards, predicted=predicted, expected=expected)


def dros(
    weights: np.ndarray,
    rewards: np.ndarray,
    *,
    predicted: np.ndarray,
    expected: np.ndarray,
    shrinkage: float | np.ndarray,
) -> Terms:
    r"""DR with optimistic shrinkage; (..., N) each.

    :math:`\frac1N \sum_i \hat v_i + \frac{\lambda w_i}{w_i^2 + \lambda} (r_i - \hat q_i)`: Su,
    Dimakopoulou, Krishnamurthy & Dudík, "Doubly robust off-policy evaluation with shrinkage", ICML
    2020. :math:`\lambda = 0` is the direct method, :math:`\lambda = \infty` is DR.
    """
    shrunk = SHRINKAGES["optimistic"](weights, shrinkage)
    return doubly_robust(shrunk, rewards, predicted=predicted, expected=expected)


def tuning_grid(kind: str, weights: np.ndarray, *, steps: int = TUNING_STEPS) -> np.ndarray:
    """Candidates for `tune`: from strong shrinkage to none at all.

    Parameters
    ----------
    kind
        A key of ``SHRINKAGES``.
    weights
        float (..., N).
    steps
        T, the number of candidates.

    Returns
    -------
    np.ndarray
        float64 (T, ...), rising. Thresholds are the largest weight halved again and again; lambda
        runs from a hundredth to a hundred times the mean squared weight, and infinity.
    """
    if kind == "optimistic":
        factors = np.append(np.logspace(-2, 2, steps - 1), np.inf)
        scale = np.maximum((weights**2).mean(axis=-1), 1e-12)
    else:
        factors = 0.5 ** np.arange(steps)[::-1]
        scale = weights.max(axis=-1)
    return np.asarray(factors.reshape(-1, *[1] * np.ndim(scale)) * scale)


def tune(
    kind: str,
    weights: np.ndarray,
    rewards: np.ndarray,
    *,
    predicted: np.ndarray | None = None,
    expected: np.ndarray | None = None,
    delta: float | None = None,
    steps: int = TUNING_STEPS,
) -> np.ndarray:
    r"""Choose the parameter of a shrinkage from the data, by the smallest estimated squared error.

    Su et al. (2020) select the shrinkage that minimises the estimated variance plus the square of
    an estimate of the bias. The bias of shrunk weights w' is the mean of
    :math:`(w' - w)(r - \hat q)`; its square overstates the true one by its own variance, which
    guards against too much shrinkage. With `delta` an upper bound takes its place: Bernstein's
    deviation at that level is added, which rarely shrinks at all. Ours: the grid of `tuning_grid`.

    Parameters
    ----------
    kind
        ``"clip"`` (clipped IPS), ``"switch"`` (Switch-DR) or ``"optimistic"`` (DRos).
    weights, rewards
        float (..., N).
    predicted, expected
        float (..., N), the model; None stands for 0, which is IPS.
    delta
        Level of the bound of the bias, in (0, 1); None takes the estimate itself.
    steps
        Number of candidates.

    Returns
    -------
    np.ndarray
        float64 (...), the chosen parameter; of equals the weakest shrinkage.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    if kind not in SHRINKAGES:
        raise ValueError(f"kind={kind!r} is unknown: choose one of {', '.join(SHRINKAGES)}.")
    residual = rewards if predicted is None else rewards - predicted
    base = np.zeros(1) if expected is None else expected
    n = weights.shape[-1]
    best = np.full(weights.shape[:-1], np.inf)
    chosen = np.full(weights.shape[:-1], np.inf)
    for candidate in tuning_grid(kind, weights, steps=steps)[::-1]:
        shrunk = SHRINKAGES[kind](weights, candidate)
        change = (shrunk - weights) * residual
        bias = np.abs(change.mean(axis=-1))
        if delta is not None:
            level = np.log(2 / delta)
            bias = bias + np.sqrt(2 * _variance(change) * level / n)
            bias = bias + 2 * np.abs(change).max(axis=-1) * level / (3 * n)
        error = _variance(base + shrunk * residual) / n + bias**2
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, candidate, chosen)
    return np.asarray(chosen)


def _clip(weights: np.ndarray, clip: float | np.ndarray) -> np.ndarray:
    """Bound the weights from above."""
    return np.minimum(weights, _column(clip))


def _switch(weights: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Drop the weights above the threshold."""
    return np.where(weights <= _column(threshold), weights, 0.0)


def _optimistic(weights: np.ndarray, shrinkage: float | np.ndarray) -> np.ndarray:
    """Shrink large weights towards 0: lambda w / (w**2 + lambda), the identity at infinity."""
    column = _column(shrinkage)
    finite = np.where(np.isinf(column), 1.0, column)
    shrunk = finite * weights / np.maximum(weights**2 + finite, 1e-300)
    return np.where(np.isinf(column), weights, shrunk)


SHRINKAGES: Mapping[str, Callable[[np.ndarray, float | np.ndarray], np.ndarray]] = {
    "clip": _clip,
    "switch": _switch,
    "optimistic": _optimistic,
}


def _variance(values: np.ndarray) -> np.ndarray:
    """Variance over the last axis, in one pass."""
    square = np.einsum("...n,...n->...", values, values) / values.shape[-1]
    return np.asarray(np.maximum(square - values.mean(axis=-1) ** 2, 0.0))


def _column(parameter: float | np.ndarray) -> np.ndarray:
    """Give a parameter (...) a last axis, for the decisions."""
    return np.asarray(parameter, dtype=np.float64)[..., None]
