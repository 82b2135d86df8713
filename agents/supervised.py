"""Supervised training of `AdapterRouter` on every adapter's reward; objectives are subclasses."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional
from tqdm import trange

from routing_gym.agents.agent import Agent, Feedback
from routing_gym.agents.curves import CurveLog, head, quantities_on
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import softmax
from routing_gym.agents.router import AdapterRouter
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.data import RoutingData

_IGNORED = -100  # cross_entropy skips this label: an unknown complexity or task
_SHOWN = 2048  # train queries that the train curves are averaged over


@dataclass(frozen=True)
class RouterConfig:
    """Settings of the supervised routers.

    Parameters
    ----------
    encoder_name
        The encoder of the embeddings, kept with the policy.
    hidden_dim
        Width of the two hidden layers, at least 1.
    dropout
        Share of hidden units dropped while training, in [0, 1).
    epochs
        Most passes over the train split, at least 1.
    patience
        Epochs without a better validation reward after which training stops, at least 1.
    batch_size
        Queries per gradient step, at least 1.
    learning_rate
        Of AdamW at the start, above 0; a cosine takes it to a tenth.
    weight_decay
        Of AdamW, at least 0.
    complexity_weight, task_weight
        Weights of the cross-entropies of the two auxiliary heads, at least 0.
    temperature_start, temperature_end
        Gumbel-Softmax temperature of the first and the last epoch, geometric between, above 0.
        Only the objective "gumbel" uses them.
    """

    encoder_name: str = "sentence-transformers/all-MiniLM-L6-v2"
    hidden_dim: int = 256
    dropout: float = 0.3
    epochs: int = 40
    patience: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    complexity_weight: float = 0.1
    task_weight: float = 0.1
    temperature_start: float = 1.0
    temperature_end: float = 0.3

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        for name in ("learning_rate", "temperature_start", "temperature_end"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is not above 0: give a positive.")
        for name in ("weight_decay", "complexity_weight", "task_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is negative: give 0 or more.")

    def temperature(self, epoch: int) -> float:
        """Return the Gumbel-Softmax temperature of an epoch, counted from 0."""
        share = epoch / max(self.epochs - 1, 1)
        return self.temperature_start * (self.temperature_end / self.temperature_start) ** share


@dataclass(frozen=True)
class _Targets:
    """The train split as tensors: embeddings (N, D), rewards (N, K), labels (N,)."""

    observations: torch.Tensor
    rewards: torch.Tensor
    complexity: torch.Tensor
    tasks: torch.Tensor


class RouterAgent(Agent):
    r"""What the three supervised routers share: the network, the auxiliary heads and the loop.

    Minimises, over the train split with rewards r of *all* adapters,
    :math:`L = L_{adapter} + w_c\,CE(complexity) + w_t\,CE(task)`, where subclasses give
    :math:`L_{adapter}`. The auxiliary cross-entropies shape the trunk (an unknown complexity or
    task is skipped). The last policy with the highest greedy reward on validation is kept; training
    stops when that has not risen for ``patience`` epochs.
    """

    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = RouterConfig
    config: RouterConfig
    use_gumbel: ClassVar[bool] = False

    @abstractmethod
    def adapter_loss(
        self, logits: torch.Tensor, rewards: torch.Tensor, *, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the scalar loss of the adapter head.

        Parameters
        ----------
        logits
            float (B, K), of the adapter head.
        rewards
            float (B, K), standardised over the train split.
        generator
            Draws whatever the objective samples.
        """

    def loss(self, batch: tuple[torch.Tensor, ...], *, generator: torch.Generator) -> torch.Tensor:
        """Return the whole training loss of a batch, which reaches every head.

        Parameters
        ----------
        batch
            Embeddings (B, D), standardised rewards (B, K), complexity labels (B,) and task labels
            (B,); -100 where a label is unknown.
        generator
            Draws whatever the objective samples.
        """
        observations, rewards, complexity, tasks = batch
        output = self.router.heads(observations)
        total = self.adapter_loss(output.adapter_logits, rewards, generator=generator)
        total = total + self.config.complexity_weight * _label_loss(
            output.complexity_logits, complexity
        )
        return total + self.config.task_weight * _label_loss(output.task_logits, tasks)

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the softmax of the adapter head."""
        logits = self._logits(self._checked(observations))
        return functional.softmax(logits, dim=-1).numpy()

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the softmax of the adapter head to a graph."""
        logits = self.router.to_onnx(graph, observations)
        return OnnxOutput(softmax(graph, logits), "probabilities")

    def describe(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read the auxiliary heads.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.

        Returns
        -------
        complexity : np.ndarray
            int64 (N,), the most probable level, 1 to 3.
        tasks : np.ndarray
            str (N,), the most probable task of the train split.
        """
        self.router.eval()
        with torch.no_grad():
            output = self.router.heads(torch.from_numpy(self._checked(observations)))
        levels = output.complexity_logits.argmax(dim=1).numpy() + 1
        return levels, np.asarray(self._tasks)[output.task_logits.argmax(dim=1).numpy()]

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Build the network and train it under one seed."""
        self._tasks = [str(task) for task in np.unique(np.asarray(train.tasks, dtype=str))]
        curves = CurveLog(log_dir)
        with isolated_seed(seed):
            self._build()
            targets = self._targets(train)
            self._learn(targets, train, validation, seed=seed, curves=curves, progress=progress)
        curves.close()
        self.curves = curves.rows

    def _learn(
        self,
        targets: _Targets,
        train: RoutingData,
        validation: RoutingData,
        *,
        seed: int,
        curves: CurveLog,
        progress: bool,
    ) -> None:
        """Run epochs until the validation reward stops rising; end with the best weights."""
        config = self.config
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(
            self.router.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, config.epochs, eta_min=config.learning_rate / 10
        )
        best, best_epoch = -math.inf, 0
        best_weights: dict[str, torch.Tensor] = {}
        shown = head(train, _SHOWN)
        bar = trange(config.epochs, desc=self.name, unit="epoch", disable=not progress)
        for epoch in bar:
            self.router.temperature = config.temperature(epoch)
            self._epoch(targets, optimizer=optimizer, generator=generator)
            schedule.step()
            curves.record("train", step=epoch + 1, quantities=self._quantities(shown))
            quantities = self._quantities(validation)
            curves.record("validation", step=epoch + 1, quantities=quantities)
            bar.set_postfix(validation_reward=f"{quantities['reward']:.4f}")
            if quantities["reward"] > best:
                best, best_epoch = quantities["reward"], epoch
            if quantities["reward"] == best:  # of equals the later: it is fitted better
                best_weights = {k: v.clone() for k, v in self.router.state_dict().items()}
            if epoch - best_epoch >= config.patience:
                break
        bar.close()
        self.router.load_state_dict(best_weights)
        self.router.eval()

    def _epoch(
        self,
        targets: _Targets,
        *,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Take one gradient step per batch of a shuffled pass."""
        self.router.train()
        order = torch.randperm(len(targets.rewards), generator=generator)
        for rows in order.split(self.config.batch_size):
            batch = (
                targets.observations[rows],
                targets.rewards[rows],
                targets.complexity[rows],
                targets.tasks[rows],
            )
            optimizer.zero_grad()
            self.loss(batch, generator=generator).backward()
            optimizer.step()

    def _targets(self, train: RoutingData) -> _Targets:
        """Standardise rewards by their spread between adapters, and number the labels."""
        self._mean = float(train.rewards.mean())
        between = train.rewards - train.rewards.mean(axis=1, keepdims=True)
        self._scale = float(between.std()) or 1.0  # all adapters alike: nothing to scale
        levels = np.asarray(train.complexity, dtype=np.int64) - 1
        known = (levels >= 0) & (levels < 3)
        tasks = np.searchsorted(self._tasks, np.asarray(train.tasks, dtype=str))
        return _Targets(
            torch.from_numpy(np.asarray(train.observations, dtype=np.float32)),
            torch.from_numpy(((train.rewards - self._mean) / self._scale).astype(np.float32)),
            torch.from_numpy(np.where(known, levels, _IGNORED)),
            torch.from_numpy(tasks.astype(np.int64)),
        )

    def _build(self) -> None:
        """Make an untrained network of the right sizes."""
        self.router = AdapterRouter(
            self.config.encoder_name,
            len(self.adapters),
            self.config.hidden_dim,
            self.use_gumbel,
            num_tasks=len(self._tasks),
            dropout=self.config.dropout,
            embedding_dim=self.num_features,
        )

    def _logits(self, observations: np.ndarray) -> torch.Tensor:
        """Return the adapter head's float64 (N, K) in evaluation mode."""
        self.router.eval()
        with torch.no_grad():
            return self.router.heads(torch.from_numpy(observations)).adapter_logits.double()

    def _quantities(self, data: RoutingData) -> dict[str, float]:
        """Evaluate the greedy policy on a split."""
        logits = self._logits(np.asarray(data.observations, dtype=np.float32))
        probabilities = functional.softmax(logits, dim=-1).numpy()
        return quantities_on(
            data, actions=probabilities.argmax(axis=1), probabilities=probabilities
        )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the sizes that the data gave, and the weights."""
        values = {"tasks": self._tasks, "mean": self._mean, "scale": self._scale}
        return values, {k: v.numpy() for k, v in self.router.state_dict().items()}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Build the network and fill it."""
        self._tasks = list(values["tasks"])
        self._mean, self._scale = float(values["mean"]), float(values["scale"])
        with isolated_seed(0):
            self._build()
        weights = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
        try:
            self.router.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit the router that agent.json describes: {error}"
            ) from error
        self.router.eval()


def _label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy over known labels; 0, with a graph, if none is known."""
    known = int((labels != _IGNORED).sum())
    total = functional.cross_entropy(logits, labels, ignore_index=_IGNORED, reduction="sum")
    return total / max(known, 1)
