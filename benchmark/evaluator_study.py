"""The study of the self-evaluator: from a table, its quality model and the agents to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.evaluator_calibration import (
    BEFORE,
    calibrate,
    calibration_error,
    set_figures,
    uncertainty,
    uncertainty_figures,
)
from routing_gym.benchmark.evaluator_figures import (
    MIX,
    PLAIN,
    QUALITY,
    REWARDS,
    accuracy_kept,
    hacking_figures,
    hacking_levels,
    hacking_probes,
    kept_figures,
    ranking_figures,
    ranking_grid,
    table_scorers,
)
from routing_gym.benchmark.evaluator_probes import (
    Temptation,
    check_consistency,
    consistency_figures,
    fairer_figures,
    fairer_pairs,
    pair_scorers,
    temptation,
    temptation_figures,
)
from routing_gym.benchmark.evaluator_readings import (
    QualityReadings,
    prediction_sets,
    quality_doubts,
    read_quality,
)
from routing_gym.benchmark.evaluator_report import EvaluatorReport, RoutingTrial, Trust
from routing_gym.benchmark.figures import ACCURACY, collect
from routing_gym.benchmark.metrics import best_single
from routing_gym.benchmark.runs import RunRecord, Splits
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.adversarial import AdversarialPair
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.quality import QualityModel
from routing_gym.rewards.reward import RewardFunction

SELF_EVALUATED, ORACLE = "self_evaluated", "oracle"
TRAININGS: dict[str, RewardFunction] = {
    SELF_EVALUATED: REWARDS[MIX],
    PLAIN: REWARDS[PLAIN],
    ACCURACY: RewardFunction({ACCURACY: 1.0}),
}
"""The rewards that every agent is trained on."""


@dataclass(frozen=True)
class Evidence:
    """What the study is made from.

    Parameters
    ----------
    table
        The outcome table, with every metric column.
    model
        The quality model that made the table's column.
    responses
        float32 (N * K, E), embeddings of the table's responses, the adapters of each query
        together.
    evaluator
        Every metric that the table holds.
    pairs
        Adversarial pairs of test queries.
    records
        The agents' runs on `TRAININGS`.
    cost
        What was measured of the time of scoring.
    samples
        (query id, adapter) -> further sampled answers; None if none were drawn.

    Raises
    ------
    ValueError
        If a pair's query is not in the test split.
    """

    table: OutcomeTable
    model: QualityModel
    responses: np.ndarray
    evaluator: SelfEvaluator
    pairs: Sequence[AdversarialPair]
    records: Sequence[RunRecord]
    cost: Mapping[str, float | Interval]
    samples: Mapping[tuple[str, str], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        strangers = {pair.query_id for pair in self.pairs} - set(self.split("test").query_id)
        if strangers:
            raise ValueError(
                f"pairs hold {len(strangers)} queries outside the test split, such as "
                f"{min(strangers)!r}: make them with scripts/make_adversarial.py --split test."
            )

    def split(self, name: str) -> OutcomeTable:
        """Take one split of the table."""
        return self.table.where(split=name)

    def read(self, name: str) -> QualityReadings:
        """Run the quality model on one split."""
        rows = np.repeat(self.table.split == name, len(self.table.adapters))
        return read_quality(self.model, self.split(name), self.responses[rows])


@dataclass(frozen=True)
class StudySettings:
    """How the evidence is judged.

    Parameters
    ----------
    agent
        Whose kept accuracy is the headline figure.
    level
        Coverage that the prediction sets promise.
    passes
        Passes of MC dropout.
    resamples
        Bootstrap resamples.
    seed
        Of the bootstrap and of MC dropout.
    """

    agent: str = "ppo"
    level: float = 0.9
    passes: int = 10
    resamples: int = 1000
    seed: int = 0


def training_splits(table: OutcomeTable) -> dict[str, Splits]:
    """Price the table's splits by each training reward."""
    return {
        name: Splits(*(table.data(part, reward) for part in ("train", "validation", "test")))
        for name, reward in TRAININGS.items()
    }


def study(evidence: Evidence, settings: StudySettings) -> EvaluatorReport:
    """Judge the evidence on the test split; whatever is fitted is fitted on validation.

    Raises
    ------
    ValueError
        If a column is missing, or the quality column is not the model's.
    """
    test = evidence.split("test")
    rngs = np.random.default_rng(settings.seed).spawn(4)
    bootstrap = PairedBootstrap(len(test), rng=rngs[0], resamples=settings.resamples)
    grid = ranking_grid(test, evidence.split("validation"), bootstrap=bootstrap)
    trust = _trust(evidence, settings, rng=rngs[1], bootstrap=bootstrap)
    routing = _routing(evidence, bootstrap=bootstrap)
    names = [name for name in table_scorers(test) if name in evidence.evaluator.names]

    def tempt(pairs: Sequence[AdversarialPair]) -> Temptation:
        columns = pair_scorers(pairs, evidence.evaluator, names=names)
        return temptation(pairs, columns, rng=rngs[2], resamples=settings.resamples)

    tempted = tempt(evidence.pairs)
    fairer = {name: tempt(pairs) for name, pairs in fairer_pairs(evidence.pairs).items()}
    consistency = None
    if evidence.samples is not None:
        consistency = check_consistency(
            evidence.table, evidence.samples, rng=rngs[3], resamples=settings.resamples
        )
    figures = ranking_figures(grid) | temptation_figures(tempted) | fairer_figures(fairer)
    figures |= trust_figures(trust)
    figures |= routing_figures(routing, agent=settings.agent) | consistency_figures(consistency)
    return EvaluatorReport(
        figures=figures | dict(evidence.cost),
        queries=len(test),
        adapters=test.adapters,
        grid=grid,
        trust=trust,
        routing=routing,
        tempted=tempted,
        fairer=fairer,
        consistency=consistency,
        cost=evidence.cost,
    )


