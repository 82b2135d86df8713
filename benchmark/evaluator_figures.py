"""What scores an answer, how well it ranks answers, and what a router reaches that trusts it.

A *scorer* is anything that gives an answer a number: a metric, the quality model, a reward. All
are oriented so that higher claims better, and all are judged by verified accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.figures import ACCURACY, Entry
from routing_gym.benchmark.ranking import Ranking, auroc, auroc_difference, rank
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.metric import Direction
from routing_gym.rewards.reward import DEFAULT_REWARD, PLAIN_REWARD, RewardFunction

QUALITY = "quality"
MIX = "default_reward"
PLAIN = "plain_sum"
MAIN = (QUALITY, MIX, PLAIN)
REWARDS: dict[str, RewardFunction] = {MIX: DEFAULT_REWARD, PLAIN: PLAIN_REWARD}
ALL = "all"


@dataclass(frozen=True)
class RankingGrid:
    """How well every scorer ranks the answers of every group of queries.

    Parameters
    ----------
    cells
        Scorer -> group -> ranking; the group `ALL` holds every query.
    counts
        Group -> number of its queries.
    best_metric
        The single metric with the highest AUROC on the validation split.
    gains
        AUROC of the quality model minus that of each scorer named, paired.
    """

    cells: Mapping[str, Mapping[str, Ranking]]
    counts: Mapping[str, int]
    best_metric: str
    gains: Mapping[str, Interval]

    @property
    def groups(self) -> list[str]:
        """The domains, without `ALL`."""
        return [name for name in self.counts if name != ALL]

    def weakest(self, scorer: str) -> str:
        """Domain in which a scorer's AUROC is lowest."""
        return min(self.groups, key=lambda name: self.cells[scorer][name].auroc.value)


@dataclass(frozen=True)
class Probe:
    """The policy that picks, on each query, the adapter whose answer a scorer likes best.

    Parameters
    ----------
    score
        Mean score of the chosen answers.
    accuracy
        Their verified accuracy, in expectation over ties.
    over_best_single
        `accuracy` minus that of the best single adapter (chosen on train), paired.
    overpraise
        `score` minus `accuracy`, paired: what the scorer claims beyond the truth, where it is
        read as a probability of being right.
    """

    score: Interval
    accuracy: Interval
    over_best_single: Interval
    overpraise: Interval


def table_scorers(table: OutcomeTable) -> dict[str, np.ndarray]:
    """All scorers of a table: its metrics of role ``score``, then the rewards, float64 (N, K).

    Raises
    ------
    ValueError
        If a column that a reward weighs is missing; the message names the remedy.
    """
    names = [name for name, record in table.manifest.metrics.items() if record.role == "score"]
    return scorers(table.scores, table.directions, names=names)


