"""What a learned policy does that the rules do not: two panels for each scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.hindsight_budget import hull_edges
from routing_gym.benchmark.hindsight_cache import hindsight_plan, stream_rows
from routing_gym.benchmark.scenario_panels import Line, Panel, binned, middles, spread
from routing_gym.benchmark.scenario_problems import ScenarioProblem
from routing_gym.benchmark.scenario_traces import Look, Trace, record
from routing_gym.envs.budget import BudgetScenario
from routing_gym.envs.scenario_vector import ScenarioVectorEnv

_EPISODES = 512
_QUERIES = 8192  # where an episode is a single query
_BEFORE, _AFTER, _BLOCK = 16, 64, 4  # steps around an event, averaged in blocks


class Replay(ScenarioPolicy):
    """Plays actions that were chosen beforehand.

    Parameters
    ----------
    actions
        int64 (T, L).
    """

    name: ClassVar[str] = "replay"
    privileged: ClassVar[bool] = True

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions
        self._step = -1

    def begin(self, lanes: int) -> None:
        """Go back to the first step."""
        super().begin(lanes)
        self._step = -1

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the next step's actions."""
        self._step += 1
        return np.asarray(self.actions[self._step])


@dataclass(frozen=True)
class Subject:
    """What is explained.

    Parameters
    ----------
    problem
        The scenario.
    policies
        The learned ones, one per seed.
    rule, rule_label
        The best rule.
    seed
        Of the episodes.
    split
        Whose queries are played.
    """

    problem: ScenarioProblem
    policies: Sequence[ScenarioPolicy]
    rule: ScenarioPolicy
    rule_label: str
    seed: int
    split: str = "test"

    @cached_property
    def episodes(self) -> int:
        """How many are played."""
        short = self.problem.data.name in ("cascade", "preference")
        return _QUERIES if short else _EPISODES

    def lanes(self) -> ScenarioVectorEnv:
        """Make the lanes."""
        return self.problem.data.lanes(self.split, self.episodes)

    def trace(self, policy: ScenarioPolicy, look: Look | None = None) -> Trace:
        """Record a policy."""
        return record(policy, self.lanes(), seed=self.seed, look=look)

    def others(self, *labels: str) -> dict[str, ScenarioPolicy]:
        """Make further rules that have no parameter and are not the best one."""
        return {n: self.problem.rules[n].make() for n in labels if n != self.rule_label}

    def lines(
        self,
        x: np.ndarray,
        measure: Callable[[Trace], np.ndarray],
        traces: Mapping[str, Sequence[Trace]],
    ) -> tuple[Line, ...]:
        """Measure every trace: PPO's with the seeds' span, then the others."""
        lines = [spread("PPO", x, [measure(t) for t in traces["PPO"]], role="ppo")]
        for label, (trace,) in list(traces.items())[1:]:
            role = "rule" if label == self.rule_label else "other"
            role = "bound" if label in ("hindsight", "informed_greedy") else role
            lines.append(Line(label.replace("_", " "), x, measure(trace), role))
        return tuple(lines)

    def traces(
        self, others: Mapping[str, ScenarioPolicy], *, look: Look | None = None
    ) -> dict[str, Sequence[Trace]]:
        """Record the learned policies, the best rule and others."""
        found: dict[str, Sequence[Trace]] = {"PPO": [self.trace(p, look) for p in self.policies]}
        found[self.rule_label] = [self.trace(self.rule, look)]
        return found | {label: [self.trace(policy, look)] for label, policy in others.items()}


def explain(subject: Subject) -> tuple[Panel, ...]:
    """Draw up the two panels of a scenario.

    Parameters
    ----------
    subject
        What is explained.
    """
    return _EXPLAINED[subject.problem.data.name](subject)


