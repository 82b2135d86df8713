"""PPO that is told how much cost matters: one policy for every trade-off with quality."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from routing_gym.agents.bandit import require_at_least, require_positive, require_share
from routing_gym.agents.curves import CurveLog, quantities_on
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import constant_rows, times
from routing_gym.agents.ppo import PPOAgent, PPOConfig
from routing_gym.agents.ppo_callbacks import ValidationCurves
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.agents.preference_env import PreferenceVecEnv, with_preference
from routing_gym.agents.trade_off import OperatingPoints, TradeOff
from routing_gym.envs.data import RoutingData
from routing_gym.envs.sb3 import RoutingVecEnv


@dataclass(frozen=True)
class PreferencePPOConfig(PPOConfig):
    """Settings of preference-conditioned PPO, beside those of PPO.

    Parameters
    ----------
    preference
        Weight of the cost when deciding, in [0, 1]; quality has the rest. The default is the one
        at which quality and cost exchange as in the project's default reward, on its table: there
        0.9 of quality against 0.1 of cost before it is divided by its ceiling of 0.174, and
        0.0174 / (0.9 + 0.0174) = 0.019.
    quality
        The score that is quality, or ``"accuracy"``. Empty takes ``"quality"``, where the table
        has no such score ``"accuracy"``.
    cost
        The scores or measured costs whose mean is the cost. Empty takes ``("tokens", "seconds")``,
        where the table lacks one ``("cost",)``.
    cost_quantile
        Quantile of the cost on the train split that counts as 1, in (0, 1]; what costs more counts
        as 1 too.
    concentration
        Both parameters of the Beta distribution that training draws preferences from, above 0; 1 is
        uniform on [0, 1], less favours the extremes.
    preference_scale
        Factor on the preference, centred to [-1, 1], before the network, above 0.
    num_preferences
        Preferences, evenly spaced from 0 to 1, whose mean reward on validation picks the policy to
        keep; at least 2.
    """

    preference: float = 0.019
    quality: str = ""
    cost: tuple[str, ...] = ()
    cost_quantile: float = 0.95
    concentration: float = 1.0
    preference_scale: float = 6.0
    num_preferences: int = 11

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(self, "preference")
        require_positive(self, "cost_quantile", "concentration", "preference_scale")
        require_share(self, "cost_quantile")
        require_at_least(self, 2, "num_preferences")
        if isinstance(self.cost, str):
            raise ValueError(f"cost={self.cost!r} is one text: give a list of names.")

    @property
    def grid(self) -> np.ndarray:
        """float64 (num_preferences,), from 0 to 1."""
        return np.linspace(0, 1, self.num_preferences)


class PreferenceCurves(ValidationCurves):
    """Measures the policy at the deciding preference, and keeps the best over all preferences.

    ``reward`` and its companions are those of every agent, under the split's own reward;
    ``preference_reward``, the mean over a grid of preferences, decides.

    Parameters
    ----------
    validation
        The split.
    curves
        Where the points go, as split ``"validation"``.
    config
        The agent's configuration.
    trade_off
        What quality and cost mean.
    """

    criterion: ClassVar[str] = "preference_reward"

    def __init__(
        self,
        validation: RoutingData,
        *,
        curves: CurveLog,
        config: PreferencePPOConfig,
        trade_off: TradeOff,
    ) -> None:
        super().__init__(validation, curves=curves, every=config.evaluate_every)
        self._config, self._trade_off = config, trade_off

    def quantities(self, policy: ActorCriticPolicy) -> dict[str, float]:
        """Measure the greedy policy on the split."""
        data = self._validation
        points = _operating_points(policy, data, self._config.grid, trade_off=self._trade_off)
        probabilities = _distributions(policy, data.observations, self._config.preference)
        quantities = quantities_on(
            data, actions=probabilities.argmax(axis=1), probabilities=probabilities
        )
        return quantities | {self.criterion: float(points.rewards.mean())}


class PreferenceFeatures(BaseFeaturesExtractor):
    """Shows the network the embedding, the preference, and their product.

    The reward is linear in the preference for each embedding; with the product at hand the network
    need not find that out, and uses its few hidden units for the embedding.

    Parameters
    ----------
    observation_space
        Box of shape (D + 1,), an embedding e and a preference w.
    factor
        On the embedding.
    preference_scale
        On the preference, which is centred first: 2w - 1, in [-1, 1].
    """

    def __init__(
        self, observation_space: spaces.Box, *, factor: float, preference_scale: float
    ) -> None:
        super().__init__(observation_space, features_dim=2 * observation_space.shape[0] - 1)
        self._factor, self._scale = factor, preference_scale

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, 2D + 1): ``f e``, ``(2w - 1) f e`` and ``s (2w - 1)``."""
        embeddings = observations[:, :-1] * self._factor
        preference = 2 * observations[:, -1:] - 1
        parts = [embeddings, embeddings * preference, preference * self._scale]
        return torch.cat(parts, dim=1)