def scorers(
    scores: Mapping[str, np.ndarray], directions: Mapping[str, Direction], *, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Orient the named scores and add the rewards made of them.

    Parameters
    ----------
    scores
        Metric name -> scores in [0, 1], all of one shape; also those that only a reward weighs.
    directions
        Metric name -> whether higher or lower is better.
    names
        The metrics that count as scorers of their own.

    Returns
    -------
    dict[str, ndarray]
        Scorer -> float64 of the scores' shape, higher is better; the rewards come last.

    Raises
    ------
    ValueError
        If a column that a reward weighs is missing.
    """
    weighed = {name for reward in REWARDS.values() for name in reward.weights}
    missing = sorted((weighed | {QUALITY}) - set(scores))
    if missing:
        raise ValueError(
            f"scores lack {missing}, which the rewards weigh: add them to the table with "
            "scripts/score_table.py and scripts/train_quality.py."
        )
    columns = {name: np.asarray(scores[name], dtype=np.float64) for name in names}
    oriented = {n: c if directions[n] == "higher" else 1 - c for n, c in columns.items()}
    return oriented | {name: reward(scores, directions) for name, reward in REWARDS.items()}


def single_metrics(names: Sequence[str]) -> list[str]:
    """Keep the scorers that are one metric, neither learned nor a mix."""
    return [name for name in names if name not in (QUALITY, *REWARDS)]


def ranking_grid(
    test: OutcomeTable, validation: OutcomeTable, *, bootstrap: PairedBootstrap
) -> RankingGrid:
    """Rank the test split's answers by every scorer, overall and in every domain.

    Parameters
    ----------
    test
        The split that is reported.
    validation
        The split on which the best single metric is chosen.
    bootstrap
        The shared resamples of the test queries.
    """
    columns, truth = table_scorers(test), test.scores[ACCURACY]
    groups = {ALL: np.ones(len(test), dtype=np.bool_)}
    groups |= {str(name): test.domain == name for name in np.unique(test.domain)}
    cells = {
        scorer: {
            group: rank(scores, truth, bootstrap=bootstrap, rows=rows)
            for group, rows in groups.items()
        }
        for scorer, scores in columns.items()
    }
    held_out = table_scorers(validation)
    areas = {name: auroc(held_out[name], validation.scores[ACCURACY]) for name in held_out}
    best = max(single_metrics(list(columns)), key=lambda name: areas[name])
    return RankingGrid(
        cells=cells,
        counts={name: int(rows.sum()) for name, rows in groups.items()},
        best_metric=best,
        gains={
            name: auroc_difference(columns[QUALITY], columns[name], truth, bootstrap=bootstrap)
            for name in (PLAIN, best)
        },
    )


def ranking_figures(grid: RankingGrid) -> dict[str, float | Interval]:
    """Pick the grid's headline figures, of the quality model unless the name says otherwise."""
    quality = grid.cells[QUALITY]
    figures: dict[str, float | Interval] = {
        "auroc_overall": quality[ALL].auroc,
        "auroc_domain_min": quality[grid.weakest(QUALITY)].auroc,
        **{f"auroc_{group}": quality[group].auroc for group in grid.groups},
        "auroc_within_query": quality[ALL].within_query,
        "spearman_overall": quality[ALL].spearman,
        "auroc_default_reward": grid.cells[MIX][ALL].auroc,
        "auroc_plain": grid.cells[PLAIN][ALL].auroc,
        "auroc_plain_within_query": grid.cells[PLAIN][ALL].within_query,
        "auroc_best_single_metric": grid.cells[grid.best_metric][ALL].auroc,
        "auroc_gain_over_plain": grid.gains[PLAIN],
        "auroc_gain_over_best_single_metric": grid.gains[grid.best_metric],
    }
    return figures


def greedy_accuracy(scores: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Compute the expected accuracy (N,) of picking the highest score (N, K), ties at random."""
    best = scores >= scores.max(axis=1, keepdims=True) - metrics.TIE_TOLERANCE
    return np.asarray((best * accuracy).sum(axis=1, dtype=np.float64) / best.sum(axis=1))


def hacking_probes(
    columns: Mapping[str, np.ndarray],
    accuracy: np.ndarray,
    *,
    best_single: int,
    bootstrap: PairedBootstrap,
) -> dict[str, Probe]:
    """Let each scorer choose the adapter and look at the truth.

    Parameters
    ----------
    columns
        Scorer -> float (N, K), higher is better.
    accuracy
        0/1 (N, K).
    best_single
        Adapter of the highest train accuracy.
    bootstrap
        The shared resamples of the N queries.

    Returns
    -------
    dict[str, Probe]
        In the order of `columns`.
    """
    probes = {}
    for name, scores in columns.items():
        reached, claimed = greedy_accuracy(scores, accuracy), scores.max(axis=1)
        probes[name] = Probe(
            score=bootstrap.mean(claimed),
            accuracy=bootstrap.mean(reached),
            over_best_single=bootstrap.difference(reached, accuracy[:, best_single]),
            overpraise=bootstrap.difference(claimed, reached),
        )
    return probes


def hacking_levels(
    accuracy: np.ndarray, *, best_single: int, bootstrap: PairedBootstrap
) -> dict[str, Interval]:
    """Accuracies that every probe is read against: random, best single, oracle."""
    return {
        "random": bootstrap.mean(accuracy.mean(axis=1)),
        "best_single": bootstrap.mean(accuracy[:, best_single]),
        "oracle": bootstrap.mean(accuracy.max(axis=1)),
    }


def hacking_figures(probes: Mapping[str, Probe]) -> dict[str, float | Interval]:
    """Accuracy that each scorer's greedy policy really reaches, and the lowest of all."""
    figures: dict[str, float | Interval] = {
        f"reward_hacking_{name}": probe.accuracy for name, probe in probes.items()
    }
    worst = min(probes, key=lambda name: probes[name].accuracy.value)
    return figures | {"reward_hacking_worst": probes[worst].accuracy}


def accuracy_kept(
    entries: Mapping[tuple[str, str], Entry],
    accuracy: np.ndarray,
    *,
    trained_on: str,
    bootstrap: PairedBootstrap,
) -> dict[str, Interval]:
    """Accuracy of each learned router under a reward over that of itself trained on accuracy.

    Parameters
    ----------
    entries
        Agent and training reward -> its runs, from `routing_gym.benchmark.figures.collect`.
    accuracy
        0/1 (N, K) of the test split.
    trained_on
        Name of the training reward.
    bootstrap
        The shared resamples; both sides see the same ones.

    Returns
    -------
    dict[str, Interval]
        Agent -> ratio, 1 is "nothing lost by never seeing the truth".
    """
    return {
        agent: bootstrap.ratio(
            metrics.chosen(accuracy, entry.actions),
            metrics.chosen(accuracy, entries[agent, ACCURACY].actions),
        )
        for (agent, reward), entry in entries.items()
        if reward == trained_on and entry.learned and (agent, ACCURACY) in entries
    }


def kept_figures(
    kept: Mapping[str, Interval], *, agent: str, suffix: str = ""
) -> dict[str, float | Interval]:
    """Headline figures of `accuracy_kept`: one agent's ratio, every agent's, and the lowest."""
    figures: dict[str, float | Interval] = {}
    if agent in kept:
        figures[f"accuracy_kept{suffix}"] = kept[agent]
    figures |= {f"accuracy_kept{suffix}_{name}": ratio for name, ratio in kept.items()}
    if kept:
        worst = min(kept, key=lambda name: kept[name].value)
        figures[f"accuracy_kept{suffix}_min"] = kept[worst]
    return figures
