"""RouteLLM's protocol on its published tables: two models, halves of the queries, many seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routing_gym.agents import make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.value_agent import PrivilegedAgent, ValueAgent
from routing_gym.benchmark.cost_quality import strong_call_curve
from routing_gym.benchmark.published_metrics import (
    average_pgr_routellm,
    call_performance_threshold_routellm,
    quantile_points_routellm,
)
from routing_gym.benchmark.routellm_observations import Observations, guessed_tasks
from routing_gym.benchmark.routellm_table import Halves, Pair, halves
from routing_gym.benchmark.routing_metrics import (
    average_pgr,
    call_performance_threshold,
    performance_gap_recovered,
)
from routing_gym.envs.data import RoutingData

LEVELS = (0.5, 0.8)
GRID = np.linspace(0, 1, 101)  # shares at which curves of several seeds are averaged
TASKS = ("", "told", "guessed")
ORACLE, RANDOM = "oracle", "random"
BLOCKED = ("ridge", "forest")  # agents that are told where joined encoders meet
# what an agent chose on validation, as the options that fix it when all training rows are used
REFITTED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "ridge": lambda agent: {"block_penalties": agent.block_penalties},
    "matrix_factorisation": lambda agent: {"epochs": agent.epoch, "patience": agent.epoch},
    "forest": lambda agent: {"leaf_sizes": (agent.leaf_size,)},
    "task_lookup": lambda agent: {},
    "knn": lambda agent: {"neighbours": (agent.k,)},
}


@dataclass(frozen=True)
class RouterSpec:
    """One router of the study.

    Parameters
    ----------
    agent
        A registered agent that predicts values; empty for an average.
    encoder
        See `routing_gym.adapters.embedding.make_encoder`; joined encoders become the blocks of
        the agents that take them.
    candidates
        Settings of the agent to choose from by APGR on the inner validation rows; the first of
        equals. One is taken as it is.
    tasks
        What of the query's task is one more block of the observation: nothing, its name ("told";
        the router is then privileged), or how likely each task is by the text ("guessed"), see
        `routing_gym.benchmark.routellm_observations.guessed_tasks`.
    average
        Labels of routers that stand before this one; their predicted gains of the strong model
        over the weak one are averaged. Empty for a single agent.
    """

    agent: str = ""
    encoder: str = "minilm"
    candidates: Sequence[Mapping[str, Any]] = field(default_factory=lambda: [{}])
    tasks: str = ""
    average: Sequence[str] = ()

    def __post_init__(self) -> None:
        if bool(self.agent) == bool(self.average):
            raise ValueError(
                f"agent={self.agent!r}, average={list(self.average)}: give the one or the other."
            )
        if not self.candidates:
            raise ValueError(f"agent {self.agent!r} has no candidates: give at least [{{}}].")
        if self.tasks not in TASKS:
            raise ValueError(f"tasks={self.tasks!r} must be one of {list(TASKS)}.")


@dataclass(frozen=True)
class Outcome:
    """What one router reached on one test half.

    Parameters
    ----------
    apgr, apgr_exact
        By RouteLLM's trapezoid over quantiles, and over every operating point.
    cpt, cpt_published
        Level -> least share of strong calls that recovers it, and by RouteLLM's interpolation.
    pgr
        float (101,), PGR at the shares 0, .01, ..., 1.
    chosen
        The setting that validation chose.
    validation_area
        Mean quality over all shares of strong calls on the inner validation queries, of the router
        that was fitted without them; APGR but for a constant, and nan where nothing was fitted.
    """

    apgr: float
    apgr_exact: float
    cpt: Mapping[float, float]
    cpt_published: Mapping[float, float]
    pgr: np.ndarray
    chosen: Mapping[str, Any] = field(default_factory=dict)
    validation_area: float = math.nan


def run_seed(
    pair: Pair, routers: Mapping[str, RouterSpec], *, observations: Observations, seed: int
) -> dict[str, Outcome]:
    """Train every router on one half of the queries and judge it on the other.

    A fifth of the training half chooses settings; then the router is fitted to the whole half.

    Parameters
    ----------
    pair
        The table.
    routers
        Label -> router. Where the table has one task only, those that are told it are left out.
    observations
        Of the table's texts.
    seed
        Decides the halves and whatever the agents draw.

    Returns
    -------
    dict
        Label -> `Outcome`, with "random" and "oracle" first.
    """
    rng = np.random.default_rng(seed)
    sides = halves(pair.groups, rng)
    observations.start(sides.train)
    held_out, test = pair.scores[sides.validation], pair.scores[sides.test]
    outcomes = {
        RANDOM: measure(rng.random(len(test)), test),
        ORACLE: measure(test[:, 1] - test[:, 0], test),
    }
    preferences: dict[str, _Preferences] = {}
    for label, spec in admitted(routers, pair).items():
        if spec.average:
            preferences[label] = _mean_of(preferences, spec.average, label)
        else:
            preferences[label] = _preferences_of(spec, pair, sides, observations, seed)
        found = preferences[label]
        outcomes[label] = measure(
            found.test,
            test,
            chosen=found.chosen,
            validation_area=_area(found.validation, held_out),
        )
    return outcomes


def admitted(routers: Mapping[str, RouterSpec], pair: Pair) -> dict[str, RouterSpec]:
    """Leave out, where a table has one task only, the routers that are told the task."""
    kept: dict[str, RouterSpec] = {}
    single, told = len(np.unique(pair.tasks)) == 1, set[str]()
    for label, spec in routers.items():
        if single and (spec.tasks == "told" or told & set(spec.average)):
            told.add(label)
        else:
            kept[label] = spec
    return kept


def measure(
    preference: np.ndarray,
    scores: np.ndarray,
    *,
    chosen: Mapping[str, Any] | None = None,
    validation_area: float = math.nan,
) -> Outcome:
    """Judge a preference for the strong model.

    Parameters
    ----------
    preference
        float (N,), the higher the rather the strong model is called.
    scores
        float (N, 2), the weak and the strong model's.
    chosen, validation_area
        Kept with the outcome; see `Outcome`.
    """
    weak, strong = scores[:, 0], scores[:, 1]
    ends = {"weak": float(weak.mean()), "strong": float(strong.mean())}
    shares, quality = strong_call_curve(preference, weak, strong)
    quantiles = quantile_points_routellm(preference, weak, strong)
    return Outcome(
        apgr=average_pgr_routellm(preference, weak, strong),
        apgr_exact=average_pgr(shares, quality, **ends),
        cpt={x: call_performance_threshold(shares, quality, **ends, level=x) for x in LEVELS},
        cpt_published={
            x: call_performance_threshold_routellm(
                *quantiles, weak=ends["weak"], strong=ends["strong"], level=x
            )
            for x in LEVELS
        },
        pgr=np.interp(GRID, shares, performance_gap_recovered(quality, **ends)),
        chosen=dict(chosen or {}),
        validation_area=validation_area,
    )


def preference(agent: Agent, data: RoutingData) -> np.ndarray:
    """Return float64 (N,), by how much an agent values the second adapter above the first."""
    if isinstance(agent, PrivilegedAgent):
        values = agent.values_on(data)
    elif isinstance(agent, ValueAgent):
        values = agent.values(data.observations)
    else:
        values = agent.probabilities(data.observations)
    return np.asarray(values[:, 1] - values[:, 0], dtype=np.float64)


@dataclass(frozen=True)
class _Preferences:
    """A router's preferences: without the validation queries on them, with them on the test half.

    validation (V,) and test (M,), float64, and the setting that was chosen.
    """

    validation: np.ndarray
    test: np.ndarray
    chosen: dict[str, Any] = field(default_factory=dict)


def _mean_of(known: Mapping[str, _Preferences], labels: Sequence[str], own: str) -> _Preferences:
    """Average the preferences of routers that have been run."""
    for label in labels:
        if label not in known:
            raise ValueError(
                f"router {own!r} averages {label!r}, which does not stand before it: put it there."
            )
    return _Preferences(
        validation=np.mean([known[label].validation for label in labels], axis=0),
        test=np.mean([known[label].test for label in labels], axis=0),
    )


def _preferences_of(
    spec: RouterSpec, pair: Pair, sides: Halves, observations: Observations, seed: int
) -> _Preferences:
    """Choose one router's setting, then fit it to the whole training half."""
    inner, validation, fixed = _seen(spec, pair, sides.inner, sides.validation, observations, seed)
    agents = [
        _trained(spec.agent, fixed | dict(options), inner, validation, seed)
        for options in spec.candidates
    ]
    held_out = [preference(agent, validation) for agent in agents]
    scores = pair.scores[sides.validation]
    best = int(np.argmax([_area(values, scores) for values in held_out]))
    agent, chosen = agents[best], dict(spec.candidates[best])
    train, test, fixed = _seen(spec, pair, sides.train, sides.test, observations, seed)
    if spec.agent in REFITTED:
        chosen |= REFITTED[spec.agent](agent)
        agent = _trained(spec.agent, fixed | chosen, train, validation, seed)
    return _Preferences(held_out[best], preference(agent, test), chosen)


