r"""Off-policy estimators: what a policy would have earned, from decisions that another one made.

Pure functions of arrays. Axis letters: N logged decisions, K adapters; every array may have
leading axes in front, one log per entry (the study against known truth evaluates thousands of logs
at once). Throughout,

.. math:: w_i = \frac{\pi(a_i \mid x_i)}{\pi_0(a_i \mid x_i)}, \qquad
          \hat q_i = \hat q(x_i, a_i), \qquad
          \hat v_i = \sum_a \pi(a \mid x_i)\, \hat q(x_i, a)

with the logged context x, action a, reward r, the logging policy :math:`\pi_0`, the target
:math:`\pi` and a model of the reward :math:`\hat q` that must not have seen decision i (cross-fit
it: `routing_gym.benchmark.off_policy_models`). Estimators with shrunk weights are in
`routing_gym.benchmark.off_policy_shrinkage`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Terms:
    """An estimate as means over decisions: ``mean(direct) + mean(correction) / mean(normaliser)``.

    All estimators have this form; without a normaliser they are plain means, with one they are
    self-normalised. Intervals are made from it, whatever the estimator.

    Parameters
    ----------
    direct
        float (..., N).
    correction, normaliser
        float (..., N) each, or both None.

    Raises
    ------
    ValueError
        If only one of `correction` and `normaliser` is given, or shapes differ.
    """

    direct: np.ndarray
    correction: np.ndarray | None = None
    normaliser: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.correction is None) != (self.normaliser is None):
            raise ValueError("correction and normaliser belong together: give both or neither.")
        for name in ("correction", "normaliser"):
            values = getattr(self, name)
            if values is not None and values.shape != self.direct.shape:
                raise ValueError(f"{name} has shape {values.shape}, direct {self.direct.shape}.")

    @property
    def size(self) -> int:
        """N, the number of decisions."""
        return int(self.direct.shape[-1])

    @property
    def value(self) -> np.ndarray:
        """The estimate, (...); nan where the normaliser is 0 everywhere."""
        total = self.direct.mean(axis=-1)
        if self.correction is None or self.normaliser is None:
            return np.asarray(total)
        return np.asarray(total + _ratio(self.correction.mean(-1), self.normaliser.mean(-1)))

    @property
    def leave_one_out(self) -> np.ndarray:
        """The estimate without each decision in turn, (..., N)."""
        rest = _without(self.direct) / (self.size - 1)
        if self.correction is None or self.normaliser is None:
            return rest
        return rest + _ratio(_without(self.correction), _without(self.normaliser))

    def weighted(self, shares: np.ndarray) -> np.ndarray:
        """Estimate on resamples: `shares` float (B, N), rows sum to 1 -> (..., B)."""
        total = self.direct @ shares.T
        if self.correction is None or self.normaliser is None:
            return np.asarray(total)
        return np.asarray(total + _ratio(self.correction @ shares.T, self.normaliser @ shares.T))

    def minus(self, rewards: np.ndarray) -> Terms:
        """Subtract the mean of `rewards` (..., N), paired by decision."""
        return Terms(self.direct - rewards, self.correction, self.normaliser)


def importance_weights(
    target: np.ndarray, actions: np.ndarray, propensities: np.ndarray
) -> np.ndarray:
    """Divide the target's probability of each logged action by its propensity.

    Parameters
    ----------
    target
        float (N, K), the target policy's probabilities on the logged contexts.
    actions
        int (N,), the logged actions.
    propensities
        float (N,), in (0, 1]: with which probability each was drawn.

    Returns
    -------
    np.ndarray
        float64 (N,), at least 0; their expectation is 1 where the logging policy covers the target.

    Raises
    ------
    ValueError
        If a row of `target` is no distribution, lengths differ, or a propensity is not in (0, 1].
    """
    check_distributions(target, name="target")
    if actions.shape != (len(target),) or propensities.shape != actions.shape:
        raise ValueError(
            f"actions {actions.shape} and propensities {propensities.shape} must have one entry "
            f"per row of target, {len(target)}."
        )
    proper = (propensities > 0) & (propensities <= 1)  # False for NaN too
    if not proper.all():
        row = int(np.argmin(proper))
        raise ValueError(
            f"propensities[{row}] = {propensities[row]} is not in (0, 1]: log the probability with "
            "which the action was drawn."
        )
    return np.asarray(target[np.arange(len(actions)), actions] / propensities, dtype=np.float64)


def check_distributions(rows: np.ndarray, *, name: str, tolerance: float = 1e-4) -> None:
    """Refuse a matrix (N, K) of which a row is no distribution over at least two adapters."""
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"{name} has shape {rows.shape}, not (N, K) with K of at least 2.")
    proper = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= tolerance)
    if not proper.all():
        row = int(np.argmin(proper))
        raise ValueError(
            f"{name}[{row}] = {rows[row].tolist()} is no distribution: its values must be at least "
            "0 and sum to 1."
        )


def ips(weights: np.ndarray, rewards: np.ndarray) -> Terms:
    r"""Inverse propensity scoring, :math:`\frac1N \sum_i w_i r_i`; (..., N) each.

    Horvitz & Thompson, "A generalization of sampling without replacement from a finite universe",
    1952; for contextual bandits Li et al., arXiv:1003.5956, 2011. Unbiased where the logging policy
    covers the target.
    """
    return Terms(weights * rewards)


def snips(weights: np.ndarray, rewards: np.ndarray) -> Terms:
    r"""Self-normalised IPS, :math:`\sum_i w_i r_i / \sum_i w_i`; (..., N) each.

    Swaminathan & Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS
    2015 (Hájek's ratio, 1971). Its bias vanishes as 1/N; it lies within the range of the rewards
    and follows them when a constant is added.
    """
    return Terms(np.zeros_like(rewards, dtype=np.float64), weights * rewards, weights)


def direct_method(expected: np.ndarray) -> Terms:
    r"""Direct method, :math:`\frac1N \sum_i \hat v_i`; `expected` holds v, (..., N).

    As biased as the model: no interval accounts for that.
    """
    return Terms(expected)


def doubly_robust(
    weights: np.ndarray, rewards: np.ndarray, *, predicted: np.ndarray, expected: np.ndarray
) -> Terms:
    r"""Doubly robust, :math:`\frac1N \sum_i \hat v_i + w_i (r_i - \hat q_i)`; (..., N) each.

    Dudík, Langford & Li, "Doubly robust policy evaluation and learning", ICML 2011. With known
    propensities and a cross-fitted model unbiased whatever the model, and efficient if the model
    converges to the conditional mean (Robins, Rotnitzky & Zhao 1994; Chernozhukov et al. 2018).
    """
    return Terms(expected + weights * (rewards - predicted))


def self_normalised_dr(
    weights: np.ndarray, rewards: np.ndarray, *, predicted: np.ndarray, expected: np.ndarray
) -> Terms:
    r"""DR with a self-normalised correction; (..., N) each.

    :math:`\frac1N \sum_i \hat v_i + \sum_i w_i (r_i - \hat q_i) / \sum_i w_i`: Robins, Sued,
    Lei-Gomez & Rotnitzky, Statistical Science 2007; for sequences the weighted doubly robust
    estimator of Thomas & Brunskill, ICML 2016.
    """
    return Terms(expected, weights * (rewards - predicted), weights)


def _without(values: np.ndarray) -> np.ndarray:
    """Sum without each entry in turn, (..., N)."""
    return np.asarray(values.sum(axis=-1, keepdims=True) - values)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide; nan where nothing is left to divide by."""
    safe = np.where(np.abs(bottom) > 1e-12, bottom, np.nan)
    return np.asarray(top / safe)
