"""Routing metrics as pure functions of actions and of tables of queries x adapters.

Definitions and sources are in the package's docstring. Axis letters: S seeds, N queries,
K adapters. Actions of several seeds are (S, N); (N,) works everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TIE_TOLERANCE = 1e-6  # scores are stored as float32


@dataclass(frozen=True)
class TieSetAccuracy:
    """Shares, in [0, 1], of queries whose chosen adapter is among the best.

    Parameters
    ----------
    differ
        Over the queries on which the adapters differ; ``nan`` if there are none.
    all
        Over all queries.
    """

    differ: float
    all: float


def best_single(rewards: np.ndarray) -> int:
    """Index of the adapter with the highest mean reward; call it on the train split's (N, K)."""
    return int(np.argmax(np.mean(rewards, axis=0, dtype=np.float64)))


def chosen(values: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Pick the chosen adapter's value on each query.

    Parameters
    ----------
    values
        float (N, K).
    actions
        int (N,) or (S, N), each in [0, K).

    Returns
    -------
    np.ndarray
        float64 of the shape of `actions`.

    Raises
    ------
    ValueError
        If an action is outside [0, K) or the number of queries differs.
    """
    actions = np.asarray(actions)
    n, k = values.shape
    if actions.shape[-1:] != (n,):
        raise ValueError(f"actions have shape {actions.shape}: the last axis must hold N={n}.")
    if actions.size and (actions.min() < 0 or actions.max() >= k):
        raise ValueError(
            f"actions span {actions.min()} to {actions.max()}: allowed are 0 to {k - 1}, the "
            f"positions of the pool's adapters; evaluate a policy on the pool it was trained for."
        )
    return values[np.arange(n), actions].astype(np.float64)


def value(rewards: np.ndarray, actions: np.ndarray) -> float:
    """Mean reward of the chosen adapters; `rewards` (N, K), `actions` (N,) or (S, N)."""
    return float(chosen(rewards, actions).mean())


def gap_closed(value: float, *, best_single: float, oracle: float) -> float:
    """(value - best single) / (oracle - best single); nan where the oracle gains nothing."""
    gap = oracle - best_single
    return (value - best_single) / gap if abs(gap) > 1e-12 else float("nan")


def regret(rewards: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Oracle reward minus the chosen reward, >= 0, of the shape of `actions`."""
    return rewards.max(axis=1).astype(np.float64) - chosen(rewards, actions)


def arms_differ(accuracy: np.ndarray) -> np.ndarray:
    """Bool (N,): the queries on which not all adapters have the same verified accuracy (N, K)."""
    return np.asarray(np.ptp(accuracy, axis=1) > TIE_TOLERANCE)


def in_tie_set(actions: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Bool of the shape of `actions`: the chosen adapter's accuracy (N, K) is the query's best."""
    return np.asarray(regret(accuracy, actions) <= TIE_TOLERANCE)


def tie_set_accuracy(actions: np.ndarray, accuracy: np.ndarray) -> TieSetAccuracy:
    """Share of choices that are in the tie set; `actions` (N,) or (S, N), `accuracy` (N, K)."""
    hits, differ = in_tie_set(actions, accuracy), arms_differ(accuracy)
    over_differ = float(hits[..., differ].mean()) if differ.any() else float("nan")
    return TieSetAccuracy(differ=over_differ, all=float(hits.mean()))


def arm_usage(actions: np.ndarray, num_adapters: int) -> np.ndarray:
    """Shares (K,) of the queries that each adapter receives; they sum to 1."""
    counts = np.bincount(np.asarray(actions).ravel(), minlength=num_adapters)
    return counts / counts.sum()


def arm_usage_entropy(actions: np.ndarray, num_adapters: int) -> tuple[float, float]:
    """Entropy of the arm usage in nats and divided by ln K; the mean over seeds for (S, N)."""
    rows = np.atleast_2d(actions)
    nats = float(np.mean([_entropy(arm_usage(row, num_adapters)) for row in rows]))
    return nats, nats / float(np.log(num_adapters))


def reward_gap(reward: float, accuracy: float) -> float:
    """Mean self-evaluated reward minus mean verified accuracy of the same answers."""
    return reward - accuracy


def quality(scores: Mapping[str, np.ndarray], directions: Mapping[str, str]) -> np.ndarray:
    """Mean of the self-evaluator's metrics, each oriented so that 1 is best.

    Parameters
    ----------
    scores
        Metric name -> float (N, K) in [0, 1].
    directions
        Metric name -> ``"higher"`` or ``"lower"``, for the metrics that count: leave costs and
        verified accuracy out.

    Returns
    -------
    np.ndarray
        float64 (N, K).

    Raises
    ------
    ValueError
        If no metric is named, one is missing from `scores`, or a direction is unknown.
    """
    if not directions:
        raise ValueError("directions is empty: name at least one metric that counts as quality.")
    total = np.zeros(())
    for name, direction in directions.items():
        if name not in scores:
            raise ValueError(f"metric {name!r} is not in the table: known are {sorted(scores)}.")
        if direction not in ("higher", "lower"):
            raise ValueError(f"direction {direction!r} of {name!r} must be 'higher' or 'lower'.")
        column = np.asarray(scores[name], dtype=np.float64)
        total = total + (column if direction == "higher" else 1.0 - column)
    return np.asarray(total / len(directions))


def _entropy(shares: np.ndarray) -> float:
    """Entropy in nats of shares that sum to 1."""
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum()) + 0.0
