"""What the quality model says of a table's answers: raw probabilities, doubts, prediction sets."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from routing_gym.benchmark.evaluator_calibration import SetCoverage, set_coverage
from routing_gym.benchmark.evaluator_figures import QUALITY
from routing_gym.benchmark.figures import ACCURACY
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.scoring import answers_of, cells_of, queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.conformal import ConformalSets, Method, best_arms
from routing_gym.rewards.quality import QualityModel
from routing_gym.rewards.quality_features import NEEDS
from routing_gym.rewards.uncertainty import Measure, UncertaintyQuantifier

TOLERANCE = 0.01
"""Mean distance of the table's column from the model's prediction that rounding may explain."""

MEASURES: dict[str, Measure] = {"": "entropy", "_disagreement": "mutual_information"}


@dataclass(frozen=True)
class QualityReadings:
    """The quality model on the answers of one split.

    Parameters
    ----------
    features
        float32 (N * K, D), the adapters of each query together.
    uncalibrated
        float64 (N, K), P(correct) before calibration.
    """

    features: np.ndarray
    uncalibrated: np.ndarray


def read_quality(
    model: QualityModel, table: OutcomeTable, responses: np.ndarray
) -> QualityReadings:
    """Run the quality model on a split's answers.

    Parameters
    ----------
    model
        The model that made the table's column.
    table
        The validation or the test split: N queries by K adapters, with the columns that the model
        reads, and its own.
    responses
        float32 (N * K, E), embeddings of the responses.

    Raises
    ------
    ValueError
        If the table's column is not this model's.
    """
    column = table.scores[QUALITY]
    features = model.features(
        answers_of(queries_of(table), cells_of(table)),
        {name: table.scores[name].ravel() for name in NEEDS},
        queries=np.repeat(table.embeddings, len(table.adapters), axis=0),
        responses=responses,
        adapters=list(table.adapters) * len(table),
    )
    distance = float(np.abs(model.predict(features) - column.ravel()).mean())
    if distance > TOLERANCE:
        raise ValueError(
            f"the table's column {QUALITY!r} is {distance:.3f} away from what the quality model "
            "predicts, in the mean: make both with scripts/train_quality.py."
        )
    logits = model.logits(features).mean(axis=0)
    return QualityReadings(features, np.asarray(expit(logits)).reshape(column.shape))


def quality_doubts(
    model: QualityModel, readings: QualityReadings, table: OutcomeTable, *, passes: int, seed: int
) -> dict[str, np.ndarray]:
    """Ask every method how unsure the quality model is of the answers of a split.

    Parameters
    ----------
    model
        The quality model.
    readings
        From `read_quality` on the same table.
    table
        N queries by K adapters, with the columns ``certainty`` and ``quality``.
    passes
        Passes of MC dropout.
    seed
        Of MC dropout.

    Returns
    -------
    dict[str, ndarray]
        Method -> float64 (N, K), higher is less sure. MC dropout and ensemble: entropy of the mean
        probability, in nats; with the suffix ``_disagreement`` the part of it that the draws do
        not agree on (mutual information). Token entropy: the mean over the answer's tokens, which
        the table keeps as ``certainty``. Confidence: 1 - abs(2 P - 1).
    """
    found = {}
    for method in ("mc_dropout", "ensemble"):
        for suffix, measure in MEASURES.items():
            quantifier = UncertaintyQuantifier(
                model,
                passes,
                method=method,
                measure=measure,
                calibration=model.calibration,
                seed=seed,
            )
            doubt = quantifier.predict_with_uncertainty(readings.features)[1]
            found[method + suffix] = doubt.reshape(readings.uncalibrated.shape)
    tokens = UncertaintyQuantifier(_stored_entropies, method="token_entropy")
    certainty = table.scores["certainty"]
    doubt = tokens.predict_with_uncertainty(certainty.ravel())[1]
    found["token_entropy"] = doubt.reshape(certainty.shape)
    found["confidence"] = 1 - np.abs(2 * table.scores[QUALITY].astype(np.float64) - 1)
    return found


def _stored_entropies(certainty: np.ndarray) -> np.ndarray:
    """Mean token entropies (N,) in nats, which certainty is the negative exponential of."""
    return -np.log(np.clip(certainty.astype(np.float64), 1e-30, 1.0))


def prediction_sets(
    test: OutcomeTable,
    calibration: OutcomeTable,
    *,
    level: float,
    rng: np.random.Generator,
    bootstrap: PairedBootstrap,
) -> dict[str, SetCoverage]:
    """Make conformal sets of the adapters that could be best by their answers' quality.

    Parameters
    ----------
    test
        The split on which the sets are measured.
    calibration
        Other queries, on which the threshold is taken; no quality of theirs may come from a model
        that was fitted to their answers (the train split's is cross-fitted).
    level
        Coverage that is promised, in (0, 1).
    rng
        Draws the randomised sets.
    bootstrap
        The shared resamples of the test queries.

    Returns
    -------
    dict[str, SetCoverage]
        By strangeness: ``"lac"`` and ``"aps"``, the latter randomised.
    """
    best = best_arms(calibration.scores[ACCURACY])
    draws: dict[Method, np.random.Generator | None] = {"lac": None, "aps": rng}
    found: dict[str, SetCoverage] = {}
    for method, draw in draws.items():
        fitted = ConformalSets.calibrate(
            calibration.scores[QUALITY], best, alpha=1 - level, method=method, rng=draw
        )
        sets = fitted.predict(test.scores[QUALITY], rng=draw)
        found[method] = set_coverage(
            sets, test.scores[ACCURACY], test.domain, level=level, bootstrap=bootstrap
        )
    return found


def read_cost(path: str | os.PathLike[str]) -> dict[str, float | Interval]:
    """Read what scripts/measure_scoring.py measured of the time of scoring.

    Returns
    -------
    dict[str, float | Interval]
        The figures whose names begin with "scoring" or "generation", among them
        ``scoring_over_generation``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, or holds no such figure.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: make it with scripts/measure_scoring.py.")
    content = json.loads(Path(path).read_text("utf-8"))
    if not isinstance(content, dict) or "scoring_over_generation" not in content:
        raise ValueError(
            f"{path} lacks 'scoring_over_generation': make it with scripts/measure_scoring.py."
        )
    return {
        name: Interval(**value) if isinstance(value, dict) else float(value)
        for name, value in content.items()
        if name.startswith(("scoring", "generation"))
    }
