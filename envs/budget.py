"""The budget: a stream of queries shares what may be spent on answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from routing_gym.envs.cascade import value_matrix
from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams

HARD = 3  # the highest complexity
PACE_LIMIT = 4.0  # more money than this per query makes no difference


class BudgetScenario(Scenario):
    """The rules of `BudgetEnv`, which documents the options."""

    quantities: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "refused",
        "lost",
        "spent",
        "budget_left",
        "unspent",
    )
    episode_quantities: ClassVar[tuple[str, ...]] = ("unspent",)
    state_names = ("budget_left", "episode_left", "pace")

    def __init__(
        self,
        data: RoutingData,
        *,
        horizon: int = 32,
        budget_low: float = 0.05,
        budget_high: float = 0.5,
        cost: str = "completion_tokens",
        hard_late: float = 0.5,
        value: str = "quality",
        mean_costs: Sequence[float] | None = None,
    ) -> None:
        super().__init__(data)
        self.horizon = require_count("horizon", horizon)
        self.budget_low = require_number("budget_low", budget_low, open_low=True)
        self.budget_high = require_number("budget_high", budget_high, open_low=True)
        if self.budget_low > self.budget_high:
            raise ValueError(
                f"budget_low={budget_low} is above budget_high={budget_high}: swap them."
            )
        self.hard_late = require_number("hard_late", hard_late, high=1.0)
        if not isinstance(cost, str):
            raise ValueError(f"cost={cost!r} is a {type(cost).__name__}: give a cost's name.")
        self.require_costs(cost)
        self.costs = data.costs[cost].astype(np.float64)  # (N, K)
        self.values = value_matrix(data, value)
        self.mean_costs = _means(self.costs, mean_costs)
        self.dearest = float(self.mean_costs.max())
        if not self.dearest > 0:
            raise ValueError(f"cost={cost!r} is 0 throughout the table: there is nothing to share.")
        smallest = self.budget_low * self.horizon * self.dearest
        if smallest < self.mean_costs.min():
            raise ValueError(
                f"budget_low={budget_low} with horizon={horizon} leaves {smallest:.3g}, less than "
                f"any adapter's mean cost ({self.mean_costs.min():.3g}): raise one of them."
            )
        # what a middling budget has for each query, over the mean cost of the dearest adapter
        self.pace_unit = (self.budget_low + self.budget_high) / 2
        self.hard = _hard(data.complexity, self.costs)
        self._names = np.array(self.action_names, dtype=object)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """Box (D + 3,)."""
        return self.box([0.0] * 3, [1.0, 1.0, PACE_LIMIT])

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """Discrete(K + 1): the adapters, then refuse."""
        return gym.spaces.Discrete(self.num_adapters + 1)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The adapters, then ``refuse``."""
        return (*self.data.adapters, "refuse")

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes."""
        self.num_lanes = lanes
        self._lanes = np.arange(lanes, dtype=np.int64)
        self.rows = np.zeros((lanes, self.horizon), dtype=np.int64)  # queries in their order
        self.budgets = np.ones(lanes)
        self.left = np.ones(lanes)
        self._step = np.zeros(lanes, dtype=np.int64)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw budgets and queries; each hard query waits until the end with some probability."""
        share = self.budget_low + (self.budget_high - self.budget_low) * streams.uniform(lanes)
        self.budgets[lanes] = share * self.horizon * self.dearest
        self.left[lanes] = self.budgets[lanes]
        self._step[lanes] = 0
        rows = np.empty((len(lanes), self.horizon), dtype=np.int64)
        late = np.empty(rows.shape, dtype=np.bool_)
        for slot in range(self.horizon):
            rows[:, slot] = streams.integers(lanes, self.num_queries)
            late[:, slot] = streams.uniform(lanes) < self.hard_late
        late &= self.hard[rows]
        order = np.argsort(late, axis=1, kind="stable")
        self.rows[lanes] = np.take_along_axis(rows, order, axis=1)

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Return the next query's embedding and what is left; the last query's at the end."""
        return self.join(self.now(lanes), self._states(lanes))

    def now(self, lanes: np.ndarray | None = None) -> np.ndarray:
        """Return the query that waits on each lane, int64 (M,), or the last one where none does."""
        lanes = self._lanes if lanes is None else lanes
        return self.rows[lanes, np.minimum(self._step[lanes], self.horizon - 1)]

    def _states(self, lanes: np.ndarray) -> np.ndarray:
        """Return budget left, episode left and pace, float64 (M, 3)."""
        left, queries = self.left[lanes], self.horizon - self._step[lanes]
        states = np.empty((len(lanes), 3))
        states[:, 0] = left / self.budgets[lanes]
        states[:, 1] = queries / self.horizon
        pace = left / (np.maximum(queries, 1) * self.dearest * self.pace_unit)
        states[:, 2] = np.minimum(np.where(queries > 0, pace, 0.0), PACE_LIMIT)
        return states

    def masks(self) -> np.ndarray:
        """Allow adapters whose mean cost is left, and always refuse."""
        masks = np.ones((self.num_lanes, self.num_adapters + 1), dtype=np.bool_)
        masks[:, :-1] = self.left[:, None] >= self.mean_costs
        return masks

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Spend what the answer cost, as far as it is left; an answer cut short is lost."""
        rows = self.now()
        refused = actions == self.num_adapters
        cells = rows * self.num_adapters + np.where(refused, 0, actions)
        asked = np.where(refused, 0.0, self.costs.ravel()[cells])
        lost = asked > self.left
        spent = np.minimum(asked, self.left)
        answered = ~(refused | lost)
        rewards = np.where(answered, self.values.ravel()[cells], 0.0)
        self.left -= spent
        self._step += 1
        ended = self._step >= self.horizon
        left = self.left / self.budgets
        info: dict[str, Any] = self.named(rows)
        if not self.lean:
            info["adapter"] = self._names[actions]
        accuracy = self.data.accuracy.ravel()[cells].astype(np.float64)
        info |= {
            "accuracy": np.where(answered, accuracy, 0.0),
            "refused": refused.astype(np.float64),
            "lost": lost.astype(np.float64),
            "spent": spent,
            "budget_left": left,
            "unspent": np.where(ended, left, 0.0),
            "oracle_reward": self.values[rows].max(axis=1),
        }
        return Transition(rewards, ended, np.zeros(self.num_lanes, dtype=np.bool_), info)

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries, and the ``budget`` in the unit of the cost."""
        return self.named(self.now(lanes)) | {"budget": self.budgets[lanes]}


def _means(costs: np.ndarray, given: Sequence[float] | None) -> np.ndarray:
    """Return the known mean cost of each adapter, float64 (K,)."""
    if given is None:
        return costs.mean(axis=0)
    try:
        means = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        means = np.full(0, np.nan)
    if means.shape != costs.shape[1:] or not (np.isfinite(means) & (means >= 0)).all():
        raise ValueError(
            f"mean_costs={given!r} must be {costs.shape[1]} numbers of at least 0, one per adapter."
        )
    return means


def _hard(complexity: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Say which queries are hard, bool (N,): by complexity; the dearest third where unknown."""
    dear = costs.mean(axis=1)
    return np.where(complexity == 0, dear > np.quantile(dear, 2 / 3), complexity >= HARD)


