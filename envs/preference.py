"""What the user wants comes with the query: metrics weighted anew in every episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.preference_metrics import (
    PREFERRED,
    draw_weights,
    fixed_weights,
    metric_values,
    read_concentration,
)
from routing_gym.envs.scenario import Scenario, Transition
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams
from routing_gym.rewards.metric import Direction

RewardKind = Literal["scalar", "vector"]
REWARD_KINDS: tuple[RewardKind, ...] = ("scalar", "vector")


class PreferenceScenario(Scenario):
    """One-step episodes over L lanes, each with its own weights; see `PreferenceEnv`.

    Parameters
    ----------
    data
        The priced split; its rewards are not read.
    metrics, concentration, weights, reward_kind, ceilings, directions
        See `PreferenceEnv`.

    Attributes
    ----------
    metrics : tuple of str
        Names of the metrics, length M.
    values : np.ndarray
        float32 (N, K, M) in [0, 1], from `metric_values`.

    Raises
    ------
    ValueError
        If an option is of a wrong type or impossible, or the data lack a metric.
    """

    quantities = ("scalar_reward", "oracle_reward", "regret", "accuracy")

    def __init__(
        self,
        data: RoutingData,
        *,
        metrics: Sequence[str] = PREFERRED,
        concentration: float | Sequence[float] | None = None,
        weights: Sequence[float] | Mapping[str, float] | None = None,
        reward_kind: RewardKind = "scalar",
        ceilings: Mapping[str, float] | None = None,
        directions: Mapping[str, Direction] | None = None,
    ) -> None:
        super().__init__(data)
        if reward_kind not in REWARD_KINDS:
            raise ValueError(f"reward_kind={reward_kind!r} must be one of {REWARD_KINDS}.")
        if weights is not None and concentration is not None:
            raise ValueError(
                f"weights={weights!r} are fixed, concentration={concentration!r} draws them: "
                "give one of the two."
            )
        self.values = metric_values(data, metrics, ceilings=ceilings, directions=directions)
        self.metrics = tuple(metrics)
        self.num_metrics = len(self.metrics)
        self.reward_kind = reward_kind
        self.state_names = tuple(f"weight_{name}" for name in self.metrics)
        self._fixed = None if weights is None else fixed_weights(weights, self.metrics)
        self._concentration = read_concentration(concentration, self.num_metrics)
        self._adapters = np.array(data.adapters, dtype=object)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """A float32 Box (D + M,): the embedding, then the weights."""
        return self.box([0.0] * self.num_metrics, [1.0] * self.num_metrics)

    @property
    def reward_space(self) -> gym.spaces.Box:
        """A float64 Box in [0, 1], (M,) where the reward is a vector, else ()."""
        shape = (self.num_metrics,) if self.reward_kind == "vector" else ()
        return gym.spaces.Box(0.0, 1.0, shape, np.float64)

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes."""
        self.num_lanes = lanes
        self.rows = np.zeros(lanes, dtype=np.int64)
        self.weights = np.zeros((lanes, self.num_metrics), dtype=np.float32)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw a query and weights for these lanes, int64 (M,)."""
        self.rows[lanes] = streams.integers(lanes, self.num_queries)
        if self._fixed is None:
            self.weights[lanes] = draw_weights(lanes, streams, self._concentration)
        else:
            self.weights[lanes] = self._fixed

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Show embeddings and weights, float32 (M, D + M)."""
        return self.join(self.rows[lanes], self.weights[lanes])

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Let the chosen adapters answer, which ends every episode."""
        lanes = np.arange(self.num_lanes)
        worth = self.worth()
        gained = self.values[self.rows, actions].astype(np.float64)  # (L, M)
        scalar, oracle = worth[lanes, actions], worth.max(axis=1)
        info: dict[str, Any] = {"action": actions.copy(), "adapter": self._adapters[actions]}
        info |= self.context(lanes)
        info |= {"scalar_reward": scalar, "oracle_reward": oracle, "regret": oracle - scalar}
        info["accuracy"] = self.data.accuracy[self.rows, actions].astype(np.float64)
        info["metrics"] = self._by_metric(gained)
        return Transition(
            rewards=gained if self.reward_kind == "vector" else scalar,
            terminated=np.ones(self.num_lanes, dtype=np.bool_),
            truncated=np.zeros(self.num_lanes, dtype=np.bool_),
            info=info,
        )

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries, and say how each metric is weighted."""
        weights = self._by_metric(self.weights[lanes].astype(np.float64))
        return self.named(self.rows[lanes]) | {"weights": weights}

    def worth(self) -> np.ndarray:
        """Return what every adapter is worth to every lane now: float64 (L, K)."""
        weights = self.weights.astype(np.float64)
        return np.einsum("lkm,lm->lk", self.values[self.rows].astype(np.float64), weights)

    def _by_metric(self, columns: np.ndarray) -> dict[str, np.ndarray]:
        """Name the columns of an array (L, M)."""
        return {name: columns[:, i].copy() for i, name in enumerate(self.metrics)}


