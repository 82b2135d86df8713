"""Ridge regressions that learn from one outcome at a time: one per adapter, none shared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_ROWS = 64  # most rows of one update, so that S stays small


class DisjointRidge:
    r"""M separate ridge regressions, updated exactly and without a matrix inversion.

    Model m keeps :math:`C_m = (\lambda I + X^\top X)^{-1}` and
    :math:`\theta_m = C_m (\lambda \theta_{m0} + X^\top r)` over the rows X, r that it was given. A
    batch of n rows changes them by the Sherman-Morrison-Woodbury identity, in O(n W^2 + n^3):

    .. math:: S = I + X C X^\top, \quad
        \theta \leftarrow \theta + C X^\top S^{-1} (r - X \theta), \quad
        C \leftarrow C - C X^\top S^{-1} X C.

    Parameters
    ----------
    models
        M, at least 1.
    width
        W, the length of a context.
    ridge
        :math:`\lambda`, above 0.
    prior
        First entry of :math:`\theta_{m0}`, the weight of the intercept; the others are 0.

    Attributes
    ----------
    covariance
        float64 (M, W, W), :math:`C_m`.
    weights
        float64 (M, W), :math:`\theta_m`.
    counts
        float64 (M,), rows given to each model.
    squared_error
        float64 (M,), :math:`r^\top r - \theta^\top C^{-1} \theta` for a prior mean of 0: the sum of
        squared prediction errors, each over its predicted variance ratio :math:`S`.
    """

    def __init__(self, models: int, width: int, *, ridge: float, prior: float = 0.0) -> None:
        self.covariance = np.tile(np.eye(width) / ridge, (models, 1, 1))
        self.weights = np.zeros((models, width))
        self.weights[:, 0] = prior
        self.counts = np.zeros(models)
        self.squared_error = np.zeros(models)

    def predict(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, M), each model's prediction.

        Parameters
        ----------
        contexts
            float64 (N, W).
        """
        return contexts @ self.weights.T

    def spread(self, contexts: np.ndarray) -> np.ndarray:
        r"""Return float64 (N, M), :math:`\sqrt{x^\top C_m x}`, the width of the confidence.

        Parameters
        ----------
        contexts
            float64 (N, W).
        """
        projected = contexts @ self.covariance  # (M, N, W)
        return np.sqrt(np.einsum("mnw,nw->nm", projected, contexts))

    def update(self, contexts: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Give each row to the model of its adapter.

        Parameters
        ----------
        contexts
            float64 (N, W).
        actions
            int (N,), models in [0, M).
        rewards
            float64 (N,).
        """
        if len(actions) == 1:
            self._absorb(int(actions[0]), contexts, rewards)
            return
        for model in np.flatnonzero(np.bincount(actions, minlength=len(self.weights))):
            rows = actions == model
            self.absorb(int(model), contexts[rows], rewards[rows])

    def absorb(self, model: int, contexts: np.ndarray, rewards: np.ndarray) -> None:
        """Give rows to one model.

        Parameters
        ----------
        model
            In [0, M).
        contexts
            float64 (N, W).
        rewards
            float64 (N,).
        """
        for start in range(0, len(contexts), _ROWS):
            rows = slice(start, start + _ROWS)
            self._absorb(model, contexts[rows], rewards[rows])

    def _absorb(self, model: int, contexts: np.ndarray, rewards: np.ndarray) -> None:
        """Apply the identity once."""
        gain = contexts @ self.covariance[model]  # (N, W)
        errors = rewards - contexts @ self.weights[model]
        if len(contexts) == 1:  # Sherman and Morrison: S is a number
            variance = 1.0 + gain[0] @ contexts[0]
            solved, solved_errors = gain / variance, errors / variance
        else:
            variances = gain @ contexts.T
            variances.flat[:: len(contexts) + 1] += 1.0
            both = np.linalg.solve(variances, np.column_stack([gain, errors]))
            solved, solved_errors = both[:, :-1], both[:, -1]
        self.covariance[model] -= gain.T @ solved
        self.weights[model] += gain.T @ solved_errors
        self.counts[model] += len(contexts)
        self.squared_error[model] += errors @ solved_errors

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that was learned."""
        return {
            f"ridge.{name}": getattr(self, name)
            for name in ("covariance", "weights", "counts", "squared_error")
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> DisjointRidge:
        """Take back what ``arrays`` returned."""
        models, width = arrays["ridge.weights"].shape
        ridge = cls(models, width, ridge=1.0)
        for name in ("covariance", "weights", "counts", "squared_error"):
            setattr(ridge, name, arrays[f"ridge.{name}"].copy())
        return ridge
