"""On which episodes the policies of a scenario are chosen and judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_problems import ScenarioData, ScenarioProblem
from routing_gym.benchmark.scenario_rollout import RolloutResult, rollout
from routing_gym.envs.scenario_vector import ScenarioVectorEnv

MOST_LANES = 512  # episodes that are played at once


@dataclass(frozen=True)
class Judging:
    """The episodes of validation and test, and the resampled test splits.

    Episodes draw their queries from one split again and again, so that many episodes do not make
    up for few queries. What other queries would have brought is seen on pools: bootstrap resamples
    of the test split's queries, on each of which all policies play the same episodes.

    Parameters
    ----------
    validation_episodes, test_episodes
        How many, at least 1.
    pools
        B, resamples of the test split's queries, 0 or at least 2.
    pool_episodes
        Episodes on each, at least 2.
    validation_seed, test_seed, pool_seed
        Episode e is that of the seed plus e.
    """

    validation_episodes: int
    test_episodes: int
    pools: int = 0
    pool_episodes: int = 256
    validation_seed: int = 100_000
    test_seed: int = 200_000
    pool_seed: int = 300_000

    def __post_init__(self) -> None:
        for name in ("validation_episodes", "test_episodes", "pools", "pool_episodes"):
            value, least = getattr(self, name), {"pools": 0, "pool_episodes": 2}.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
        if self.pools == 1:
            raise ValueError("pools=1 shows no differences between pools: give 0 or at least 2.")

    def play(self, policy: ScenarioPolicy, data: ScenarioData, split: str) -> RolloutResult:
        """Play the episodes of ``"validation"`` or ``"test"``."""
        episodes: int = getattr(self, f"{split}_episodes")
        env = data.lanes(split, min(episodes, MOST_LANES))
        return rollout(policy, env, episodes=episodes, seed=getattr(self, f"{split}_seed"))

    def play_pools(self, policy: ScenarioPolicy, data: ScenarioData) -> np.ndarray:
        """Return what a policy reaches on each pool's episodes, float64 (B, E)."""
        returns = [
            rollout(policy, env, episodes=self.pool_episodes, seed=seed).returns
            for env, seed in self._pools(data)
        ]
        return np.array(returns).reshape(self.pools, self.pool_episodes)

    def bounds(self, problem: ScenarioProblem, split: str) -> np.ndarray | None:
        """Return what no policy can exceed on a split's episodes, float64 (E,); None if unknown."""
        if problem.bound is not None:
            episodes: int = getattr(self, f"{split}_episodes")
            env = problem.data.lanes(split, min(episodes, MOST_LANES))
            return problem.bound(env, episodes=episodes, seed=getattr(self, f"{split}_seed"))
        if not problem.bound_rule:
            return None
        return self.play(problem.rules[problem.bound_rule].make(), problem.data, split).returns

    def pool_bounds(self, problem: ScenarioProblem) -> np.ndarray | None:
        """Return what no policy can exceed on the pools' episodes, float64 (B, E)."""
        if problem.bound is not None:
            bounds = [
                problem.bound(env, episodes=self.pool_episodes, seed=seed)
                for env, seed in self._pools(problem.data)
            ]
            return np.array(bounds).reshape(self.pools, self.pool_episodes)
        if not problem.bound_rule:
            return None
        return self.play_pools(problem.rules[problem.bound_rule].make(), problem.data)

    def _pools(self, data: ScenarioData) -> Iterator[tuple[ScenarioVectorEnv, int]]:
        """Make each pool's lanes, with the seed of its first episode."""
        queries = len(data.splits.test)
        for pool in range(self.pools):
            rows = np.random.default_rng([self.pool_seed, pool]).integers(queries, size=queries)
            lanes = data.lanes("test", min(self.pool_episodes, MOST_LANES), rows=rows)
            yield lanes, self.pool_seed + pool * self.pool_episodes


def means(result: RolloutResult) -> dict[str, float]:
    """Average episodes: ``return``, ``length`` and the scenario's quantities."""
    averages = {"return": float(result.returns.mean()), "length": float(result.lengths.mean())}
    return averages | {name: float(v.mean()) for name, v in result.quantities.items()}
