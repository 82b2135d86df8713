"""The quality model's network: small multi-layer perceptrons, trained side by side.

Training uses torch, which is loaded only then; predicting is a few products in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

_WARMUP = 0.1  # of the training


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of the network and its training.

    Parameters
    ----------
    members
        M, networks of the ensemble, at least 1.
    hidden
        Width of the hidden layers, at least 1.
    layers
        Hidden layers, at least 1.
    dropout
        Share of hidden units dropped while training and in MC dropout, in [0, 1).
    epochs
        Most passes over the answers, at least 1; the learning rate falls to 0 over them.
    patience
        Epochs without a lower validation loss after which training stops, at least 1.
    batch_size
        Answers per gradient step and member, at least 1.
    learning_rate
        Peak of AdamW's, above 0.
    weight_decay
        AdamW's, at least 0.
    unmeasured_share
        Share of the training answers, drawn anew each time, whose token signals are hidden, and of
        those whose form is, in [0, 1): so the model can score answers that come without.
    """

    members: int = 5
    hidden: int = 64
    layers: int = 2
    dropout: float = 0.2
    epochs: int = 80
    patience: int = 20
    batch_size: int = 320
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    unmeasured_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("members", "hidden", "layers", "epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        for name in ("dropout", "unmeasured_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is outside [0, 1): give a share.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate}: give a positive number.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay}: give 0 or more.")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """M perceptrons with ReLU between their layers, as arrays.

    A deep ensemble (Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles", 2017): the members differ in initialisation, order and dropout. Changed:
    no adversarial training.

    Parameters
    ----------
    weights
        Per layer float32 (M, inputs, outputs); the last layer has one output.
    biases
        Per layer float32 (M, 1, outputs).
    dropout
        Share of hidden units that MC dropout drops.

    Raises
    ------
    ValueError
        If the layers do not fit together or hold numbers that are not finite.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    dropout: float

    def __post_init__(self) -> None:
        shapes = [w.shape for w in self.weights]
        fits = bool(shapes) and all(len(s) == 3 and s[0] == shapes[0][0] for s in shapes)
        fits = fits and shapes[-1][2] == 1
        fits = fits and all(a[2] == b[1] for a, b in pairwise(shapes))
        fits = fits and [b.shape for b in self.biases] == [(s[0], 1, s[2]) for s in shapes]
        if not fits:
            raise ValueError(f"weights of shapes {shapes} and their biases make no network.")
        if not all(np.isfinite(part).all() for part in (*self.weights, *self.biases)):
            raise ValueError("weights hold numbers that are not finite: train again.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is outside [0, 1): give a share.")

    @property
    def num_members(self) -> int:
        """M."""
        return len(self.weights[0])

    @property
    def num_features(self) -> int:
        """D, the width of the features."""
        return self.weights[0].shape[1]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Log-odds by each member: float64 (M, N) of float32 features (N, D)."""
        return self._forward(features, np.arange(self.num_members), rng=None)

    def sampled_logits(
        self, features: np.ndarray, *, passes: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Log-odds under random dropout, as in training: float64 (passes, N).

        MC dropout (Gal and Ghahramani, "Dropout as a Bayesian Approximation", 2016); pass i uses
        member i modulo M.
        """
        return self._forward(features, np.arange(passes) % self.num_members, rng=rng)

    def _forward(
        self, features: np.ndarray, members: np.ndarray, rng: np.random.Generator | None
    ) -> np.ndarray:
        """Run chosen members, (P,) -> (P, N), one after another to keep memory small."""
        found = np.empty((len(members), len(features)))
        for place, member in enumerate(members):
            hidden = np.asarray(features, dtype=np.float32)
            for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                if layer:
                    hidden = np.maximum(hidden, 0)
                    if rng is not None:
                        kept = rng.random(hidden.shape, dtype=np.float32) >= self.dropout
                        hidden = hidden * kept / np.float32(1 - self.dropout)
                hidden = hidden @ weight[member] + bias[member]
            found[place] = hidden[:, 0]
        return found


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained ensemble.

    Parameters
    ----------
    ensemble
        With the weights of the best epoch.
    epochs
        The best epoch, counted from 1.
    losses
        Validation log loss of the members' mean log-odds after each epoch; empty without one.
    """

    ensemble: Ensemble
    epochs: int
    losses: tuple[float, ...]


def fit_ensemble(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    config: NetworkConfig,
    seed: int,
    optional: Sequence[np.ndarray] = (),
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    epochs: int | None = None,
) -> Fit:
    """Train all members at once by the log loss; each sees its own order of the answers.

    Parameters
    ----------
    features
        float32 (N, D).
    labels
        float (N,), 1 for right, 0 for wrong.
    config
        Settings.
    seed
        Determines everything; torch's global generator is not touched.
    optional
        Positions of features that are hidden together (set to 0) in `unmeasured_share` of the
        answers.
    validation
        Features and labels on which the best epoch is chosen; None trains all epochs.
    epochs
        Stop after these, at the learning rates of the full schedule; None is ``config.epochs``.

    Raises
    ------
    ValueError
        If there are no answers, or all are right or all wrong.
    """
    import torch

    if len(labels) == 0 or np.ptp(labels) == 0:
        raise ValueError(
            f"labels of {len(labels)} answers hold one class only: train on right and wrong ones."
        )
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(features), torch.from_numpy(np.asarray(labels, dtype=np.float32))
    layers = _initial_layers(features.shape[1], config, generator)
    optimizer, schedule = _optimizer(layers, config, steps=-(-len(y) // config.batch_size))
    hidden = [torch.from_numpy(np.asarray(group)) for group in optional]
    best, best_loss, losses = _as_ensemble(layers, config), math.inf, []
    best_epoch = 0
    for epoch in range(1, (epochs or config.epochs) + 1):
        for rows in _batches(len(y), config, generator):
            batch = _hide(x[rows], hidden, config.unmeasured_share, generator)
            logits = _forward(layers, batch, config.dropout, generator)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, y[rows], reduction="none"
            )
            optimizer.zero_grad()
            loss.mean(dim=1).sum().backward()  # members do not share parameters
            optimizer.step()
            schedule.step()
        if validation is None:
            continue
        current = _as_ensemble(layers, config)
        losses.append(log_loss(current.logits(validation[0]).mean(axis=0), validation[1]))
        if losses[-1] < best_loss:
            best, best_loss, best_epoch = current, losses[-1], epoch
        if epoch - best_epoch >= config.patience:
            break
    if validation is None:
        return Fit(_as_ensemble(layers, config), epochs or config.epochs, ())
    return Fit(best, best_epoch, tuple(losses))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean log loss in nats of log-odds (N,) against labels (N,)."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def _initial_layers(width: int, config: NetworkConfig, generator: Any) -> list[tuple[Any, Any]]:
    """Weights after He et al. (2015) and zero biases, per layer."""
    import torch

    widths = [width, *[config.hidden] * config.layers, 1]
    layers = []
    for inputs, outputs in pairwise(widths):
        weight = torch.randn(config.members, inputs, outputs, generator=generator)
        weight = weight * math.sqrt(2 / inputs)
        bias = torch.zeros(config.members, 1, outputs)
        layers.append((weight.requires_grad_(), bias.requires_grad_()))
    return layers


def _optimizer(layers: list[tuple[Any, Any]], config: NetworkConfig, *, steps: int) -> Any:
    """AdamW without decay of the biases, and its schedule over all epochs of so many steps."""
    import torch

    groups = [
        {"params": [weight for weight, _ in layers], "weight_decay": config.weight_decay},
        {"params": [bias for _, bias in layers], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_share(step / (steps * config.epochs))
    )
    return optimizer, schedule


def rate_share(progress: float) -> float:
    """Share of the peak learning rate: linear warm-up over a tenth of training, then a cosine."""
    if progress < _WARMUP:
        return 0.04 + 0.96 * progress / _WARMUP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARMUP) / (1 - _WARMUP)))


def _batches(count: int, config: NetworkConfig, generator: Any) -> Iterator[Any]:
    """Row numbers (M, B) of one pass, in an order of each member's own."""
    import torch

    orders = [torch.randperm(count, generator=generator) for _ in range(config.members)]
    yield from torch.stack(orders).split(config.batch_size, dim=1)


def _hide(batch: Any, groups: Sequence[Any], share: float, generator: Any) -> Any:
    """Set groups of features to 0 in a random share of the answers of (M, B, D)."""
    import torch

    for group in groups:
        shown = torch.rand(*batch.shape[:2], 1, generator=generator) >= share
        batch[..., group] = batch[..., group] * shown
    return batch


def _forward(layers: list[tuple[Any, Any]], batch: Any, dropout: float, generator: Any) -> Any:
    """Log-odds (M, B) of features (M, B, D), with dropout."""
    import torch

    hidden = batch
    for number, (weight, bias) in enumerate(layers):
        if number:
            hidden = torch.relu(hidden)
            kept = torch.rand(hidden.shape, generator=generator) >= dropout
            hidden = hidden * kept / (1 - dropout)
        hidden = torch.baddbmm(bias, hidden, weight)
    return hidden[..., 0]


def _as_ensemble(layers: list[tuple[Any, Any]], config: NetworkConfig) -> Ensemble:
    """Copy the parameters into arrays."""
    return Ensemble(
        tuple(weight.detach().numpy().copy() for weight, _ in layers),
        tuple(bias.detach().numpy().copy() for _, bias in layers),
        config.dropout,
    )
