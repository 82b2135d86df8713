"""RouteLLM's protocol on its published tables: two models, halves of the queries, many seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routing_gym.adapters.embedding import JOINT, QueryEncoder, make_encoder
from routing_gym.agents import make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.value_agent import PrivilegedAgent, ValueAgent
from routing_gym.benchmark.cost_quality import strong_call_curve
from routing_gym.benchmark.published_metrics import (
    average_pgr_routellm,
    call_performance_threshold_routellm,
    quantile_points_routellm,
)
from routing_gym.benchmark.routing_metrics import (
    average_pgr,
    call_performance_threshold,
    performance_gap_recovered,
)
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.splits import normalise

LEVELS = (0.5, 0.8)
GRID = np.linspace(0, 1, 101)  # shares at which curves of several seeds are averaged
VALIDATION_SHARE = 0.2
ORACLE, RANDOM = "oracle", "random"
# what an agent chose on validation, as the options that fix it when all training rows are used
BLOCKED = ("ridge", "forest")  # agents that are told where joined encoders meet
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
        Whether the name of the query's task is one more block of the observation; the router is
        then privileged.
    average
        Labels of routers that stand before this one; their predicted gains of the strong model
        over the weak one are averaged. Empty for a single agent.
    """

    agent: str = ""
    encoder: str = "minilm"
    candidates: Sequence[Mapping[str, Any]] = field(default_factory=lambda: [{}])
    tasks: bool = False
    average: Sequence[str] = ()

    def __post_init__(self) -> None:
        if bool(self.agent) == bool(self.average):
            raise ValueError(
                f"agent={self.agent!r}, average={list(self.average)}: give the one or the other."
            )
        if not self.candidates:
            raise ValueError(f"agent {self.agent!r} has no candidates: give at least [{{}}].")


@dataclass(frozen=True)
class Pair:
    """Two models' scores on the queries of one published table.

    Parameters
    ----------
    name
        What the table is called in the report.
    texts, tasks
        str arrays (N,).
    groups
        int (N,), equal for texts that are equal when normalised; they are never parted.
    scores
        float64 (N, 2): the weak and the strong model's, on the publisher's scale.
    models
        The weak and the strong model's name.
    fingerprint
        The table's.
    """

    name: str
    texts: np.ndarray
    tasks: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    models: tuple[str, str]
    fingerprint: str


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
    """

    apgr: float
    apgr_exact: float
    cpt: Mapping[float, float]
    cpt_published: Mapping[float, float]
    pgr: np.ndarray
    chosen: Mapping[str, Any] = field(default_factory=dict)


def as_pair(table: OutcomeTable, name: str) -> Pair:
    """Read a table of two models; the weak one has the lower mean.

    Raises
    ------
    ValueError
        If the table has other than two models, or they do not differ.
    """
    accuracy = table.scores["accuracy"].astype(np.float64)
    if accuracy.shape[1] != 2:
        raise ValueError(
            f"table {name!r} has the arms {table.adapters}: PGR is of two models, so keep two."
        )
    low, high = table.manifest.generation.get("score_range", (0.0, 1.0))
    order = np.argsort(accuracy.mean(axis=0), kind="stable")
    scores = low + accuracy[:, order] * (high - low)
    if np.ptp(scores.mean(axis=0)) < 1e-12:
        raise ValueError(
            f"the models of table {name!r} are equally good: nothing can be recovered."
        )
    return Pair(
        name=name,
        texts=table.text,
        tasks=table.task.astype(np.str_),
        groups=np.unique([normalise(t) for t in table.text], return_inverse=True)[1],
        scores=scores,
        models=(table.adapters[order[0]], table.adapters[order[1]]),
        fingerprint=table.fingerprint,
    )


def part(
    groups: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a share of the groups among some rows.

    Parameters
    ----------
    groups
        int (N,), see `Pair`.
    rows
        bool (N,), the rows to draw from.
    share
        Share of the groups to draw, in (0, 1).
    rng
        Source of the draw.

    Returns
    -------
    np.ndarray
        bool (N,), True for the drawn rows; a group is drawn whole or not at all.
    """
    known = np.unique(groups[rows])
    drawn = rng.permutation(known)[: round(share * len(known))]
    return rows & np.isin(groups, drawn)


