"""PPO that trains with some adapters forbidden: what it learns holds when one is not loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from routing_gym.agents.policy import full_mask
from routing_gym.agents.ppo import PPOAgent, PPOConfig
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.envs.data import RoutingData
from routing_gym.envs.sb3 import RoutingVecEnv


@dataclass(frozen=True)
class MaskablePPOConfig(PPOConfig):
    """Settings of MaskablePPO, beside those of PPO.

    Parameters
    ----------
    mask_share
        Probability that an adapter is forbidden at a training step, in [0, 1); drawn per query and
        adapter. One adapter always stays. 0 forbids none, and training is then PPO's.
    """

    mask_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.mask_share < 1:
            raise ValueError(
                f"mask_share={self.mask_share} is outside [0, 1): give the share of adapters that "
                "are not loaded, 0 for none."
            )


class MaskedRoutingVecEnv(RoutingVecEnv):
    """A `RoutingVecEnv` in which adapters are missing at random, as if they were not loaded.

    Every reset and step draws a mask for the queries that now wait. ``last_step`` counts the regret
    against the best of all adapters, forbidden ones too.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    data
        The split.
    mask_share
        Probability that an adapter is missing, in [0, 1); a query that would be left with none
        keeps one, drawn uniformly.
    rng
        Draws the masks.
    """

    def __init__(
        self, num_envs: int, *, data: RoutingData, mask_share: float, rng: np.random.Generator
    ) -> None:
        super().__init__(num_envs, data=data)
        self._share, self._rng = mask_share, rng
        self._allowed = self._draw()

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed on the queries that wait: bool (L, K)."""
        return self._allowed.copy()

    def reset(self) -> np.ndarray:
        """Draw every lane's next query and mask; observations float32 (L, D)."""
        self._allowed = self._draw()
        observations: np.ndarray = super().reset()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, integers (L,), for `step_wait`.

        Raises
        ------
        ValueError
            If an action is forbidden.
        """
        super().step_async(actions)
        permitted = self._allowed[np.arange(self.num_envs), actions]
        if not permitted.all():
            lane = int(np.argmin(permitted))
            raise ValueError(
                f"action={actions[lane]} of lane {lane} is forbidden: choose among those that "
                "action_masks() allows."
            )

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Answer every lane's query and draw the next masks."""
        self._allowed = self._draw()
        return super().step_wait()

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method whose result has one row per lane; ``action_masks`` is this class's."""
        if method_name == "action_masks":
            return list(self.action_masks()[self._lanes(indices)])
        return super().env_method(method_name, *method_args, indices=indices, **method_kwargs)

    def _draw(self) -> np.ndarray:
        """Return bool (L, K), each row with at least one True."""
        shape = (self.num_envs, len(self.adapters))
        allowed = self._rng.random(shape) >= self._share
        spared = self._rng.integers(shape[1], size=self.num_envs)
        empty = ~allowed.any(axis=1)
        allowed[empty, spared[empty]] = True
        return allowed


class MaskablePPOAgent(PPOAgent):
    r"""PPO with invalid action masking, from bandit feedback.

    Huang and Ontañón, *A Closer Look at Invalid Action Masking in Policy Gradient Algorithms*
    (arXiv:2006.14171, 2020), in the implementation of sb3-contrib. The logits :math:`l_a` of the
    forbidden adapters are replaced before the softmax,

    .. math:: \pi_\theta(a | x, m) = \frac{m_a e^{l_a(x)}}{\sum_b m_b e^{l_b(x)}},

    while acting and in PPO's objective alike, so that the gradient is that of the policy which
    really acted; a forbidden adapter gets none. Everything else is `PPOAgent`'s, whose run it
    repeats, up to rounding, with ``mask_share=0``.

    Added for routing: the table allows every adapter, so that training forbids some at random.
    The policy then learns what to take where its favourite is not loaded, which PPO never tries
    once its distributions are narrow.
    """

    name: ClassVar[str] = "maskable_ppo"
    config_class: ClassVar[type[Any]] = MaskablePPOConfig
    algorithm_class: ClassVar[type[OnPolicyAlgorithm]] = MaskablePPO
    policy_class: ClassVar[type[Any]] = MaskableActorCriticPolicy
    config: MaskablePPOConfig

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the actor's distribution over the allowed adapters."""
        observations = self._checked(observations)
        allowed = full_mask(mask, (len(observations), len(self.adapters)))
        return actor_probabilities(self.policy, observations, mask=allowed)

    def _environment(self, train: RoutingData, rng: np.random.Generator) -> RoutingVecEnv:
        """Return the environment with missing adapters."""
        config = self.config
        return MaskedRoutingVecEnv(
            config.num_envs, data=train, mask_share=config.mask_share, rng=rng
        )
