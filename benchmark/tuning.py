"""Tuning with equal budgets: every agent gets the same number of settings, judged on validation.

The first setting is always the agent's own defaults; the others are drawn from its search space by
a Latin hypercube (McKay, Beckman & Conover 1979), which covers every range evenly however few
trials there are. The setting with the highest mean validation reward wins, the earliest of equals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.stats import qmc

from routing_gym.agents import AGENTS
from routing_gym.benchmark.runs import AgentSpec, RunRecord

Space = Mapping[str, Any]
"""Option -> a list of values, or a range ``{low, high, log, integer}``."""


@dataclass(frozen=True)
class Range:
    """A range of numbers.

    Parameters
    ----------
    low, high
        Its ends, low below high.
    log
        Whether draws are uniform in the logarithm; low is then above 0.
    integer
        Whether draws are rounded.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}.")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} has no logarithm: give a positive, or log: false.")

    def at(self, share: float) -> float | int:
        """Return the value at a share of the range, in [0, 1]."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.integer else float(f"{value:.4g}")


@dataclass(frozen=True)
class Tuned:
    """What tuning found for one agent under one reward.

    Parameters
    ----------
    spec
        The agent with the chosen options.
    trials
        Settings tried.
    default_reward, chosen_reward
        Mean validation reward of the defaults and of the chosen setting.
    seconds
        Training time of all trials.
    """

    spec: AgentSpec
    trials: int
    default_reward: float
    chosen_reward: float
    seconds: float


def draw_settings(space: Space, *, trials: int, seed: int) -> list[dict[str, Any]]:
    """Draw an agent's settings.

    Parameters
    ----------
    space
        What may be varied; empty leaves the defaults alone.
    trials
        Settings in all, at least 1.
    seed
        Of the draw.

    Returns
    -------
    list[dict]
        Options, the empty dict (the defaults) first; `trials` of them unless the space is empty.

    Raises
    ------
    ValueError
        If an option's values are neither a list nor a range, or the space is too small for
        `trials` different settings.
    """
    if trials < 1:
        raise ValueError(f"trials={trials} is too small: give at least 1, the defaults.")
    choices = {option: _choices(option, values) for option, values in space.items()}
    if not choices or trials == 1:
        return [{}]
    rng = np.random.default_rng(seed)
    settings: list[dict[str, Any]] = [{}]
    for attempt in range(21):  # small spaces repeat themselves: draw again for what is missing
        points = trials - len(settings) if attempt < 20 else 1000
        for point in qmc.LatinHypercube(d=len(choices), rng=rng).random(points):
            setting = {
                option: _value(values, float(share))
                for (option, values), share in zip(choices.items(), point, strict=True)
            }
            if setting not in settings and len(settings) < trials:
                settings.append(setting)
        if len(settings) == trials:
            return settings
    raise ValueError(
        f"the space of {list(space)} has fewer than {trials} settings: widen it, or lower trials."
    )


def check_spaces(
    specs: Sequence[AgentSpec], spaces: Mapping[str, Space], *, trials: int, seed: int
) -> None:
    """Refuse search spaces that do not fit, and agents that would be tuned less than the others.

    Raises
    ------
    ValueError
        If a space names an unknown agent or option, or an agent with a configuration has no space
        though others are tuned.
    """
    known = {spec.label: spec for spec in specs}
    for label in spaces:
        if label not in known and label not in AGENTS:  # a registered agent may sit this one out
            raise ValueError(
                f"search names {label!r}, which is neither among agents={list(known)} nor "
                "registered: correct its spelling."
            )
    for label, spec in known.items():
        if trials > 1 and label not in spaces and _has_options(spec):
            raise ValueError(
                f"agent {label!r} has no search space, but others are tuned with {trials} trials: "
                f"add search: {{{label}: {{...}}}} (or {{}} to take its defaults on purpose)."
            )
        try:
            settings = draw_settings(spaces.get(label, {}), trials=trials, seed=seed)
        except ValueError as error:
            raise ValueError(f"search of agent {label!r}: {error}") from error
        for setting in settings:
            replace(spec, options={**spec.options, **setting}).build()


def choose_settings(
    spec: AgentSpec, trials: Sequence[tuple[Mapping[str, Any], Sequence[RunRecord]]]
) -> Tuned:
    """Choose an agent's setting by its mean validation reward over the tuning seeds.

    Parameters
    ----------
    spec
        The agent with the options that all trials share.
    trials
        Each setting with its runs, the defaults first. A setting with a failed run loses.
    """
    means = [
        float(np.mean([run.validation_reward for run in runs]))
        if all(run.finished for run in runs)
        else -np.inf
        for _, runs in trials
    ]
    best = int(np.argmax(means))
    return Tuned(
        spec=replace(spec, options={**spec.options, **trials[best][0]}),
        trials=len(trials),
        default_reward=means[0],
        chosen_reward=means[best],
        seconds=sum(run.train_seconds for _, runs in trials for run in runs),
    )


def _choices(option: str, values: Any) -> list[Any] | Range:
    """Read one option's values from YAML."""
    if isinstance(values, Mapping):
        try:
            return Range(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"option {option!r}: {error} A range has low, high, log and integer."
            ) from error
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(
            f"option {option!r} has {values!r}: give a list of values, or a range {{low, high}}."
        )
    return list(values)


def _value(values: list[Any] | Range, share: float) -> Any:
    """Return the value at a share of the choices."""
    if isinstance(values, Range):
        return values.at(share)
    return values[min(int(share * len(values)), len(values) - 1)]


def _has_options(spec: AgentSpec) -> bool:
    """Whether there is anything to tune; a privileged yardstick is none of the contenders."""
    agent = spec.build()
    return bool(fields(agent.config_class)) and not agent.privileged
