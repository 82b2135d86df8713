"""Ridge regressions that learn from one outcome at a time: one per adapter, none shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.linalg.blas import dger
from scipy.linalg.lapack import dposv

_ROWS = 64  # most rows of one update, so that S stays small
_EYE = np.eye(_ROWS)
_SINGLY = 2  # up to so many rows are cheaper one after the other


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
        # C_m above theta_m: one product serves both, and one outer product updates both
        self._stacked = np.zeros((models, width + 1, width))
        self.covariance = self._stacked[:, :width]
        self.covariance[:] = np.eye(width) / ridge
        self.weights = self._stacked[:, width]
        self.weights[:, 0] = prior
        self._flat = self._stacked.reshape(-1, width)
        # Lists, because adding to one number of an array takes a tenth of a round
        self._counts, self._squared_error = [0.0] * models, [0.0] * models
        # Memory of one decision, so that learning from it computes nothing twice
        projected = np.zeros((models, width + 1))
        self._projected, self._last = projected.reshape(-1), projected[:, width]
        self._gains, self._spans = projected[:, :width], np.zeros(models)
        self._of_model = [
            (projected[model], projected[model, :width], block, block.T)  # BLAS updates block.T
            for model, block in enumerate(self._stacked)
        ]
        self._context: np.ndarray | None = None
        self._variances: list[float] = []
        self._predictions: list[float] = []

    @property
    def counts(self) -> np.ndarray:
        """float64 (M,), rows given to each model."""
        return np.array(self._counts)

    @property
    def squared_error(self) -> np.ndarray:
        """float64 (M,), the sum of squared errors."""
        return np.array(self._squared_error)

    def __reduce__(self) -> tuple[Callable[..., DisjointRidge], tuple[Any, ...]]:
        """Copy by values: the parts are views of one array."""
        return (DisjointRidge.from_arrays, (self.arrays(),))

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
        return self._predict_and_spread(contexts)[1]

    def upper_bounds(self, contexts: np.ndarray, *, alpha: float) -> np.ndarray:
        """Return float64 (N, M), predictions plus ``alpha`` spreads.

        Parameters
        ----------
        contexts
            float64 (N, W).
        alpha
            At least 0.
        """
        predictions, spreads = self._predict_and_spread(contexts)
        return predictions + alpha * spreads

    def highest_bound(self, context: np.ndarray, *, alpha: float) -> tuple[int, bool]:
        """Return the first model with the highest upper bound of one query, and if it is alone.

        As the maximum of `upper_bounds`, several times as fast.

        Parameters
        ----------
        context
            float64 (W,); ``absorb_one`` of the same object uses what was computed here, so its
            values must not be changed in between.
        alpha
            At least 0.
        """
        self._flat.dot(context, self._projected)
        self._variances = variances = self._gains.dot(context, self._spans).tolist()
        self._predictions = predictions = self._last.tolist()
        self._context = context
        root = math.sqrt
        highest, first, alone = -math.inf, 0, False
        for model, prediction in enumerate(predictions):  # a few numbers: faster than an array
            bound = prediction + alpha * root(variances[model])
            if bound > highest:
                highest, first, alone = bound, model, True
            elif bound == highest:
                alone = False
        return first, alone

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
            self.absorb_one(int(actions[0]), contexts[0], float(rewards[0]))
            return
        rows_of: dict[int, list[int]] = {}
        for row, model in enumerate(actions.tolist()):
            rows_of.setdefault(model, []).append(row)
        for model, rows in rows_of.items():
            self.absorb(model, contexts[rows], rewards[rows])

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
        if len(contexts) <= _SINGLY:
            for context, reward in zip(contexts, rewards.tolist(), strict=True):
                self.absorb_one(model, context, reward)
            return
        for start in range(0, len(contexts), _ROWS):
            rows = slice(start, start + _ROWS)
            self._absorb(model, contexts[rows], rewards[rows])

    def absorb_one(self, model: int, context: np.ndarray, reward: float) -> None:
        """Give one row to one model: Sherman and Morrison's case, in which S is a number.

        Parameters
        ----------
        model
            In [0, M).
        context
            float64 (W,).
        reward
            Of this row.
        """
        projected, gain, block, transposed = self._of_model[model]
        if context is self._context:
            error = reward - self._predictions[model]
            share = 1.0 / (1.0 + self._variances[model])
        else:
            block.dot(context, projected)
            error = reward - projected.item(-1)
            share = 1.0 / (1.0 + gain.dot(context).item())
        self._context = None
        projected[-1] = -error
        # x, y, their steps, the matrix, what may be overwritten: by name it takes twice as long
        dger(-share, gain, projected, 1, 1, transposed, 1, 1, 1)
        self._counts[model] += 1.0
        self._squared_error[model] += error * error * share

    def _absorb(self, model: int, contexts: np.ndarray, rewards: np.ndarray) -> None:
        """Apply the identity once."""
        self._context = None
        width = contexts.shape[1]
        gain = contexts @ self._stacked[model].T  # (N, W + 1), predictions last
        gain[:, width] -= rewards
        variances = gain[:, :width] @ contexts.T
        variances += _EYE[: len(contexts), : len(contexts)]
        _, solved, failed = dposv(variances.T, gain, overwrite_a=1)
        if failed:
            raise np.linalg.LinAlgError(
                "a ridge regression has lost its positive definiteness: raise the ridge penalty."
            )
        self._stacked[model] -= gain.T @ solved[:, :width]
        self._counts[model] += len(contexts)
        self._squared_error[model] += float(gain[:, width] @ solved[:, width])

    def _predict_and_spread(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both, float64 (N, M) each, from one product."""
        models, width = self.weights.shape
        projected = (contexts @ self._flat.T).reshape(-1, models, width + 1)
        variances = np.vecdot(projected[..., :width], contexts[:, None])
        return projected[..., width], np.sqrt(variances)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that was learned."""
        return {
            f"ridge.{name}": getattr(self, name).copy()
            for name in ("covariance", "weights", "counts", "squared_error")
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> DisjointRidge:
        """Take back what ``arrays`` returned."""
        models, width = arrays["ridge.weights"].shape
        ridge = cls(models, width, ridge=1.0)
        ridge.covariance[:] = arrays["ridge.covariance"]
        ridge.weights[:] = arrays["ridge.weights"]
        ridge._counts = arrays["ridge.counts"].tolist()
        ridge._squared_error = arrays["ridge.squared_error"].tolist()
        return ridge
