"""Columns of a split as metrics of which more is better, and the weights that users put on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import require_number
from routing_gym.envs.streams import LaneStreams
from routing_gym.queries.registry import resolve
from routing_gym.rewards.metric import DIRECTIONS, Direction
from routing_gym.rewards.registry import METRICS

PREFERRED: tuple[str, ...] = ("quality", "tokens", "seconds")
CEILINGS: dict[str, float] = {"tokens": 0.5, "seconds": 0.05}
"""64 tokens and half a second: what the embedded pool's longest answers cost."""

_DIRECTIONS: dict[str, Direction] = {
    "accuracy": "higher",
    "accuracy_strict": "higher",
    "cost": "lower",
}
_LEAST = 2.0**-54  # stands for a drawn 0, whose logarithm is not finite


def metric_values(
    data: RoutingData,
    metrics: Sequence[str] = PREFERRED,
    *,
    ceilings: Mapping[str, float] | None = None,
    directions: Mapping[str, Direction] | None = None,
) -> np.ndarray:
    """Turn columns of a split into metrics of which more is better.

    Parameters
    ----------
    data
        The split.
    metrics, ceilings, directions
        See `PreferenceEnv`.

    Returns
    -------
    np.ndarray
        float32 (N, K, M) in [0, 1].

    Raises
    ------
    ValueError
        If there are fewer than two metrics, one is unknown or doubled, a ceiling or a direction is
        missing or impossible, or a column holds impossible values.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence) or len(metrics) < 2:
        raise ValueError(f"metrics={metrics!r} must be a sequence of at least two names.")
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metrics={tuple(metrics)} must be different.")
    known = {**data.costs, "accuracy": data.accuracy, **data.scores}
    said = _mapping("directions", directions)
    ways = {name: _direction(name, known, data=data, said=said) for name in metrics}
    tops = {name: top for name, top in CEILINGS.items() if ways.get(name) == "lower"}
    for name, top in _mapping("ceilings", ceilings).items():
        if ways.get(name) != "lower":
            raise ValueError(f"ceilings names {name!r}, which is no metric of costs in {ways}.")
        tops[name] = require_number(f"ceilings[{name!r}]", top, open_low=True)
    values = np.empty((*data.rewards.shape, len(metrics)), dtype=np.float32)
    for position, name in enumerate(metrics):
        if name not in data.scores and name in data.costs and name not in tops:
            raise ValueError(
                f"metric {name!r} is a measured cost: set its ceiling, e.g. "
                f"ceilings={{{name!r}: {float(np.nanmax(known[name])):.3g}}}."
            )
        values[..., position] = _oriented(
            name, known[name], way=ways[name], ceiling=tops.get(name, 1.0)
        )
    return values


def fixed_weights(
    weights: Sequence[float] | Mapping[str, float], metrics: Sequence[str]
) -> np.ndarray:
    """Read weights as float64 (M,) with sum 1.

    Raises
    ------
    ValueError
        If there are not M, a metric is unknown, or one is negative, not finite or no number.
    """
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in metrics:
                raise ValueError(f"weights names {name!r}: the metrics are {tuple(metrics)}.")
        weights = [weights.get(name, 0.0) for name in metrics]
    array = _numbers("weights", weights, len(metrics))
    if array.min() < 0 or array.sum() <= 0:
        raise ValueError(f"weights={array.tolist()} must not be negative, and one must be above 0.")
    return array / array.sum()


def draw_weights(lanes: np.ndarray, streams: LaneStreams, concentration: np.ndarray) -> np.ndarray:
    """Draw weights from a Dirichlet distribution.

    A Dirichlet vector is a normalised vector of gamma variates. These are drawn by inversion, at
    concentration a + 1 and multiplied by u**(1 / a) (Marsaglia and Tsang, "A simple method for
    generating gamma variables", 2000, section 6), in logarithms so that a small a does not
    underflow.

    Parameters
    ----------
    lanes
        int64 (L,).
    streams
        Two numbers per metric are drawn.
    concentration
        float64 (M,), positive.

    Returns
    -------
    np.ndarray
        float64 (L, M), not negative, with sum 1.
    """
    logs = np.empty((len(lanes), len(concentration)))
    for metric, a in enumerate(concentration):
        level = np.maximum(streams.uniform(lanes), _LEAST)
        boost = np.log1p(-streams.uniform(lanes)) / a
        logs[:, metric] = np.log(gammaincinv(a + 1.0, level)) + boost
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _direction(
    name: str,
    known: Mapping[str, np.ndarray],
    *,
    data: RoutingData,
    said: Mapping[str, Any],
) -> Direction:
    """Say whether more of a column is better."""
    if name not in known:
        raise ValueError(f"metric {name!r} is not in the data, which have {', '.join(known)}.")
    if name in said:
        if said[name] not in DIRECTIONS:
            raise ValueError(f"directions[{name!r}]={said[name]!r} must be in {DIRECTIONS}.")
        return said[name]
    if name in METRICS:
        return resolve(METRICS, name, kind="metric").direction
    if name in _DIRECTIONS:
        return _DIRECTIONS[name]
    if name in data.costs:
        return "lower"
    raise ValueError(
        f"metric {name!r} is not one of the project's: say directions={{{name!r}: 'higher'}} or "
        "'lower'."
    )


def _oriented(name: str, column: np.ndarray, *, way: Direction, ceiling: float) -> np.ndarray:
    """Turn a column so that more is better, float32 (N, K) in [0, 1]."""
    values = column.astype(np.float32)
    largest = np.inf if way == "lower" else 1.0
    if not (np.isfinite(values) & (values >= 0) & (values <= largest)).all():
        raise ValueError(f"metric {name!r} holds impossible values: repair that column.")
    return values if way == "higher" else 1.0 - np.minimum(values / ceiling, 1.0)


def read_concentration(value: Any, count: int) -> np.ndarray:
    """Read a Dirichlet's parameters as float64 (M,): one for all, M of them, or None for 1.

    Raises
    ------
    ValueError
        If one is not a positive number, or there are not M.
    """
    if value is None or np.ndim(value) == 0:
        number = require_number("concentration", 1.0 if value is None else value, open_low=True)
        value = [number] * count
    array = _numbers("concentration", value, count)
    if array.min() <= 0:
        raise ValueError(f"concentration={array.tolist()} must be positive throughout.")
    return array


def _numbers(name: str, values: Any, count: int) -> np.ndarray:
    """Read M finite numbers as float64 (M,)."""
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "iuf":
        raise ValueError(f"{name}={values!r} must be {count} numbers, one per metric.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={values!r} must be finite.")
    return array.astype(np.float64)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Read an option that maps metrics to something; None is empty."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name}={value!r} is a {type(value).__name__}: map metrics to values.")
    return value or {}