def _budget(subject: Subject) -> tuple[Panel, ...]:
    """How the budget is paced, and how spending answers to what is left."""
    traces = subject.traces(subject.others("greedy"))
    steps = len(traces["PPO"][0].actions)
    time = np.arange(steps + 1) / steps
    scenario = subject.lanes().scenario
    unit = 1.0 / float(scenario.dearest)  # type: ignore[attr-defined]
    edges = np.linspace(0, 2.5, 21)

    def spent(trace: Trace) -> np.ndarray:
        return 1 - np.concatenate([[1.0], trace.quantities["budget_left"].mean(axis=1)])

    def answer(trace: Trace) -> np.ndarray:
        cost = trace.quantities["spent"] * unit
        return binned(trace.state("pace").ravel(), cost.ravel(), edges, least=100)

    pacing = list(subject.lines(time, spent, traces))
    pacing.append(Line("hindsight", time, hindsight_spending(subject), "bound"))
    return (
        Panel("pacing", "share of the episode", "share of the budget spent", tuple(pacing)),
        Panel(
            "spending by what is left",
            "budget left per query (1: a middling budget)",
            "spent per query (1: the dearest adapter)",
            subject.lines(middles(edges), answer, traces),
        ),
    )


def hindsight_spending(subject: Subject) -> np.ndarray:
    """Average how the relaxed optimum of `hindsight_budget` spends in time, float64 (T + 1,)."""
    env = subject.lanes()
    env.reset(seed=subject.seed)
    scenario: Any = env.scenario
    assert isinstance(scenario, BudgetScenario)
    values, costs = scenario.values[scenario.rows], scenario.costs[scenario.rows]
    gains, prices = hull_edges(values, costs)  # (E, T, K)
    flat, cost = gains.reshape(len(gains), -1), prices.reshape(len(gains), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(flat > 0, flat / cost, 0.0)
    order = np.argsort(-slopes, axis=1, kind="stable")
    ranked = np.where(np.take_along_axis(flat, order, 1) > 0, np.take_along_axis(cost, order, 1), 0)
    left = np.maximum(scenario.budgets[:, None] - (np.cumsum(ranked, axis=1) - ranked), 0.0)
    paid = np.empty_like(ranked)
    np.put_along_axis(paid, order, np.minimum(ranked, left), axis=1)
    by_step = paid.reshape(gains.shape).sum(axis=2) / scenario.budgets[:, None]  # (E, T)
    return np.concatenate([[0.0], np.cumsum(by_step, axis=1).mean(axis=0)])


def _cache(subject: Subject) -> tuple[Panel, ...]:
    """When an adapter is loaded: by what it promises, and by how long it will be of use."""
    env = subject.lanes()
    scenario: Any = env.scenario
    _, plan = hindsight_plan(
        scenario, stream_rows(env, episodes=subject.episodes, seed=subject.seed)
    )
    traces = subject.traces({**subject.others("greedy"), "hindsight": Replay(plan.T)})
    edges = np.linspace(-0.4, 1.0, 29)
    length, block = scenario.length, 4
    slots, arms = scenario.slots, scenario.num_adapters

    def by_gain(trace: Trace) -> np.ndarray:
        values, inside = trace.observations[:, :, :arms], trace.states("resident") > 0.5
        gain = np.where(inside, -np.inf, values).max(2) - np.where(inside, values, -np.inf).max(2)
        full = (trace.states("recency") > 0).sum(axis=2) == slots
        swaps = trace.quantities["swap"]
        return binned(gain[full], swaps[full], edges)

    def by_time(trace: Trace) -> np.ndarray:
        return (
            trace.quantities["swap"]
            .mean(axis=1)[: length - length % block]
            .reshape(-1, block)
            .mean(axis=1)
        )

    left = length - (np.arange(length // block) * block + (block - 1) / 2)
    return (
        Panel(
            "when it swaps, by what it promises",
            "predicted value: best outside less best in memory",
            "probability of a swap (memory full)",
            subject.lines(middles(edges), by_gain, traces),
        ),
        Panel(
            "when it swaps, by what is left",
            "queries left in the episode",
            "swaps per query",
            subject.lines(left, by_time, traces),
        ),
    )


def _cascade(subject: Subject) -> tuple[Panel, ...]:
    """Which answers are accepted, and after how many tries."""
    traces = subject.traces(subject.others("greedy"))
    arms = subject.lanes().scenario.num_adapters
    edges = np.linspace(0, 1, 21)

    def again(trace: Trace) -> np.ndarray:
        first = trace.playing & np.isclose(trace.state("tries"), 1 / arms)
        return binned(trace.state("best")[first], (trace.actions[first] < arms) + 0.0, edges)

    def tries(trace: Trace) -> np.ndarray:
        total = ((trace.actions < arms) & trace.playing).sum(axis=0)
        return np.bincount(total, minlength=arms + 1)[1:] / len(total)

    return (
        Panel(
            "when it tries again",
            "score of the first answer",
            "probability of a second try",
            subject.lines(middles(edges), again, traces),
        ),
        Panel(
            "tries per query",
            "tries",
            "share of queries",
            subject.lines(np.arange(arms), tries, traces),
            ticks=tuple(str(i + 1) for i in range(arms)),
        ),
    )


def _drift(subject: Subject) -> tuple[Panel, ...]:
    """How fast regret falls after a change, and after which changes."""

    def look(scenario: Any) -> dict[str, np.ndarray]:
        return {"time": scenario.event_time.copy(), "kind": scenario.event_kind.copy()}

    traces = subject.traces(subject.others("static_greedy", "informed_greedy"), look=look)
    scenario: Any = subject.lanes().scenario
    kinds = tuple(dict.fromkeys(scenario.events))
    edges = np.arange(-_BEFORE, _AFTER + 1, _BLOCK) - 0.5

    def since(trace: Trace) -> np.ndarray:
        return np.arange(len(trace.actions))[:, None] - trace.seen["time"][0]

    def around(trace: Trace) -> np.ndarray:
        return binned(since(trace).ravel(), trace.quantities["regret"].ravel(), edges)

    def by_kind(trace: Trace) -> np.ndarray:
        names = np.array(scenario.events)[trace.seen["kind"][0]]
        after = since(trace) >= 0
        regret = trace.quantities["regret"]
        chosen = [after & (names == kind) for kind in kinds]
        return np.array([regret[part].mean() if part.any() else np.nan for part in chosen])

    return (
        Panel(
            "around the change",
            "queries since the change",
            "regret per query",
            subject.lines(middles(edges), around, traces),
        ),
        Panel(
            "after the change, by its kind",
            "",
            "regret per query",
            subject.lines(np.arange(len(kinds)), by_kind, traces),
            ticks=kinds,
        ),
    )


def _preference(subject: Subject) -> tuple[Panel, ...]:
    """Whom each preference is sent to, and what that costs."""
    traces = subject.traces({})
    scenario: Any = subject.lanes().scenario
    first, edges = scenario.state_names[0], np.linspace(0, 1, 21)
    x, label = middles(edges), scenario.state_names[0].replace("_", " of ", 1)

    def share(arm: int) -> Callable[[Trace], np.ndarray]:
        return lambda t: binned(t.state(first).ravel(), (t.actions == arm).ravel() + 0.0, edges)

    def regret(trace: Trace) -> np.ndarray:
        return binned(trace.state(first).ravel(), trace.quantities["regret"].ravel(), edges)

    shares = []
    for arm, name in enumerate(scenario.data.adapters):
        learned = [share(arm)(trace) for trace in traces["PPO"]]
        shares.append(spread(f"{name}, PPO", x, learned, role=f"arm{arm}"))
        by_rule = share(arm)(traces[subject.rule_label][0])
        shares.append(Line(f"{name}, rule", x, by_rule, f"arm{arm}/rule"))
    return (
        Panel("who answers", label, "share of queries", tuple(shares)),
        Panel("what is lost", label, "regret", subject.lines(x, regret, traces)),
    )


_EXPLAINED: dict[str, Callable[[Subject], tuple[Panel, ...]]] = {
    "budget": _budget,
    "adapter_cache": _cache,
    "cascade": _cascade,
    "drift": _drift,
    "preference": _preference,
}
