"""Learning curves: the same quantities for every agent, to TensorBoard and to a tidy CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.envs.data import RoutingData

CURVES_FILE = "curves.csv"
COLUMNS = ("step", "split", "quantity", "value")


def routing_quantities(
    *,
    adapters: Sequence[str],
    actions: np.ndarray,
    probabilities: np.ndarray,
    rewards: np.ndarray,
    accuracy: np.ndarray,
    regret: np.ndarray,
    scores: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Average what happened on N decisions.

    Parameters
    ----------
    adapters
        Adapter names, length K.
    actions
        int (N,), chosen adapters.
    probabilities
        float (N, K), the policy's distributions.
    rewards, accuracy, regret
        float (N,), of the chosen adapter.
    scores
        Metric name -> float (N,), of the chosen adapter.

    Returns
    -------
    dict[str, float]
        ``reward``, ``accuracy``, ``regret``, ``score/<metric>``, ``entropy`` (mean entropy of the
        policy per query, nats), ``usage_entropy`` (entropy of the arms' shares, nats; near 0 when
        the policy has collapsed onto one arm) and ``share/<adapter>``.
    """
    share = np.bincount(actions, minlength=len(adapters)) / len(actions)
    quantities = {
        "reward": float(np.mean(rewards)),
        "accuracy": float(np.mean(accuracy)),
        "regret": float(np.mean(regret)),
        "entropy": float(entropy(probabilities).mean()),
        "usage_entropy": float(entropy(share)),
    }
    quantities |= {f"score/{name}": float(np.mean(score)) for name, score in scores.items()}
    quantities |= {f"share/{name}": float(part) for name, part in zip(adapters, share, strict=True)}
    return quantities


def quantities_on(
    data: RoutingData, *, actions: np.ndarray, probabilities: np.ndarray
) -> dict[str, float]:
    """Average what these decisions would bring on a split; see ``routing_quantities``.

    Parameters
    ----------
    data
        The split, N queries.
    actions
        int (N,), chosen adapters.
    probabilities
        float (N, K), the policy's distributions.
    """
    rows = np.arange(len(data))
    return routing_quantities(
        adapters=data.adapters,
        actions=actions,
        probabilities=probabilities,
        rewards=data.rewards[rows, actions],
        accuracy=data.accuracy[rows, actions],
        regret=data.rewards.max(axis=1) - data.rewards[rows, actions],
        scores={name: data.scores[name][rows, actions] for name in score_names(data)},
    )


def head(data: RoutingData, rows: int) -> RoutingData:
    """Return the first rows of a split, all if it has fewer: enough to draw a curve from."""
    return data.take(np.arange(min(rows, len(data))))


def score_names(data: RoutingData) -> tuple[str, ...]:
    """Return the names of the scores that get a curve: all but accuracy, which has its own."""
    return tuple(name for name in data.scores if name != "accuracy")


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in nats of float (..., K) distributions, shape (...)."""
    positive = np.where(probabilities > 0, probabilities, 1.0)
    return -(probabilities * np.log(positive)).sum(axis=-1)


class CurveLog:
    """Keeps every quantity of a training run and shows it in TensorBoard.

    Parameters
    ----------
    log_dir
        Where ``curves.csv`` goes; None writes no file.
    writer
        A ``torch.utils.tensorboard.SummaryWriter``; tags are ``routing_<split>/<quantity>``. None
        opens one in ``log_dir``, if that is given.
    """

    def __init__(self, log_dir: Path | None, *, writer: Any | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._log_dir = log_dir
        self._writer = writer
        if writer is None and log_dir is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(log_dir))

    def record(self, split: str, *, step: int, quantities: Mapping[str, float]) -> None:
        """Keep one point of every curve.

        Parameters
        ----------
        split
            ``"train"`` or ``"validation"``.
        step
            Environment steps or epochs so far.
        quantities
            Name -> value.
        """
        for quantity, value in quantities.items():
            row = {"step": step, "split": split, "quantity": quantity, "value": value}
            self.rows.append(row)
            if self._writer is not None:
                self._writer.add_scalar(f"routing_{split}/{quantity}", value, step)

    def close(self) -> None:
        """Write ``curves.csv`` and close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()
        if self._log_dir is None:
            return
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with (self._log_dir / CURVES_FILE).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
