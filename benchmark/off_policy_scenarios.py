"""Logging and target policies on a full-information table, for the study against known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from routing_gym.agents import make_agent
from routing_gym.benchmark import off_policy_bounds as bounds
from routing_gym.benchmark.metrics import best_single
from routing_gym.benchmark.off_policy import check_distributions
from routing_gym.benchmark.off_policy_models import principal_components
from routing_gym.benchmark.runs import Splits


@dataclass(frozen=True)
class Scenario:
    """A logging and a target policy on one table.

    Parameters
    ----------
    logging_name, target_name
        For the report.
    rewards, logging, target
        float (N, K): the table, and both policies on its rows.
    cells
        int (N,), the context that the model of the reward sees. The bound holds for this context
        together with both policies' rows.
    observations
        float (N, D), the context of the model "ridge"; None leaves it out.

    Raises
    ------
    ValueError
        If shapes differ or a row of a policy is no distribution.
    """

    logging_name: str
    target_name: str
    rewards: np.ndarray
    logging: np.ndarray
    target: np.ndarray
    cells: np.ndarray
    observations: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("logging", "target"):
            policy = getattr(self, name)
            check_distributions(policy, name=name)
            if policy.shape != self.rewards.shape:
                raise ValueError(
                    f"{name} has shape {policy.shape}, rewards {self.rewards.shape}: give both "
                    "policies on the rows of the table."
                )

    @cached_property
    def truth(self) -> float:
        """The target's value."""
        return bounds.policy_value(self.rewards, self.target)

    @cached_property
    def deviations(self) -> dict[str, float]:
        """Estimator -> theoretical standard deviation of one decision; nan where there is none.

        IPS exact, SNIPS asymptotic, DR and SNDR the efficiency bound for the cells; ``full_table``
        the bound for whoever sees the whole query.
        """
        policies = {"logging": self.logging, "target": self.target}
        seen = bounds.common_cells(self.cells, self.logging, self.target)
        efficient = bounds.efficiency_bound(self.rewards, cells=seen, **policies)
        every_row = np.arange(len(self.cells))
        return {
            name: float(np.sqrt(variance)) if variance > 1e-12 else float("nan")
            for name, variance in {
                "ips": bounds.ips_variance(self.rewards, **policies),
                "snips": bounds.snips_variance(self.rewards, **policies),
                "dr": efficient,
                "sndr": efficient,
                "full_table": bounds.efficiency_bound(self.rewards, cells=every_row, **policies),
            }.items()
        }

    @cached_property
    def max_weight(self) -> float:
        """The largest weight that a decision can have."""
        ratio = np.divide(self.target, self.logging, where=self.logging > 0, out=0 * self.target)
        return float(ratio.max())


