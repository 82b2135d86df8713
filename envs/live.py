"""Routing with nothing prepared: the chosen adapter writes its answer inside `step`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.collection import Pool
from routing_gym.envs.data import RoutingData
from routing_gym.envs.live_answers import (
    TRUTHS,
    Evaluator,
    LiveAnswers,
    Verifier,
    verify_known,
)
from routing_gym.envs.live_source import live_options, opened_pool, shared_evaluator, texts_of
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.table import OutcomeTable, as_reward
from routing_gym.queries.query import Query
from routing_gym.rewards.registry import DEFAULT_METRICS, METRICS
from routing_gym.rewards.reward import RewardFunction


class LiveScenario(Scenario):
    """One-step episodes over L lanes, answered when asked; see `LiveEnv`.

    Parameters
    ----------
    data
        Queries and their embeddings, e.g. from `live_source.unanswered`; no outcome in it is read.
    queries
        The texts of the data's queries, found by their ids; more of them do no harm.
    price
        What a score is worth.
    pool, evaluator, verifier, batch_size, token_seconds, cache
        See `LiveEnv`.

    Raises
    ------
    ValueError
        If an option is of a wrong type or impossible, the pool has other adapters than the data, a
        query's text is missing, or the reward weighs what nobody scores.
    """

    quantities = ("accuracy", "completion_tokens", "seconds")

    def __init__(
        self,
        data: RoutingData,
        *,
        queries: Sequence[Query] | None = None,
        price: RewardFunction | Mapping[str, float] | None = None,
        pool: str | PoolSpec | Pool = "default",
        evaluator: Evaluator | None = None,
        verifier: Verifier | None = None,
        batch_size: int = 64,
        token_seconds: float | None = None,
        cache: int = 0,
    ) -> None:
        super().__init__(data)
        self._price = as_reward(price)
        spec, make = opened_pool(pool)
        if tuple(spec.names) != tuple(data.adapters):
            raise ValueError(
                f"the pool's adapters {tuple(spec.names)} are not the data's {data.adapters}: "
                "make the data with the pool's names, in their order."
            )
        asked = texts_of(data, queries)
        judge = evaluator or shared_evaluator(_metrics_of(self._price))
        self._directions = {**judge.directions, **dict.fromkeys(TRUTHS, "higher")}
        _check_price(self._price, self._directions)
        self._answers = LiveAnswers(
            asked,
            adapters=data.adapters,
            pool=make,
            evaluator=judge,
            verifier=verifier or verify_known,
            batch_size=require_count("batch_size", batch_size),
            token_seconds=(
                None if token_seconds is None else require_number("token_seconds", token_seconds)
            ),
            cache=require_count("cache", cache, least=0),
        )
        self._adapters = np.array(data.adapters, dtype=object)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """A float32 Box (D,): the embedding."""
        return self.box([], [])

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes."""
        self.num_lanes = lanes
        self.rows = np.zeros(lanes, dtype=np.int64)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw the next query of these lanes, int64 (M,)."""
        self.rows[lanes] = streams.integers(lanes, self.num_queries)

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Show the embeddings, float32 (M, D)."""
        return self.embeddings[self.rows[lanes]]

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Let the chosen adapters answer; a failure leaves every lane where it was."""
        responses, scores, cost = self._answers.outcomes(self.rows, actions)
        rewards = self._price(scores, self._directions)  # type: ignore[arg-type]
        info: dict[str, Any] = {"action": actions.copy(), "adapter": self._adapters[actions]}
        info |= self.named(self.rows)
        info |= {"response": responses, "accuracy": scores["accuracy"].copy()}
        info |= {name: cost[name].copy() for name in self.quantities if name in cost}
        info |= {"scores": scores, "cost": cost}
        return Transition(
            rewards=rewards,
            terminated=np.ones(self.num_lanes, dtype=np.bool_),
            truncated=np.zeros(self.num_lanes, dtype=np.bool_),
            info=info,
        )

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries."""
        return self.named(self.rows[lanes])