class BudgetEnv(ScenarioEnv):
    """Share a budget among the queries of an episode.

    ## Description

    T queries arrive one after the other, and what their answers may cost together is fixed. The
    agent sees each query and how much is left, and chooses the adapter that answers it, or refuses
    it to save the money for later ones. A dear adapter is worth it on the queries where it is
    better by enough; how much is enough depends on the budget, on the queries still to come, and
    on whether hard ones come late. Costs and scores are those measured in the outcome table, and
    what an answer costs is known only after it has been paid.

    ## Action Space

    `Discrete(K + 1)`: the position of an adapter, or K, which refuses the query. `action_masks()`
    rules out adapters whose mean cost is more than what is left; refusing is always allowed.

    ## Observation Space

    A float32 `Box` (D + 3,): the query's embedding, then `budget_left` (as a share of the
    episode's budget), `episode_left` (the share of the T queries still to be answered, this one
    included) and `pace` (the budget left per query still to come, over what an episode with a
    middling budget, halfway between the bounds, begins with; at most 4).

    ## Rewards

    The value (column `value`) of the answer, 0 for a refused query. The measured cost is taken from
    the budget. An answer that costs more than what is left is cut short: it takes all of it and
    earns 0.

    `info` after `step` holds `adapter` (or `"refuse"`), the query's `query_id`, `task`, `domain`
    and `complexity`, `accuracy` (0 if refused or lost), `refused` and `lost` (0 or 1), `spent` (in
    the cost's unit), `budget_left` (share), `unspent` (the share left at the end, 0 before) and
    `oracle_reward` (the best adapter's value on this query, whatever it costs). `info` of a new
    episode holds its `budget`.

    ## Starting State

    T queries drawn uniformly, with replacement, from the split. Each of complexity 3 (where the
    complexity is unknown: each in the dearest third) is put off to the end of the episode with
    probability `hard_late`. The budget is uniform between `budget_low` and `budget_high` of what
    the dearest adapter would spend on T queries on average. Both are pure functions of the seed.

    ## Episode End

    After T queries the episode terminates; the last observation is that of the last query, with
    nothing of the episode left. Never truncated.

    ## Arguments

    ```python
    gym.make("RoutingGym/Budget-v0", table="results/table", split="train",
             horizon=32, budget_low=0.05, budget_high=0.5, hard_late=0.5)
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, data, split, reward
        As for `routing_gym.envs.routing.RoutingEnv`; the reward counts only as ``value="reward"``.
    render_mode
        ``None``, or ``"ansi"`` for one line of text per `render()`.
    horizon
        T, at least 1.
    budget_low, budget_high
        Bounds of the budget as shares of what the dearest adapter would spend, above 0.
    cost
        What is limited: ``"completion_tokens"``, ``"seconds"`` or another measured cost.
    hard_late
        Probability that a hard query is put off to the end, 0 to 1.
    value
        What an answer is worth: ``"reward"``, ``"accuracy"`` or a score column.
    mean_costs
        The mean cost of each adapter, K numbers that the agent may know, such as those of the
        train split; ``None`` takes those of this split.

    Raises
    ------
    ValueError
        If an option is invalid or impossible, or the cost is missing from the table.
    """

    scenario_class: ClassVar[type[Scenario]] = BudgetScenario


class BudgetVectorEnv(ScenarioVectorEnv):
    """L lanes of `BudgetEnv`, stepped at once."""

    scenario_class: ClassVar[type[Scenario]] = BudgetScenario