class Observations:
    """Embeddings of a table's texts under several encoders, computed once for each.

    Parameters
    ----------
    texts
        (N,) texts.
    cache
        Folder for the sentence encoders' embeddings; None keeps nothing.
    """

    def __init__(self, texts: np.ndarray, *, cache: str | None = None) -> None:
        self._texts, self._cache = [str(text) for text in texts], cache
        self._fixed: dict[str, np.ndarray] = {}
        self._fitted: dict[str, np.ndarray] = {}

    def start(self, train: np.ndarray) -> None:
        """Begin a seed: encoders that learn will learn from the texts of these rows, bool (N,)."""
        self._fitted, self._train = {}, [self._texts[row] for row in np.flatnonzero(train)]

    def of(self, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return float32 (N, D) under an encoder and the widths of its joined parts."""
        blocks = [self._part(part) for part in name.split(JOINT)]
        return np.concatenate(blocks, axis=1), tuple(block.shape[1] for block in blocks)

    def _part(self, name: str) -> np.ndarray:
        """Embed by one encoder; embeddings that do not depend on the seed are kept."""
        for known in (self._fixed, self._fitted):
            if name in known:
                return known[name]
        encoder: QueryEncoder = make_encoder(name, cache=self._cache)
        before = encoder.name
        encoder.fit(self._train)
        kept = self._fixed if encoder.name == before else self._fitted
        kept[name] = encoder.encode(self._texts)
        return kept[name]


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
        Label -> router.
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
    everything = np.ones(len(pair.groups), dtype=np.bool_)
    train = part(pair.groups, everything, 0.5, rng)
    validation = part(pair.groups, train, VALIDATION_SHARE, rng)
    observations.start(train)
    test = pair.scores[~train]
    outcomes = {
        RANDOM: measure(rng.random(len(test)), test),
        ORACLE: measure(test[:, 1] - test[:, 0], test),
    }
    preferences: dict[str, np.ndarray] = {}
    for label, spec in routers.items():
        chosen: dict[str, Any] = {}
        if spec.average:
            preferences[label] = _mean_of(preferences, spec.average, label)
        else:
            rows = {"inner": train & ~validation, "validation": validation}
            rows |= {"train": train, "test": ~train}
            preferences[label], chosen = _preference_of(spec, pair, rows, observations, seed)
        outcomes[label] = measure(preferences[label], test, chosen=chosen)
    return outcomes


def measure(
    preference: np.ndarray, scores: np.ndarray, *, chosen: Mapping[str, Any] | None = None
) -> Outcome:
    """Judge a preference for the strong model.

    Parameters
    ----------
    preference
        float (N,), the higher the rather the strong model is called.
    scores
        float (N, 2), the weak and the strong model's.
    chosen
        Kept with the outcome.
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


def _mean_of(known: Mapping[str, np.ndarray], labels: Sequence[str], own: str) -> np.ndarray:
    """Average the preferences of routers that have been run."""
    for label in labels:
        if label not in known:
            raise ValueError(
                f"router {own!r} averages {label!r}, which does not stand before it: put it there."
            )
    return np.asarray(np.mean([known[label] for label in labels], axis=0))


def _preference_of(
    spec: RouterSpec,
    pair: Pair,
    rows: Mapping[str, np.ndarray],
    observations: Observations,
    seed: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train one router; return its preference on the test rows and the chosen setting."""
    vectors, widths = observations.of(spec.encoder)
    if spec.tasks:
        names, index = np.unique(pair.tasks, return_inverse=True)
        vectors = np.concatenate([vectors, np.eye(len(names), dtype=np.float32)[index]], axis=1)
        widths += (len(names),)
    fixed = {"blocks": widths} if spec.agent in BLOCKED else {}
    data = {name: _data(pair, vectors, part) for name, part in rows.items()}
    agent, chosen = _choose(spec, data, fixed, seed)
    if spec.agent in REFITTED:
        chosen |= REFITTED[spec.agent](agent)
        agent = _trained(spec.agent, fixed | chosen, data["train"], data["validation"], seed)
    return preference(agent, data["test"]), chosen


def _choose(
    spec: RouterSpec, data: Mapping[str, RoutingData], fixed: dict[str, Any], seed: int
) -> tuple[Agent, dict[str, Any]]:
    """Train every candidate on the inner rows; return that of the highest APGR on validation."""
    trained = [
        _trained(spec.agent, fixed | dict(options), data["inner"], data["validation"], seed)
        for options in spec.candidates
    ]
    if len(trained) == 1:
        return trained[0], dict(spec.candidates[0])
    weak, strong = data["validation"].accuracy.astype(np.float64).T
    areas = []
    for agent in trained:
        shares, quality = strong_call_curve(preference(agent, data["validation"]), weak, strong)
        areas.append(float(np.trapezoid(quality, shares)))  # as APGR, but for a constant
    best = int(np.argmax(areas))
    return trained[best], dict(spec.candidates[best])


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