class LiveEnv(ScenarioEnv):
    """Choose the adapter that answers a query; it generates the answer in this very step.

    ## Description

    `Routing-v0` looks outcomes up; here nothing is prepared. The chosen adapter of the pool
    generates, greedily, and the self-evaluator scores what it wrote, as in the collection of an
    outcome table. So a policy can be trained and tested on queries and adapters of which no table
    exists, at the price of a generation per step; and a policy that was trained on a table can be
    tried on the real thing. The table supplies texts and embeddings; its outcomes are not read.

    On cells that a table has, with the pool that made it, this is `Routing-v0` (the same seed meets
    the same queries): the same response, and scores that differ by rounding, below 1e-4, with four
    exceptions. Measured time is measured anew: `seconds`, and a reward's share for it, are this
    run's (weigh `seconds` by 0, or set `token_seconds`, for rewards that repeat). Batches round
    differently, so that a near-tie between two tokens may fall the other way. A table's `quality`
    is cross-fitted on the train split, where the shipped model, which has seen those answers, says
    something else; validation and test are free of this. And the shipped table's token signals
    were read off the stored texts (its manifest's `scored_after`): where a text tokenises
    otherwise than it was generated, in 1.5 % of its answers, the metrics of confidence, and
    `coherence` and `quality` with them, differ.

    ## Action Space

    `Discrete(K)`: the position of an adapter in the pool. `action_masks()` allows all.

    ## Observation Space

    A float32 `Box` (D,): the query's embedding.

    ## Rewards

    As in `Routing-v0`: the weighted mean of the scores, each turned so that more is better.

    `info` after `step` holds `action`, `adapter`, `query_id`, `task`, `domain`, `complexity`,
    `response` (the answer's text), `scores` (those of the evaluator, `accuracy` and
    `accuracy_strict`), `cost` (`prompt_tokens`, `completion_tokens`, `seconds`), and once more
    `accuracy`, `completion_tokens` and `seconds`. Accuracy is the verifier's, NaN for a query
    without one. `oracle_reward` and `regret` are absent: what another adapter would have answered
    is unknown. `info` after `reset` holds the query's names.

    ## Starting State

    A query drawn uniformly, with replacement, from the split; the sequence is a pure function of
    the seed and that of `Routing-v0`.

    ## Episode End

    Every step terminates its episode; the last observation is that of the query just answered.
    Episodes are never truncated. Where generation fails, `step` raises a `RuntimeError`, the query
    still waits, and the step can be taken again.

    ## Arguments

    ```python
    gym.make("RoutingGym/Live-v0", table="results/table", split="test",
             reward={"quality": 9.0, "tokens": 0.5}, pool="default")
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, split, reward, render_mode
        As for `routing_gym.envs.routing.RoutingEnv`.
    data
        Queries and embeddings in place of ``table``, see
        `routing_gym.envs.live_source.unanswered`; needs the option
        ``queries``. ``reward`` prices live scores, so it may come with them.
    queries
        `Query` records of the data, found by their ids.
    pool
        A pool's name (or file), its `PoolSpec`, or an object that generates (a
        `routing_gym.envs.collection_parts.Pool`). A named one is loaded at the first step and
        shared by all environments of the process; Gymnasium may copy an object together with its
        environment's spec.
    evaluator
        Scores answers; ``None`` takes the default metrics and those that the reward weighs. The
        metrics that read an answer once more with the base model are scored only if weighed.
    verifier
        ``(query, response) -> Verdict``; ``None`` is the verifier of the query's task.
    batch_size
        Rows per generated batch. The vector environment asks each adapter once per step, for the
        queries of all lanes that chose it.
    token_seconds
        Seconds that a token, read or written, is taken to last, for rewards that do not depend on
        the machine's load; ``None`` takes the measured time, an answer's share of its batch.
    cache
        How many answers to remember by query and adapter; 0 generates every time.

    Raises
    ------
    ValueError
        If an argument is invalid or the table is faulty.
    """

    scenario_class = LiveScenario

    def __init__(
        self,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        data, options = live_options(table, data, split=split, reward=reward, options=options)
        super().__init__(data=data, render_mode=render_mode, **options)


class LiveVectorEnv(ScenarioVectorEnv):
    """L lanes of `LiveEnv`: each adapter answers the queries of its lanes in one call."""

    scenario_class = LiveScenario

    def __init__(
        self,
        num_envs: int = 1,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        data, options = live_options(table, data, split=split, reward=reward, options=options)
        super().__init__(num_envs, data=data, render_mode=render_mode, **options)


def _metrics_of(price: RewardFunction) -> tuple[str, ...]:
    """Name the default metrics, and the expensive ones that a reward weighs."""
    weighed = [name for name in price.weights if name in METRICS]
    return tuple(dict.fromkeys((*DEFAULT_METRICS, *weighed)))


def _check_price(price: RewardFunction, directions: Mapping[str, Any]) -> None:
    """Refuse a reward that weighs what nobody scores."""
    for name in price.weights:
        if name not in directions:
            raise ValueError(
                f"reward weighs {name!r}, which nobody scores here: known are "
                f"{', '.join(directions)}; give an evaluator that scores it."
            )
