"""Models of the reward for off-policy evaluation, cross-fitted: no decision predicts itself.

Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018: the model that
predicts a decision is fitted on the other folds, so that doubly robust estimates stay unbiased and
their normal intervals valid however flexible it is. Folds hold whole queries: a query that was
asked twice never stands on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MIN_DECISIONS = 10  # an adapter played less often in the other folds gets a mean, no model
RIDGE_PENALTIES = tuple(np.logspace(-2, 3, 11).tolist())


class LeaveOneOutRidge:
    r"""Ridge regression whose penalty is chosen by the leave-one-out error, in closed form.

    With the hat matrix H of a penalty the error is the mean of
    :math:`((y_i - \hat y_i) / (1 - H_{ii}))^2` (Allen's PRESS, 1974). It predicts what
    scikit-learn's ``RidgeCV`` predicts, several times as fast on the many small fits of
    cross-fitting.

    Parameters
    ----------
    penalties
        Candidates, each above 0; the intercept is not penalised.
    """

    def __init__(self, penalties: Sequence[float] = RIDGE_PENALTIES) -> None:
        self.penalties = np.asarray(penalties, dtype=np.float64)
        self.penalty = float("nan")

    def fit(self, features: np.ndarray, targets: np.ndarray) -> LeaveOneOutRidge:
        """Fit `features` (N, D) to `targets` (N,), N >= 2; return itself."""
        self._origin = features.mean(axis=0, dtype=np.float64)
        self._mean = float(targets.mean())
        centred, residual = features - self._origin, targets - self._mean
        left, scale, right = np.linalg.svd(centred, full_matrices=False)
        kept = scale**2 / (scale**2 + self.penalties[:, None])  # (penalties, R)
        projected = left.T @ residual
        left_out = residual - (kept * projected) @ left.T  # (penalties, N)
        leverage = 1 / len(targets) + kept @ (left**2).T
        errors = ((left_out / (1 - leverage)) ** 2).mean(axis=1)
        self.penalty = float(self.penalties[int(np.argmin(errors))])
        self._slopes = right.T @ (scale / (scale**2 + self.penalty) * projected)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict `features` (N, D): float64 (N,)."""
        return np.asarray(self._mean + (features - self._origin) @ self._slopes)


def query_folds(queries: Sequence[str], *, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal queries into folds of about equal numbers of queries.

    Parameters
    ----------
    queries
        What identifies each decision's query, length N; equal entries share a fold.
    folds
        F, at least 2 and at most the number of different queries.
    rng
        Source of the shuffle.

    Returns
    -------
    np.ndarray
        int64 (N,), in [0, F).

    Raises
    ------
    ValueError
        If `folds` is out of range.
    """
    different, member = np.unique(np.asarray(queries), return_inverse=True)
    if not 2 <= folds <= len(different):
        raise ValueError(
            f"folds={folds} must be at least 2 and at most the {len(different)} different queries "
            "of the log."
        )
    dealt = rng.permutation(len(different)) % folds
    return np.asarray(dealt[member.ravel()], dtype=np.int64)


def principal_components(observations: np.ndarray, count: int) -> np.ndarray:
    """Project contexts on their directions of largest variance.

    Rewards play no part, so nothing leaks into the folds; on sentence embeddings 32 components
    predict as well as all 384 and fit an order of magnitude faster.

    Parameters
    ----------
    observations
        float (N, D).
    count
        At least 1; more than min(N, D) keeps all.

    Returns
    -------
    np.ndarray
        float64 (N, min(count, N, D)).

    Raises
    ------
    ValueError
        If `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count={count} must be at least 1.")
    centred = observations - observations.mean(axis=0, dtype=np.float64)
    if len(centred) > centred.shape[1]:  # as many logs have: the small side is the features
        _, directions = np.linalg.eigh(centred.T @ centred)
        return np.asarray(centred @ directions[:, ::-1][:, :count])
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ rows[:count].T)


def cross_fit(
    model: str,
    observations: np.ndarray | None,
    *,
    actions: np.ndarray,
    rewards: np.ndarray,
    folds: np.ndarray,
    num_adapters: int,
    seed: int = 0,
) -> np.ndarray:
    """Predict every adapter's reward on every decision, from the folds that it is not in.

    One model per adapter; predictions are clipped to the range of the rewards that were seen.

    Parameters
    ----------
    model
        A key of ``REWARD_MODELS``: ``"ridge"`` (its penalty by leave-one-out error),
        ``"boosting"`` (histogram gradient boosting) or ``"mean"`` (each adapter's mean reward,
        which needs no observations).
    observations
        float (N, D), the contexts; None only for ``"mean"``.
    actions
        int (N,), the logged adapters.
    rewards
        float (N,).
    folds
        int (N,), from `query_folds`.
    num_adapters
        K.
    seed
        Of the models that draw.

    Returns
    -------
    np.ndarray
        float64 (N, K). An adapter that the other folds played fewer than ten times is predicted by
        its mean there, drawn towards the mean of all.

    Raises
    ------
    ValueError
        If the model is unknown or needs observations that are not there.
    """
    if model not in REWARD_MODELS:
        raise ValueError(f"model={model!r} is unknown: choose one of {', '.join(REWARD_MODELS)}.")
    if observations is None and model != "mean":
        raise ValueError(
            f"model={model!r} needs the contexts: log embeddings or query ids, or take 'mean'."
        )
    predictions = np.empty((len(rewards), num_adapters))
    for fold in np.unique(folds):
        fit, held = folds != fold, folds == fold
        low, high = rewards[fit].min(), rewards[fit].max()
        for arm in range(num_adapters):
            rows = fit & (actions == arm)
            predictions[held, arm] = _shrunk_mean(rewards[rows], float(rewards[fit].mean()))
            if observations is None or model == "mean" or rows.sum() < MIN_DECISIONS:
                continue
            regressor = REWARD_MODELS[model](seed)
            regressor.fit(observations[rows], rewards[rows])
            predictions[held, arm] = regressor.predict(observations[held])
        predictions[held] = predictions[held].clip(low, high)
    return predictions


def cross_fit_cells(
    cells: np.ndarray,
    *,
    actions: np.ndarray,
    rewards: np.ndarray,
    folds: np.ndarray,
    shape: tuple[int, int, int],
    prior: float = 1.0,
) -> np.ndarray:
    """Predict rewards by the mean of cell and adapter over the other folds, many logs at once.

    The model for contexts of few values (a task, a cluster of embeddings). Means are drawn towards
    the adapter's mean over all cells, as if it had been seen `prior` times more.

    Parameters
    ----------
    cells
        int (..., N), in [0, C).
    actions
        int (..., N), in [0, K).
    rewards
        float (..., N).
    folds
        int (..., N), in [0, F).
    shape
        (F, C, K).
    prior
        Pseudo-decisions, above 0.

    Returns
    -------
    np.ndarray
        float64 (..., F, C, K): the prediction for a decision of fold f in cell c.
    """
    num_folds, num_cells, num_arms = shape
    lead = rewards.shape[:-1]
    logs = np.arange(int(np.prod(lead))).reshape(*lead, 1)
    index = ((logs * num_folds + folds) * num_cells + cells) * num_arms + actions
    size = logs.size * num_folds * num_cells * num_arms
    counts = np.bincount(index.ravel(), minlength=size).reshape(*lead, *shape)
    sums = np.bincount(index.ravel(), weights=rewards.ravel(), minlength=size)
    sums = sums.reshape(*lead, *shape)
    counts = counts.sum(axis=-3, keepdims=True) - counts  # what the other folds hold
    sums = sums.sum(axis=-3, keepdims=True) - sums
    overall = sums.sum(axis=(-2, -1), keepdims=True) / np.maximum(
        counts.sum(axis=(-2, -1), keepdims=True), 1
    )
    arm_counts, arm_sums = counts.sum(-2, keepdims=True), sums.sum(-2, keepdims=True)
    arms = (arm_sums + prior * overall) / (arm_counts + prior)
    return np.asarray((sums + prior * arms) / (counts + prior))


def _shrunk_mean(rewards: np.ndarray, overall: float) -> float:
    """Mean of an adapter's rewards with the overall mean as one more decision."""
    return float((rewards.sum() + overall) / (len(rewards) + 1))


def _boosting(seed: int) -> Any:
    """Gradient-boosted trees of few leaves (Friedman 2001)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, learning_rate=0.1, random_state=seed
    )


REWARD_MODELS: dict[str, Callable[[int], Any]] = {
    "ridge": lambda seed: LeaveOneOutRidge(),
    "boosting": _boosting,
    "mean": lambda seed: None,
}
"""Name -> what makes the model of rewards from a seed; ``mean`` needs none."""