class PreferenceEnv(ScenarioEnv):
    """Choose the adapter for a user who says how much each metric counts.

    ## Description

    One user wants the best answer whatever it costs, the next one a fair answer at once. Every
    query comes with weights on M metrics, and the agent, which sees both, chooses the adapter
    that answers. One policy has to serve all preferences: that of quality alone is wrong for
    the second user, that of cost alone for the first. As in `Routing-v0` a step is a look-up of
    measured outcomes.

    ## Action Space

    `Discrete(K)`: the position of an adapter. `action_masks()` allows all.

    ## Observation Space

    A float32 `Box` (D + M,): the query's embedding, then the weights in the metrics' order, each
    in [0, 1] and together 1. Nothing that was computed from an answer is ever observed.

    ## Rewards

    Every metric is a number in [0, 1] of which more is better: a score as it is, a cost c as
    1 - min(c / ceiling, 1). With `reward_kind="scalar"` the reward is the weighted sum, in
    [0, 1]. With `reward_kind="vector"` it is the metrics themselves, float64 (M,), as MO-Gymnasium
    wants it: `env.unwrapped.reward_space` is a Box (M,), `env.unwrapped.reward_dim` is M, and the
    weights are still observed. Gymnasium's checker and Stable-Baselines3 take scalar rewards only.

    `info` after `step` holds `action`, `adapter`, `query_id`, `task`, `domain`, `complexity`,
    `weights` and `metrics` (by metric), `scalar_reward` (the weighted sum, for vectors too),
    `oracle_reward` (the best adapter's), `regret` and `accuracy`. `info` after `reset` holds the
    query's names and `weights`.

    ## Starting State

    A query drawn uniformly, with replacement, from the split, and weights drawn from a Dirichlet
    distribution (or the fixed ones). Both are pure functions of the seed.

    ## Episode End

    Every step terminates its episode; the last observation is that of the query just answered.
    Episodes are never truncated.

    ## Arguments

    ```python
    gym.make("RoutingGym/Preference-v0", table="results/table", split="train",
             metrics=("quality", "tokens", "seconds"), concentration=1.0, reward_kind="vector")
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, data, split, reward, render_mode
        As for `routing_gym.envs.routing.RoutingEnv`; ``reward`` prices the table's split and does
        not enter this reward.
    metrics
        At least two names of scores, of ``"accuracy"``, or of measured costs; of a name that is
        both, the score.
    concentration
        The Dirichlet's parameters, positive: one for all metrics or M of them; below 1 prefers
        extreme weights, above 1 even ones. ``None`` is 1, all weights equally likely.
    weights
        Fixed weights in place of drawn ones, M numbers or by metric; only proportions count.
    reward_kind
        ``"scalar"`` or ``"vector"``.
    ceilings
        Metric -> the cost, in the column's unit, that counts as the worst, as all higher ones do.
        ``None`` is `CEILINGS`, made for the embedded pool; a score without one has 1, a measured
        cost must have one. Without a ceiling the costs of short answers, a few per cent of what
        tables allow, hardly ever decide.
    directions
        Metric -> ``"higher"`` or ``"lower"``, for columns that are not metrics of the project.

    Raises
    ------
    ValueError
        If an argument is invalid, or the table is faulty or lacks a metric.
    """

    scenario_class = PreferenceScenario
    scenario: PreferenceScenario

    @property
    def reward_space(self) -> gym.spaces.Box:
        """Where rewards lie: a float64 Box, (M,) where they are vectors, else ()."""
        return self.scenario.reward_space

    @property
    def reward_dim(self) -> int:
        """Entries of a reward: M where it is a vector, else 1."""
        return self.scenario.num_metrics if self.scenario.reward_kind == "vector" else 1


class PreferenceVectorEnv(ScenarioVectorEnv):
    """L lanes of `PreferenceEnv`; rewards are float64 (L,), or (L, M) where they are vectors."""

    scenario_class = PreferenceScenario
    scenario: PreferenceScenario

    @property
    def reward_space(self) -> gym.spaces.Box:
        """Where one lane's rewards lie; see `PreferenceEnv.reward_space`."""
        return self.scenario.reward_space

    @property
    def reward_dim(self) -> int:
        """Entries of one lane's reward."""
        return self.scenario.num_metrics if self.scenario.reward_kind == "vector" else 1
