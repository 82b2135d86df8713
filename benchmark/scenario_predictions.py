"""What rules and learned policies see of a query in the scenarios: predictions, out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from routing_gym.agents.ridge import RidgeAgent
from routing_gym.benchmark.runs import Splits
from routing_gym.envs.data import RoutingData

Target = Callable[[RoutingData], np.ndarray]
"""What is predicted of a split's answers: float (N, K)."""
FOLDS = 5


def predicted_splits(
    splits: Splits, *, targets: Sequence[Target], folds: int = FOLDS, seed: int = 0
) -> Splits:
    """Put predictions in the place of embeddings.

    A query of the train split is predicted by a ridge regression on the other folds, so that what
    is seen of it there is as wrong as it will be on new queries; validation and test are predicted
    by a regression on the whole train split. Penalties are chosen once, by generalised
    cross-validation on the train split. Predictions are clipped to the range of the train split.

    Parameters
    ----------
    splits
        The table as it was encoded.
    targets
        What is predicted; each takes K columns of the new observations.
    folds
        Number of folds, 2 to the number of train queries.
    seed
        Of the folds.

    Returns
    -------
    Splits
        With observations float32 (n, K times the number of targets).

    Raises
    ------
    ValueError
        If there is no target, or the number of folds is impossible.
    """
    count = len(splits.train)
    if not targets or not 2 <= folds <= count:
        raise ValueError(
            f"targets={list(targets)}, folds={folds}: give at least one target and 2 to {count} "
            "folds."
        )
    fold_of = np.random.default_rng(seed).permutation(count) % folds
    columns = [_predicted(splits, target, fold_of) for target in targets]
    joined = [np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True)]
    train, validation, test = (
        replace(data, observations=seen.astype(np.float32))
        for data, seen in zip((splits.train, splits.validation, splits.test), joined, strict=True)
    )
    return Splits(train=train, validation=validation, test=test)


def _predicted(splits: Splits, target: Target, fold_of: np.ndarray) -> list[np.ndarray]:
    """Predict one target on the three splits, float64 (n, K) each."""
    train = replace(splits.train, rewards=np.asarray(target(splits.train), dtype=np.float32))
    low, high = train.rewards.min(axis=0), train.rewards.max(axis=0)
    model = _fitted(train, splits.blocks)
    others = [model.values(data.observations) for data in (splits.validation, splits.test)]
    out_of_fold = np.empty(train.rewards.shape)
    for fold in range(int(fold_of.max()) + 1):
        held = fold_of == fold
        part = train.take(np.flatnonzero(~held))
        fold_model = _fitted(part, splits.blocks, penalties=model.block_penalties)
        out_of_fold[held] = fold_model.values(train.observations[held])
    return [np.clip(values, low, high) for values in (out_of_fold, *others)]


def _fitted(
    train: RoutingData, blocks: tuple[int, ...], *, penalties: tuple[float, ...] = ()
) -> RidgeAgent:
    """Fit a regression; without penalties, cross-validation on its own queries chooses them."""
    model = RidgeAgent(blocks=blocks, block_penalties=penalties, criterion="gcv")
    model.train(train, validation=train, seed=0)
    return model
