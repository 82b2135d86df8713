"""What the neural bandits share: a small network of values, its replay, and their base class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from routing_gym.agents.bandit import (
    BanditConfig,
    Outcomes,
    ValueBandit,
    require_at_least,
    require_not_negative,
    require_positive,
)
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import linear, times


@dataclass(frozen=True)
class NetworkConfig(BanditConfig):
    """Settings of the network and of its training, beside those of every bandit.

    Parameters
    ----------
    hidden_dim
        Width of the hidden layer, at least 1.
    input_scale
        Factor on the contexts before the network, above 0: scaled up, learning is faster, and the
        network learns what it has seen by heart sooner.
    learning_rate
        Of AdamW, above 0.
    weight_decay
        Of AdamW, at least 0.
    """

    hidden_dim: int = 128
    input_scale: float = 4.0
    learning_rate: float = 2e-3
    weight_decay: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "hidden_dim")
        require_positive(self, "input_scale", "learning_rate")
        require_not_negative(self, "weight_decay")


@dataclass(frozen=True)
class ReplayConfig(NetworkConfig):
    """Settings of learning from replayed outcomes, beside those of the network.

    Parameters
    ----------
    replay_size
        Outcomes per gradient step, drawn with replacement from all that were paid for, at least 1.
    steps_per_batch
        Gradient steps after each batch of outcomes, at least 1.
    dropout
        Share of hidden units dropped while training, in [0, 1).
    """

    replay_size: int = 128
    steps_per_batch: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "replay_size", "steps_per_batch")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is outside [0, 1): 0 turns it off.")


class ValueNetwork(nn.Module):
    r"""One hidden layer: :math:`f(x) = V\,\mathrm{relu}(s W x) + c`.

    Parameters
    ----------
    width
        Length of a context; its first entry is 1, so that W needs no bias.
    outputs
        Numbers returned per context.
    config
        The width of the hidden layer and the scale s.
    dropout
        Share of hidden units dropped while training, in [0, 1).
    """

    def __init__(
        self, width: int, outputs: int, *, config: NetworkConfig, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.body = nn.Linear(width, config.hidden_dim, bias=False)
        self.head = nn.Linear(config.hidden_dim, outputs)
        self.scale = config.input_scale
        self.dropout = dropout

    def hidden(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return float (N, H), the hidden layer without dropout."""
        return functional.relu(self.body(self.scale * contexts))

    def forward(self, contexts: torch.Tensor) -> torch.Tensor:
        """Return float (N, outputs)."""
        hidden = functional.dropout(self.hidden(contexts), self.dropout, training=self.training)
        return self.head(hidden)

    def evaluate(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, outputs) of float (N, W) contexts, without dropout or gradients."""
        with torch.no_grad():
            return self.eval()(as_tensor(contexts)).double().numpy()

    def to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add ``evaluate`` to a graph; return the name of its float64 (N, outputs)."""
        scaled = times(graph, graph.single(contexts), self.scale, np.float32)
        hidden = graph.node("Relu", linear(graph, scaled, self.body))
        return graph.double(linear(graph, hidden, self.head))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return {f"network.{k}": v.numpy().copy() for k, v in self.state_dict().items()}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the weights of ``arrays`` back.

        Raises
        ------
        ValueError
            If they do not fit the network.
        """
        weights = {k: torch.from_numpy(arrays[f"network.{k}"].copy()) for k in self.state_dict()}
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit the network that agent.json describes: {error}"
            ) from error


class Replay:
    """Every outcome that was paid for, in arrays that grow by doubling.

    Attributes
    ----------
    size
        Outcomes held, T.
    """

    def __init__(self, width: int) -> None:
        self.size = 0
        self._contexts = torch.zeros(1024, width)
        self._actions = torch.zeros(1024, dtype=torch.int64)
        self._rewards = torch.zeros(1024)

    def append(self, batch: Outcomes) -> None:
        """Hold a batch."""
        end = self.size + len(batch.actions)
        while end > len(self._actions):
            self._contexts, self._actions, self._rewards = (
                torch.cat([held, torch.zeros_like(held)])
                for held in (self._contexts, self._actions, self._rewards)
            )
        self._contexts[self.size : end] = as_tensor(batch.contexts)
        self._actions[self.size : end] = torch.from_numpy(batch.actions)
        self._rewards[self.size : end] = as_tensor(batch.rewards)
        self.size = end

    def held(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return all contexts (T, W), actions (T,) and rewards (T,)."""
        return self._contexts[: self.size], self._actions[: self.size], self._rewards[: self.size]

    def draw(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the contexts (B, W), actions (B,) and rewards (B,) of int64 (B,) rows."""
        index = torch.from_numpy(rows)
        return self._contexts[index], self._actions[index], self._rewards[index]


class NetworkBandit(ValueBandit):
    r"""A bandit whose predictions are a network's, trained on replayed outcomes.

    After each batch it takes gradient steps of AdamW on
    :math:`\frac 1B \sum_i (f_{a_i}(x_i) - r_i)^2` over outcomes drawn from all that were paid for.
    """

    config_class: ClassVar[type[Any]] = ReplayConfig
    config: Any

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Initialise the network."""
        self._rng = rng
        self._replay = Replay(width)
        self._network = ValueNetwork(
            width, len(self.adapters), config=self.config, dropout=self.config.dropout
        )
        self._optimizer = adamw(self._network, self.config)

    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Return the network's predictions."""
        return self._network.evaluate(contexts)

    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the network to a graph."""
        return self._network.to_onnx(graph, contexts)

    def _learn(self, batch: Outcomes) -> None:
        """Hold the outcomes and take the gradient steps."""
        self._replay.append(batch)
        for _ in range(self.config.steps_per_batch):
            rows = self._rng.integers(self._replay.size, size=self.config.replay_size)
            self._step(*self._replay.draw(rows))

    def _step(self, contexts: torch.Tensor, actions: torch.Tensor, rewards: torch.Tensor) -> None:
        """Take one gradient step on the chosen adapters' squared errors."""
        chosen = self._network.train()(contexts).gather(1, actions[:, None])[:, 0]
        self._optimizer.zero_grad()
        functional.mse_loss(chosen, rewards).backward()
        self._optimizer.step()

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return self._network.arrays()

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fill the network."""
        self._network.fill(arrays)


def adamw(network: nn.Module, config: NetworkConfig) -> torch.optim.Optimizer:
    """Return the optimiser that a configuration describes."""
    return torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Return a float32 copy of an array as a tensor."""
    return torch.from_numpy(np.array(values, dtype=np.float32))
