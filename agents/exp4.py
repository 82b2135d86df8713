"""EXP4: a weighted vote of other policies, with weights learned from what their advice earned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import BanditAgent, BanditConfig, Outcomes, ValueBandit, best_of
from routing_gym.agents.bootstrapped_thompson import BootstrappedThompsonAgent
from routing_gym.agents.epsilon_greedy import EpsilonGreedyAgent
from routing_gym.agents.linear_thompson import LinearThompsonAgent
from routing_gym.agents.linucb import LinUCBAgent
from routing_gym.agents.neural_linear import NeuralLinearAgent
from routing_gym.agents.neural_ts import NeuralTSAgent
from routing_gym.agents.neural_ucb import NeuralUCBAgent
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import masked, normalised, times, vote
from routing_gym.agents.policy import full_mask
from routing_gym.agents.squarecb import SquareCBAgent

# experts learn from outcomes that others chose: only predictors of rewards can
EXPERTS: dict[str, type[ValueBandit]] = {
    agent.name: agent
    for agent in (
        EpsilonGreedyAgent,
        LinUCBAgent,
        LinearThompsonAgent,
        SquareCBAgent,
        BootstrappedThompsonAgent,
        NeuralLinearAgent,
        NeuralUCBAgent,
        NeuralTSAgent,
    )
}
"""Name of an expert -> class."""


@dataclass(frozen=True)
class EXP4Config(BanditConfig):
    """Settings of EXP4, beside those of every bandit; its contexts are the experts' too.

    Parameters
    ----------
    experts
        Names in ``EXPERTS``, each once, with their default settings. Besides them every adapter is
        an expert that always advises itself.
    gamma
        Share of uniform exploration, and K times the rate at which weights move, in (0, 1].
    """

    experts: tuple[str, ...] = ("linucb", "squarecb", "neural_linear")
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.experts if name not in EXPERTS]
        if unknown or len(set(self.experts)) < len(self.experts):
            raise ValueError(
                f"experts={self.experts!r} must be names, each once, of {', '.join(EXPERTS)}."
            )
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma} is outside (0, 1]: 0.1 is usual.")


class EXP4Agent(BanditAgent):
    r"""Mix the advice of experts, and shift the mixture to those whose advice pays.

    Auer, Cesa-Bianchi, Freund and Schapire, *The nonstochastic multiarmed bandit problem* (SIAM
    Journal on Computing 2002), section 7. With the advice :math:`\xi^i` of expert i:

    .. math:: p(a) = (1 - \gamma) \sum_i \frac{w_i}{\sum_j w_j} \xi^i(a) + \frac{\gamma}{K}, \qquad
        w_i \leftarrow w_i \exp\left(\frac{\gamma}{K} \xi^i(a_t) \frac{r_t}{p(a_t)}\right).

    The experts are the adapters themselves, and other bandits that are learning. These advise what
    they would do, and all learn from each outcome that the mixture pays for, so that no outcome is
    spent on one expert alone or counted twice; the paper's bound holds against advice that depends
    on the past. Changed: outcomes arrive in batches. Rewards have to lie in [0, 1].

    Randomised by nature: the trained policy is the mixture of the experts' *trained* policies,
    without the uniform share; ``decide`` without an ``rng`` takes its mode, the weighted vote.
    """

    name: ClassVar[str] = "exp4"
    config_class: ClassVar[type[Any]] = EXP4Config
    config: EXP4Config

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the weighted vote of the experts' trained policies."""
        contexts = self._contexts(observations)
        allowed = full_mask(mask, (len(contexts), len(self.adapters)))
        votes = [best_of(expert._estimates(contexts), allowed) for expert in self._experts]
        return self._mix(votes, allowed)

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the weighted vote over the allowed adapters to a graph."""
        contexts, shares = self._projection.to_onnx(graph, observations), self._shares()
        allowed = graph.double(graph.mask())
        mixed = times(graph, allowed, shares[len(self._experts) :])
        for share, expert in zip(shares, self._experts, strict=False):
            advice = vote(graph, masked(graph, expert.estimates_to_onnx(graph, contexts)))
            mixed = graph.node("Add", mixed, times(graph, advice, share))
        return OnnxOutput(normalised(graph, mixed), "probabilities")

    def weights(self) -> dict[str, float]:
        """Return how much each expert counts, by the name of the bandit or of the adapter."""
        names = (*self.config.experts, *self.adapters)
        return dict(zip(names, self._shares().tolist(), strict=True))

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Begin every expert, with equal weights."""
        self._experts = [EXPERTS[name]() for name in self.config.experts]
        for expert, draws in zip(self._experts, rng.spawn(len(self._experts)), strict=True):
            expert.adapters, expert.outcomes = self.adapters, self.outcomes
            expert._begin(width=width, rng=draws)
        self._log_weights = np.zeros(len(self._experts) + len(self.adapters))

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Mix the experts' exploring policies with the uniform one."""
        advice = [expert._behave(contexts, allowed) for expert in self._experts]
        uniform = allowed / allowed.sum(axis=1, keepdims=True)
        return (1 - self.config.gamma) * self._mix(advice, allowed) + self.config.gamma * uniform

    def _learn(self, batch: Outcomes) -> None:
        """Pay the experts for their advice, then let them learn."""
        if not ((batch.rewards >= 0) & (batch.rewards <= 1)).all():
            raise ValueError(
                f"rewards from {batch.rewards.min():g} to {batch.rewards.max():g} leave [0, 1]: "
                "EXP4 needs that range; rescale them."
            )
        rows = np.arange(len(batch.actions))
        allowed = batch.probabilities > 0  # the uniform share reaches every allowed adapter
        rate = self.config.gamma / len(self.adapters)
        earned = rate * batch.rewards / batch.probabilities[rows, batch.actions]
        for index, expert in enumerate(self._experts):
            advice = expert._behave(batch.contexts, allowed)[rows, batch.actions]
            self._log_weights[index] += earned @ advice
            expert._learn(batch)
            expert.outcomes += len(rows)
        np.add.at(self._log_weights, len(self._experts) + batch.actions, earned)

    def _finish(self) -> None:
        """Let the experts finish."""
        for expert in self._experts:
            expert._finish()

    def _shares(self) -> np.ndarray:
        """Return float64 (E + K,), the normalised weights."""
        weights = np.exp(self._log_weights - self._log_weights.max())
        return weights / weights.sum()

    def _mix(self, advice: list[np.ndarray], allowed: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the weighted mean of the advice and of the constant experts."""
        shares = self._shares()
        constants = allowed * shares[len(advice) :]
        mixed = constants + sum(
            share * distribution for share, distribution in zip(shares, advice, strict=False)
        )
        return mixed / mixed.sum(axis=1, keepdims=True)

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the weights and what every expert learned."""
        arrays = {"log_weights": self._log_weights}
        for expert in self._experts:
            arrays |= {f"{expert.name}/{key}": value for key, value in expert._learned().items()}
        return arrays

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take them back."""
        self._log_weights = arrays["log_weights"].copy()
        for expert in self._experts:
            prefix = f"{expert.name}/"
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            expert._relearn(own)