class PreferencePPOAgent(PPOAgent):
    r"""PPO with the weight of the cost in its observation, from bandit feedback.

    The setting of Wei et al., *Learning to route LLMs from bandit feedback: one policy, many
    trade-offs* (arXiv:2510.07429, 2025): a query comes with a preference w, and the answer earns

    .. math:: r = (1 - w)\,q(x, a) - w\,\min(c(x, a) / \tau, 1).

    Training draws w anew for every query; deciding takes the configured one, or any other without
    training again. Changed: PPO takes the place of REINFORCE, the weight and its product with the
    embedding the place of a learned encoding (`PreferenceFeatures`), and the ceiling is a quantile
    of the train split (`TradeOff`).

    It trains on this family of rewards, not on ``RoutingData.rewards``, and reads accuracy only
    where that is its quality. At the default preference both agree on the project's table under
    its default reward, up to scale, a constant, and the ceiling on the 5 % dearest answers. Under
    any other reward this agent is measured by what it was not trained for, unless ``quality``,
    ``cost`` and ``preference`` are set to match.
    """

    name: ClassVar[str] = "preference_ppo"
    config_class: ClassVar[type[Any]] = PreferencePPOConfig
    config: PreferencePPOConfig
    trade_off: TradeOff

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the actor's distribution at the configured preference."""
        return self.probabilities_at(observations, preference=self.config.preference)

    def probabilities_at(
        self, observations: np.ndarray, *, preference: float | np.ndarray
    ) -> np.ndarray:
        """Return the policy under any preference.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        preference
            Weight of the cost in [0, 1], one for all queries or float (N,).

        Returns
        -------
        np.ndarray
            float64 (N, K), rows sum to 1.

        Raises
        ------
        ValueError
            If a preference is outside [0, 1] or a shape does not fit.
        """
        return _distributions(self.policy, self._checked(observations), preference)

    def at(self, preference: float) -> PreferencePPOAgent:
        """Return this agent deciding under another preference; it shares the trained policy.

        Parameters
        ----------
        preference
            Weight of the cost in [0, 1].

        Raises
        ------
        ValueError
            If the preference is outside [0, 1].
        """
        other = copy.copy(self)
        other.config = replace(self.config, preference=float(preference))
        return other

    def _features_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add what the network sees at the configured preference to a graph."""
        preference = np.float32(2 * np.float32(self.config.preference) - 1)
        embeddings = super()._features_to_onnx(graph, observations)
        told = np.array([preference * np.float32(self.config.preference_scale)])
        column = graph.single(constant_rows(graph, observations, told))
        product = times(graph, embeddings, preference, np.float32)
        return graph.node("Concat", embeddings, product, column, axis=1)

    def cost_quality(
        self, data: RoutingData, preferences: Sequence[float] | np.ndarray | None = None
    ) -> OperatingPoints:
        """Measure the greedy policy under a row of preferences.

        Parameters
        ----------
        data
            The split, with the scores and costs that training named.
        preferences
            Weights of the cost, each in [0, 1]; None takes the grid of the configuration.

        Raises
        ------
        ValueError
            If a preference is outside [0, 1], or the split has other adapters or lacks a column.
        """
        self._check_adapters(data)
        grid = self.config.grid if preferences is None else np.asarray(preferences)
        return _operating_points(self.policy, data, grid, trade_off=self.trade_off)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Settle what quality and cost mean, then train like PPO."""
        config = self.config
        self.trade_off = TradeOff.fit(
            train, quality=config.quality, costs=config.cost, quantile=config.cost_quantile
        )
        super()._fit(train, validation=validation, seed=seed, log_dir=log_dir, progress=progress)

    def _environment(self, train: RoutingData, rng: np.random.Generator) -> RoutingVecEnv:
        """Return the environment that draws preferences."""
        return PreferenceVecEnv(
            self.config.num_envs,
            data=train,
            trade_off=self.trade_off,
            concentration=self.config.concentration,
            rng=rng,
        )

    def _validation_curves(self, validation: RoutingData, curves: CurveLog) -> ValidationCurves:
        """Return the callback that keeps the best policy over all preferences."""
        return PreferenceCurves(
            validation, curves=curves, config=self.config, trade_off=self.trade_off
        )

    @property
    def _input_width(self) -> int:
        """Length of the embedding and the preference."""
        return self.num_features + 1

    def _policy_options(self) -> dict[str, Any]:
        """Return PPO's architecture with the preference beside the embedding."""
        options = super()._policy_options()
        features = options["features_extractor_kwargs"]
        features |= {"preference_scale": self.config.preference_scale}
        return options | {"features_extractor_class": PreferenceFeatures}

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what quality and cost mean, and the weights."""
        values, arrays = super()._state()
        return values | {"trade_off": asdict(self.trade_off)}, arrays

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take back the meaning of quality and cost, and the network."""
        saved = values["trade_off"]
        self.trade_off = TradeOff(saved["quality"], tuple(saved["costs"]), saved["ceiling"])
        super()._restore(values, arrays)


def _distributions(
    policy: ActorCriticPolicy, observations: np.ndarray, preference: float | np.ndarray
) -> np.ndarray:
    """Return float64 (N, K), the actor's distributions under a preference."""
    return actor_probabilities(policy, with_preference(observations, preference))


def _operating_points(
    policy: ActorCriticPolicy, data: RoutingData, preferences: np.ndarray, *, trade_off: TradeOff
) -> OperatingPoints:
    """Decide greedily under each preference and average what that brings."""
    actions = [_distributions(policy, data.observations, w).argmax(axis=1) for w in preferences]
    return trade_off.operating_points(data, preferences, np.array(actions))