def trust_figures(trust: Trust) -> dict[str, float | Interval]:
    """Pick calibration errors of the quality model, its error foresight and its sets."""
    errors = trust.calibrated[QUALITY].errors
    figures: dict[str, float | Interval] = {"ece": trust.shipped_error}
    figures |= {f"ece_{name}": error for name, error in errors.items()}
    figures |= {"ece_plain_before": trust.calibrated[PLAIN].errors[BEFORE]}
    figures |= {"ece_default_reward_before": trust.calibrated[MIX].errors[BEFORE]}
    figures |= uncertainty_figures(trust.uncertain)
    return figures | {
        "quality_error_rate": trust.error_rate,
        **set_figures(trust.sets["lac"]),
        **{f"{name}_aps": figure for name, figure in set_figures(trust.sets["aps"]).items()},
    }


def routing_figures(routing: RoutingTrial, *, agent: str) -> dict[str, float | Interval]:
    """Pick what routers keep of the truth, their reward gaps and what hacking reaches.

    Parameters
    ----------
    routing
        What was tried.
    agent
        Whose kept accuracy is the headline figure.
    """
    figures = kept_figures(routing.kept[SELF_EVALUATED], agent=agent)
    figures |= kept_figures(routing.kept[PLAIN], agent=agent, suffix="_plain")
    for scorer, trained_on in ((MIX, SELF_EVALUATED), (PLAIN, PLAIN)):
        for (name, reward), entry in routing.agents[scorer].items():
            if reward == trained_on and (entry.learned or name == ORACLE):
                suffix = "_plain" if scorer == PLAIN else ""
                figures[f"reward_gap{suffix}_{name}"] = entry.row.reward_gap
    figures |= hacking_figures(routing.probes)
    return figures | {f"reward_hacking_{name}": level for name, level in routing.levels.items()}


def _trust(
    evidence: Evidence,
    settings: StudySettings,
    *,
    rng: np.random.Generator,
    bootstrap: PairedBootstrap,
) -> Trust:
    """Judge what the scores claim to be."""
    test, validation = evidence.split("test"), evidence.split("validation")
    truth, quality = _float(test, ACCURACY), _float(test, QUALITY)
    readings = evidence.read("test"), evidence.read("validation")
    columns = {name: list(pair) for name, pair in _paired(test, validation).items()}
    columns[QUALITY] = [reading.uncalibrated for reading in readings]
    seed = rng.integers(2**32)  # one set of resamples for all scorers
    calibrated = {
        name: calibrate(
            now,
            truth,
            validation=before,
            validation_truth=_float(validation, ACCURACY),
            rng=np.random.default_rng(seed),
            resamples=settings.resamples,
        )
        for name, (now, before) in columns.items()
    }
    shipped = calibration_error(
        quality, truth, rng=np.random.default_rng(seed), resamples=settings.resamples
    )
    errors = (quality > 0.5) != (truth == 1)
    others = evidence.table.where(split=("train", "validation"))
    sets = prediction_sets(test, others, level=settings.level, rng=rng, bootstrap=bootstrap)
    doubts = quality_doubts(
        evidence.model, readings[0], test, passes=settings.passes, seed=settings.seed
    )
    return Trust(
        calibrated=calibrated,
        shipped_error=shipped,
        uncertain=uncertainty(doubts, errors, bootstrap=bootstrap),
        error_rate=bootstrap.mean(errors.mean(axis=1)),
        sets=sets,
    )


def _routing(evidence: Evidence, *, bootstrap: PairedBootstrap) -> RoutingTrial:
    """Let scorers and trained agents choose, and look at the truth."""
    test, train = evidence.split("test"), evidence.split("train")
    truth, single = _float(test, ACCURACY), best_single(train.scores[ACCURACY])
    agents = {}
    for name, reward in REWARDS.items():
        yardstick = Yardstick.from_splits(
            evidence.table.data("test", reward), train=evidence.table.data("train", reward)
        )
        agents[name] = collect(evidence.records, yardstick, bootstrap=bootstrap)
    return RoutingTrial(
        probes=hacking_probes(table_scorers(test), truth, best_single=single, bootstrap=bootstrap),
        levels=hacking_levels(truth, best_single=single, bootstrap=bootstrap),
        agents=agents,
        kept={
            name: accuracy_kept(agents[MIX], truth, trained_on=name, bootstrap=bootstrap)
            for name in TRAININGS
            if name != ACCURACY
        },
        seeds=len({record.seed for record in evidence.records}),
    )


def _paired(
    test: OutcomeTable, validation: OutcomeTable
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pair every scorer's columns of the two splits."""
    held_out = table_scorers(validation)
    return {name: (values, held_out[name]) for name, values in table_scorers(test).items()}


def _float(table: OutcomeTable, name: str) -> np.ndarray:
    """Take a score column as float64 (N, K)."""
    return table.scores[name].astype(np.float64)