@dataclass(frozen=True)
class ScenarioSettings:
    """Which policies log and which are evaluated.

    Parameters
    ----------
    clusters
        Clusters of the train split's embeddings (k-means): the context that the exploring
        policies and the reward model "cells" see.
    epsilon
        Exploration of the epsilon-greedy logging policy.
    temperature
        Of the softmax logging policy, in standard deviations of the clusters' mean rewards.
    skew
        Ratio of successive propensities of the skewed logging policy.
    components
        Principal components that the reward model "ridge" sees.
    agents
        Registered agents to evaluate, trained on the train split.
    seed
        Of clusters and agents.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    clusters: int = 16
    epsilon: float = 0.3
    temperature: float = 2.0
    skew: float = 0.67
    components: int = 32
    agents: tuple[str, ...] = ("knn",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.components < 1:
            raise ValueError(
                f"clusters={self.clusters} and components={self.components} must be at least 2 "
                "and 1."
            )
        if not (0 < self.epsilon <= 1 and 0 < self.skew <= 1 and self.temperature > 0):
            raise ValueError(
                f"epsilon={self.epsilon} and skew={self.skew} must be in (0, 1], temperature="
                f"{self.temperature} above 0: every adapter needs some propensity."
            )


def build_scenarios(
    splits: Splits, *, population: str = "test", settings: ScenarioSettings | None = None
) -> list[Scenario]:
    """Cross all logging policies with all target policies.

    Everything that is learned (clusters, their mean rewards, the best single adapter, the agents)
    is learned on the train split; the population of the study is another split.

    Parameters
    ----------
    splits
        A table under one reward.
    population
        ``"validation"`` or ``"test"``: the split that logs are drawn from.
    settings
        None takes the defaults.

    Raises
    ------
    ValueError
        If `population` is another split.
    """
    settings = settings or ScenarioSettings()
    if population not in ("validation", "test"):
        raise ValueError(f"population={population!r} must be 'validation' or 'test'.")
    data = splits.test if population == "test" else splits.validation
    seen, cells = _clusters(splits.train.observations, data.observations, settings=settings)
    means = _cluster_means(splits.train.rewards, seen, clusters=settings.clusters)
    logging = logging_policies(means, cells, settings=settings)
    n, k = data.rewards.shape
    targets = {
        "best_single": _one_hot(np.full(n, best_single(splits.train.rewards)), k),
        **{name: _agent(name, splits, data.observations, settings) for name in settings.agents},
        "uniform": np.full((n, k), 1 / k),
    }
    observations = principal_components(data.observations, settings.components)
    return [
        Scenario(
            logging_name=logging_name,
            target_name=target_name,
            rewards=np.asarray(data.rewards, dtype=np.float64),
            logging=policy,
            target=target,
            cells=cells,
            observations=observations,
        )
        for logging_name, policy in logging.items()
        for target_name, target in targets.items()
    ]


def logging_policies(
    means: np.ndarray, cells: np.ndarray, *, settings: ScenarioSettings
) -> dict[str, np.ndarray]:
    """Make the policies that log, each with full support.

    Parameters
    ----------
    means
        float (C, K), mean train reward by cluster and adapter.
    cells
        int (N,), each row's cluster.
    settings
        Their parameters.

    Returns
    -------
    dict[str, np.ndarray]
        Name -> float64 (N, K): ``uniform``; ``epsilon_greedy`` on the cluster's best adapter;
        ``softmax`` of the cluster's means; ``skewed``, falling along the pool's order whatever the
        query.
    """
    n, k = len(cells), means.shape[1]
    greedy = _one_hot(means.argmax(axis=1), k)[cells]
    spread = max(float(means.std()), 1e-9) * settings.temperature
    power = np.exp((means - means.max(axis=1, keepdims=True)) / spread)
    falling = settings.skew ** np.arange(k)
    return {
        "uniform": np.full((n, k), 1 / k),
        "epsilon_greedy": (1 - settings.epsilon) * greedy + settings.epsilon / k,
        "softmax": (power / power.sum(axis=1, keepdims=True))[cells],
        "skewed": np.tile(falling / falling.sum(), (n, 1)),
    }


def _clusters(
    train: np.ndarray, other: np.ndarray, *, settings: ScenarioSettings
) -> Sequence[np.ndarray]:
    """Cluster train embeddings; return the labels of both, int64."""
    from sklearn.cluster import KMeans

    model = KMeans(settings.clusters, n_init=4, random_state=settings.seed).fit(train)
    return [model.predict(rows).astype(np.int64) for rows in (train, other)]


def _cluster_means(rewards: np.ndarray, cells: np.ndarray, *, clusters: int) -> np.ndarray:
    """Mean reward by cluster and adapter, (C, K); every cluster of k-means holds a row."""
    return np.stack([rewards[cells == cell].mean(axis=0) for cell in range(clusters)])


def _agent(
    name: str, splits: Splits, observations: np.ndarray, settings: ScenarioSettings
) -> np.ndarray:
    """Train an agent and return its greedy choices as distributions."""
    agent = make_agent(name)
    agent.train(splits.train, validation=splits.validation, seed=settings.seed)
    return agent.decide(observations).probabilities


def _one_hot(actions: np.ndarray, num_adapters: int) -> np.ndarray:
    """All mass on one adapter per row."""
    return np.eye(num_adapters)[actions]
