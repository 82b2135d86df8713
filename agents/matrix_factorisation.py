"""The matrix factorisation of RouteLLM, for any number of adapters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import trange

from routing_gym.agents.agent import Feedback
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import linear, product
from routing_gym.agents.seeding import isolated_seed
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData


@dataclass(frozen=True)
class MatrixFactorisationConfig:
    """Settings of the matrix factorisation.

    Parameters
    ----------
    rank
        Width of the adapters' and the queries' factors, at least 1.
    epochs
        Most passes over the train split, at least 1.
    patience
        Epochs without a lower validation loss after which training stops, at least 1.
    batch_size
        Queries per gradient step, at least 1.
    learning_rate
        Of AdamW, above 0.
    weight_decay
        Of AdamW, at least 0.
    """

    rank: int = 128
    epochs: int = 60
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("rank", "epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate} is not above 0: give a positive.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay} is negative: give 0 or more.")


class Factorisation(nn.Module):
    r"""The scoring function :math:`\delta(a, x) = w^\top (v_a \odot (W^\top x + b))`.

    Parameters
    ----------
    num_features
        D, the width of the query embeddings.
    num_adapters
        K.
    rank
        Width of v_a, the adapter's factor.
    """

    def __init__(self, num_features: int, num_adapters: int, rank: int) -> None:
        super().__init__()
        self.adapters = nn.Embedding(num_adapters, rank)
        self.project = nn.Linear(num_features, rank)
        self.score = nn.Linear(rank, 1, bias=False)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Score float (N, D) embeddings under every adapter: (N, K)."""
        return self.project(observations) @ self.weighted().T

    def weighted(self) -> torch.Tensor:
        """Return float (K, R), the adapters' factors of length 1 times the score's weights."""
        return functional.normalize(self.adapters.weight, dim=-1) * self.score.weight


class MatrixFactorisationAgent(ValueAgent):
    r"""Rank adapters by a bilinear score that is fitted to pairwise preferences.

    :math:`P(a \succ b \mid x) = \sigma(\delta(a, x) - \delta(b, x))` with the score of
    `Factorisation`: Ong et al., *RouteLLM* (arXiv:2406.18665, 2024), sec. 4.2. Changed: the
    preferences come from the table's rewards instead of human votes, for every pair of adapters
    with the soft target :math:`(1 + (r_a - r_b)/s)/2`, s the largest difference on the train
    split, so that ties, most of any such table, teach that both are alike; and the epoch of the
    lowest validation loss is kept. Values are :math:`\delta`, log-odds, not rewards.
    """

    name: ClassVar[str] = "matrix_factorisation"
    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = MatrixFactorisationConfig
    config: MatrixFactorisationConfig
    epoch: int = 0

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), each adapter's score in log-odds."""
        with torch.no_grad():
            return self.network(torch.from_numpy(self._checked(observations))).double().numpy()

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the bilinear score to a graph."""
        projected = linear(graph, observations, self.network.project)
        weighted = self.network.weighted().detach().numpy()
        return graph.double(product(graph, projected, weighted.T, np.float32))

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Minimise the soft cross-entropy over all pairs; keep the best epoch on validation."""
        config, scale = self.config, float(np.ptp(train.rewards, axis=1).max()) or 1.0
        generator = torch.Generator().manual_seed(seed)
        with isolated_seed(seed):
            self._build()
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        inputs, rewards = _tensors(train, scale)
        held_out = _tensors(validation, scale)
        best, best_weights = math.inf, self._copy()
        for epoch in trange(config.epochs, desc=self.name, unit="epoch", disable=not progress):
            for rows in torch.randperm(len(inputs), generator=generator).split(config.batch_size):
                optimizer.zero_grad()
                pair_loss(self.network(inputs[rows]), rewards[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                loss = float(pair_loss(self.network(held_out[0]), held_out[1]))
            if loss < best:
                best, best_weights, self.epoch = loss, self._copy(), epoch + 1
            if epoch + 1 - self.epoch >= config.patience:
                break
        self.network.load_state_dict(best_weights)

    def _build(self) -> None:
        """Make an untrained network of the right sizes."""
        self.epoch = 0
        self.network = Factorisation(self.num_features, len(self.adapters), self.config.rank)

    def _copy(self) -> dict[str, torch.Tensor]:
        """Copy the weights as they are now."""
        return {name: values.clone() for name, values in self.network.state_dict().items()}

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the kept epoch and the weights."""
        arrays = {name: values.numpy() for name, values in self.network.state_dict().items()}
        return {"epoch": self.epoch}, arrays

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Build the network and fill it."""
        with isolated_seed(0):
            self._build()
        self.epoch = int(values["epoch"])
        weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit the factorisation that agent.json describes: {error}"
            ) from error


def pair_loss(scores: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """Return the mean soft cross-entropy over queries and pairs of adapters.

    Parameters
    ----------
    scores
        float (B, K), log-odds.
    rewards
        float (B, K), scaled so that no two of a query differ by more than 1.
    """
    pairs = list(combinations(range(scores.shape[1]), 2))
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    target = (1 + (rewards[:, left] - rewards[:, right]).clamp(-1, 1)) / 2  # (B, pairs)
    return functional.binary_cross_entropy_with_logits(scores[:, left] - scores[:, right], target)


def _tensors(data: RoutingData, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings (N, D) and scaled rewards (N, K) as float32."""
    observations = torch.from_numpy(np.asarray(data.observations, dtype=np.float32))
    return observations, torch.from_numpy((data.rewards / scale).astype(np.float32))
