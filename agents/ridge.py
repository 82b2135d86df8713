"""Score regression in closed form: ridge, with a penalty for each block of the embedding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from routing_gym.agents.agent import Feedback
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import plus, product
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData

_SWEEPS = 2  # passes over the blocks; a third one changed no choice


@dataclass(frozen=True)
class RidgeConfig:
    """Settings of the ridge router.

    Parameters
    ----------
    penalties
        Candidate penalties, each above 0, per train query: the same value suits any number of
        queries alike. One candidate is taken as it is.
    blocks
        Widths of the embedding's parts where encoders were joined, summing to D; each part then
        gets its own penalty. Empty means one part.
    block_penalties
        Penalties of the blocks, one each, taken as they are; empty chooses them by `criterion`.
    criterion
        "validation": the squared error on the validation split. "gcv": generalised
        cross-validation on the train split, the better guide where validation is small.
    """

    penalties: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3)
    blocks: tuple[int, ...] = ()
    block_penalties: tuple[float, ...] = ()
    criterion: Literal["validation", "gcv"] = "validation"

    def __post_init__(self) -> None:
        for name in ("penalties", "block_penalties"):
            values = getattr(self, name)
            if not all(0 < value < math.inf for value in values):
                raise ValueError(f"{name}={values} must all be above 0 and finite.")
        if not self.penalties:
            raise ValueError("penalties is empty: give at least one candidate, such as (0.01,).")
        if self.criterion not in ("validation", "gcv"):
            raise ValueError(f"criterion={self.criterion!r} must be 'validation' or 'gcv'.")
        if any(width < 1 for width in self.blocks):
            raise ValueError(f"blocks={self.blocks} must all be widths of at least 1.")
        if self.block_penalties and len(self.block_penalties) != max(len(self.blocks), 1):
            raise ValueError(
                f"block_penalties={self.block_penalties} do not match blocks={self.blocks}: give "
                "one penalty per block."
            )


class RidgeAgent(ValueAgent):
    r"""Predict each adapter's reward as a linear function of the embedding.

    Minimises :math:`\sum_i \lVert r_i - W^\top x_i - b \rVert^2 + N \sum_j \lambda_{g(j)}
    \lVert W_j \rVert^2` over the train split (Hoerl & Kennard 1970, *Ridge regression*), solved as
    :math:`W = (X_c^\top X_c + N \Lambda)^{-1} X_c^\top R_c` with centred X and R, so that the
    intercept is not penalised. g(j) is the block of feature j: with several encoders joined, each
    has its own penalty, which is a stack of linear experts whose weights are learned (group ridge,
    van de Wiel et al. 2021).

    Penalties are those of the least squared error of the rewards' *differences* between adapters,
    as only these decide; with several blocks by two sweeps of coordinate descent over the
    candidates. Squared error is a far less noisy guide than the reward of the greedy choice, on
    which most candidates tie. It is measured on validation, or estimated on train by
    :math:`MSE / (1 - tr(H)/N)^2`, H the hat matrix (Golub, Heath & Wahba 1979).
    """

    name: ClassVar[str] = "ridge"
    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = RidgeConfig
    config: RidgeConfig
    block_penalties: tuple[float, ...] = ()

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards."""
        return self._checked(observations) @ self._weights + self._offset

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the linear function to a graph."""
        scores = product(graph, graph.double(observations), self._weights)
        return plus(graph, scores, self._offset)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Solve the normal equations for the penalties that validation prefers."""
        blocks = self.config.blocks or (self.num_features,)
        if sum(blocks) != self.num_features:
            raise ValueError(
                f"blocks={blocks} sum to {sum(blocks)}, but the embeddings have width "
                f"{self.num_features}: give the widths of the joined encoders."
            )
        moments = _Moments.of(train)

        def error(penalties: tuple[float, ...]) -> float:
            if self.config.criterion == "gcv":
                return moments.gcv(np.repeat(penalties, blocks))
            weights = moments.solve(np.repeat(penalties, blocks))
            predicted = (validation.observations - moments.centre) @ weights
            wanted = _differences(validation.rewards - moments.mean)
            return float(np.square(wanted - _differences(predicted)).mean())

        self.block_penalties = self.config.block_penalties or _descend(
            error, candidates=self.config.penalties, blocks=len(blocks)
        )
        self._weights = moments.solve(np.repeat(self.block_penalties, blocks))
        self._offset = moments.mean - moments.centre @ self._weights

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the penalties and the linear function."""
        values = {"block_penalties": list(self.block_penalties)}
        return values, {"weights": self._weights, "offset": self._offset}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take the penalties and the linear function back."""
        self.block_penalties = tuple(values["block_penalties"])
        self._weights, self._offset = arrays["weights"], arrays["offset"]


@dataclass(frozen=True)
class _Moments:
    """All that the normal equations need of the train split.

    centre (D,) and mean (K,) of the N queries, gram (D, D) and moment (D, K) of what is left
    without them, each divided by N, and the rewards' differences' mean square.
    """

    queries: int
    centre: np.ndarray
    mean: np.ndarray
    gram: np.ndarray
    moment: np.ndarray
    spread: float

    @classmethod
    def of(cls, train: RoutingData) -> _Moments:
        """Compute them."""
        x = np.asarray(train.observations, dtype=np.float64)
        rewards = np.asarray(train.rewards, dtype=np.float64)
        centre, mean = x.mean(axis=0), rewards.mean(axis=0)
        x, rewards = x - centre, rewards - mean
        spread = float(np.square(_differences(rewards)).sum() / len(x))
        return cls(len(x), centre, mean, x.T @ x / len(x), x.T @ rewards / len(x), spread)

    def solve(self, penalty: np.ndarray) -> np.ndarray:
        """Return float64 (D, K), the weights under a penalty (D,) on the diagonal."""
        return np.asarray(cho_solve(self._factor(penalty), self.moment))

    def gcv(self, penalty: np.ndarray) -> float:
        """Estimate the squared error of the differences on new queries, without any."""
        factor = self._factor(penalty)
        moment = _differences(self.moment)
        weights = cho_solve(factor, moment)
        error = self.spread - 2 * np.sum(weights * moment) + np.sum(weights * (self.gram @ weights))
        inverse = cho_solve(factor, np.eye(len(penalty)))
        freedom = 1 + len(penalty) - float(penalty @ np.diag(inverse))  # trace of H
        return float(error / max(1 - freedom / self.queries, 1e-9) ** 2)

    def _factor(self, penalty: np.ndarray) -> Any:
        """Factorise the penalised gram."""
        penalised = self.gram.copy()
        penalised[np.diag_indices_from(penalised)] += penalty
        return cho_factor(penalised, overwrite_a=True)


def _differences(rewards: np.ndarray) -> np.ndarray:
    """Return (N, K), rewards without each query's mean, which moves no choice."""
    return np.asarray(rewards - rewards.mean(axis=1, keepdims=True))


def _descend(
    error: Callable[[tuple[float, ...]], float], *, candidates: tuple[float, ...], blocks: int
) -> tuple[float, ...]:
    """Return each block's penalty by coordinate descent from the best common one."""
    known: dict[tuple[float, ...], float] = {}

    def cost(penalties: tuple[float, ...]) -> float:
        if penalties not in known:
            known[penalties] = error(penalties)
        return known[penalties]

    best = min(((value,) * blocks for value in candidates), key=cost)
    for _ in range(_SWEEPS if blocks > 1 else 0):
        for block in range(blocks):
            tried = [(*best[:block], value, *best[block + 1 :]) for value in candidates]
            best = min([best, *tried], key=cost)
    return best