def _area(values: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean quality over all shares of strong calls: APGR, but for a constant."""
    shares, quality = strong_call_curve(values, scores[:, 0], scores[:, 1])
    return float(np.trapezoid(quality, shares))


def _seen(
    spec: RouterSpec,
    pair: Pair,
    known: np.ndarray,
    asked: np.ndarray,
    observations: Observations,
    seed: int,
) -> tuple[RoutingData, RoutingData, dict[str, Any]]:
    """Return what a router learns from, what it is asked, and the blocks if its agent has any."""
    vectors, widths = observations.of(spec.encoder)
    if spec.tasks:
        names, index = np.unique(pair.tasks, return_inverse=True)
        if spec.tasks == "told":
            block = np.eye(len(names), dtype=np.float32)[index]
        else:
            block = guessed_tasks(
                vectors,
                pair.tasks,
                known=known,
                groups=pair.groups,
                rng=np.random.default_rng(seed),
            )
        vectors = np.concatenate([vectors, block], axis=1)
        widths += (block.shape[1],)
    fixed = {"blocks": widths} if spec.agent in BLOCKED else {}
    return _data(pair, vectors, known), _data(pair, vectors, asked), fixed


def _trained(
    name: str, options: Mapping[str, Any], train: RoutingData, validation: RoutingData, seed: int
) -> Agent:
    """Make and train one agent."""
    agent = make_agent(name, **options)
    agent.train(train, validation=validation, seed=seed)
    return agent


def _data(pair: Pair, vectors: np.ndarray, rows: np.ndarray) -> RoutingData:
    """Take some rows as agents see them, the scores as rewards."""
    scores = pair.scores[rows].astype(np.float32)
    return RoutingData(
        adapters=pair.models,
        observations=vectors[rows],
        rewards=scores,
        accuracy=scores,
        query_ids=np.flatnonzero(rows).astype(np.str_),
        tasks=pair.tasks[rows],
        domains=pair.tasks[rows],
        complexity=np.zeros(int(rows.sum()), dtype=np.int64),
    )
