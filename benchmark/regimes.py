"""The best agent of each information regime, against the baselines and against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import Entry
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

MANDATORY = ("knn", "task_lookup", "best_single")
SHARE = 0.4  # of the outcomes that full information costs


@dataclass(frozen=True)
class Regimes:
    """The agents that stand for their regimes, chosen by the reward on the validation split.

    Parameters
    ----------
    full
        The best learned, deployable agent with full information, kNN (a baseline) aside.
    bandit
        The best with bandit feedback, whatever it paid.
    frugal
        The best with bandit feedback that paid for at most `SHARE` of all outcomes.
    """

    full: Entry | None
    bandit: Entry | None
    frugal: Entry | None


def choose_regimes(
    entries: Mapping[tuple[str, str], Entry],
    *,
    trained_on: str,
    outcomes: int,
    names: Mapping[str, str] | None = None,
) -> Regimes:
    """Choose each regime's best agent on validation.

    Parameters
    ----------
    entries
        From `routing_gym.benchmark.figures.collect`.
    trained_on
        The training reward.
    outcomes
        N x K of the train split, what full information costs.
    names
        Label -> name of the agent, for labels that are none: a baseline in other settings is a
        baseline still.
    """
    names = names or {}
    learned = [
        entry
        for (agent, training), entry in entries.items()
        if training == trained_on and entry.learned and names.get(agent, agent) not in MANDATORY
    ]
    bandit = [entry for entry in learned if entry.row.feedback == "bandit"]
    frugal = [entry for entry in bandit if entry.outcomes <= SHARE * outcomes + 1]
    return Regimes(
        full=_best([entry for entry in learned if entry.row.feedback == "full"]),
        bandit=_best(bandit),
        frugal=_best(frugal),
    )


def regime_figures(
    regimes: Regimes,
    entries: Mapping[tuple[str, str], Entry],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    trained_on: str,
) -> dict[str, float | Interval]:
    """Compare the regimes' best agents on the test split, in reward.

    Parameters
    ----------
    regimes
        From `choose_regimes`.
    entries
        All agents.
    yardstick
        The test split under the reward trained on.
    bootstrap
        The shared resamples.
    trained_on
        The training reward.

    Returns
    -------
    dict[str, float | Interval]
        Gap closed (with its lower end as a figure of its own) and the paired difference to each
        mandatory baseline, per regime; ``best_bandit_over_full``, the ratio of the frugal bandit's
        reward to the best full-information agent's.
    """
    figures: dict[str, float | Interval] = {}
    baselines = {
        name: entries[name, trained_on] for name in MANDATORY if (name, trained_on) in entries
    }
    for name in ("full", "bandit", "frugal"):
        entry: Entry | None = getattr(regimes, name)
        if entry is None:
            continue
        gap = entry.row.reward_gap_closed
        figures[f"best_{name}_gap_closed"] = gap
        figures[f"best_{name}_gap_closed_low"] = gap.low
        for other, baseline in baselines.items():
            figures[f"best_{name}_minus_{other}"] = bootstrap.difference(
                _rewards(entry, yardstick), _rewards(baseline, yardstick)
            )
    if regimes.full is not None and regimes.frugal is not None:
        figures["best_bandit_over_full"] = bootstrap.ratio(
            _rewards(regimes.frugal, yardstick), _rewards(regimes.full, yardstick)
        )
    return figures


def _best(entries: list[Entry]) -> Entry | None:
    """Take the entry with the highest reward on validation."""
    return max(entries, key=lambda entry: entry.validation_reward, default=None)


def _rewards(entry: Entry, yardstick: Yardstick) -> np.ndarray:
    """Rewards (S, N) of an entry's choices."""
    return metrics.chosen(yardstick.reward, entry.actions)
