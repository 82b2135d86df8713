"""Training of the quality model: early stopping, calibration, and cross-fitting by query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from routing_gym.rewards.calibration import Calibration, IsotonicCalibration, TemperatureScaling
from routing_gym.rewards.quality import QualityModel, cap_void
from routing_gym.rewards.quality_features import FeatureMap, QualityInputs
from routing_gym.rewards.quality_network import NetworkConfig, fit_ensemble

_CLIP = 1e-3  # an isotonic map says exactly 0 or 1, whose log loss is infinite


@dataclass(frozen=True)
class QualityConfig(NetworkConfig):
    """Settings of the quality model; those of the network are `NetworkConfig`'s.

    Parameters
    ----------
    query_axes, response_axes
        Principal components of the query's and of the response's embedding, at least 1.
    folds
        Parts of the queries for cross-fitting and for the choice of the calibration, at least 2.
    see_adapter
        Whether the model is told who answered. Then it is no metric of the self-evaluator.
    """

    query_axes: int = 8
    response_axes: int = 8
    folds: int = 5
    see_adapter: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("query_axes", "response_axes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        if self.folds < 2:
            raise ValueError(f"folds={self.folds}: give at least 2, so that some stay unseen.")


@dataclass(frozen=True, eq=False)
class VerifiedAnswers:
    """Answers whose verdict is known.

    Parameters
    ----------
    inputs
        N answers.
    labels
        float (N,), 1 for right, 0 for wrong.
    queries
        int or str (N,): which query each answers.

    Raises
    ------
    ValueError
        If the lengths differ or a label is outside [0, 1].
    """

    inputs: QualityInputs
    labels: np.ndarray
    queries: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.labels) == len(self.queries):
            raise ValueError(
                f"{len(self.inputs)} inputs, {len(self.labels)} labels and {len(self.queries)} "
                "queries must be as many."
            )
        if not ((self.labels >= 0) & (self.labels <= 1)).all():
            raise ValueError("labels must be in [0, 1]: 1 for right, 0 for wrong.")

    def rows(self, chosen: np.ndarray) -> VerifiedAnswers:
        """Keep some answers: bool (N,) mask or row numbers."""
        return VerifiedAnswers(self.inputs.rows(chosen), self.labels[chosen], self.queries[chosen])


@dataclass(frozen=True, eq=False)
class TrainedQuality:
    """What training made.

    Parameters
    ----------
    model
        Trained on all train answers, calibrated on validation.
    cross_fitted
        float64 (N,): P(correct) of each train answer by a model that saw no answer to its query.
    """

    model: QualityModel
    cross_fitted: np.ndarray


def train_quality(
    train: VerifiedAnswers,
    validation: VerifiedAnswers,
    *,
    config: QualityConfig,
    seed: int,
    encoder: str = "",
    record: Mapping[str, Any] | None = None,
    on_fit: Callable[[], Any] | None = None,
) -> TrainedQuality:
    """Train, calibrate and cross-fit.

    The network learns from the train answers' verdicts only; validation says when to stop and fits
    the calibration. For the cross-fitted predictions, standardisation, axes and network are
    learned anew without the fold's queries, for as many epochs as were best on validation.

    Parameters
    ----------
    train, validation
        Verified answers to different queries.
    config
        Settings.
    seed
        Determines everything.
    encoder
        Id of the encoder behind the embeddings, kept with the model.
    record
        What else to keep with the model; JSON values.
    on_fit
        Called after each of the ``1 + folds`` fits.

    Raises
    ------
    ValueError
        If a split holds one class only, they share a query, or there are fewer queries than folds.
    """
    shared = np.intersect1d(train.queries, validation.queries)
    if len(shared):
        raise ValueError(
            f"query {shared[0]!r} is in train and validation: keep all its answers in one."
        )
    done = on_fit or (lambda: None)
    feature_map = _fit_map(train.inputs, config)
    features = feature_map.apply(validation.inputs)
    fit = fit_ensemble(
        feature_map.apply(train.inputs),
        train.labels,
        config=config,
        seed=seed,
        optional=feature_map.optional,
        validation=(features, validation.labels),
    )
    done()
    logits = cap_void(fit.ensemble.logits(features), features).mean(axis=0)
    folds = query_folds(validation.queries, config.folds, rng=np.random.default_rng(seed))
    calibration, losses = choose_calibration(logits, validation.labels, folds=folds)
    model = QualityModel(
        feature_map,
        fit.ensemble,
        calibration,
        encoder=encoder,
        record={
            **(record or {}),
            "config": asdict(config),
            "seed": seed,
            "epochs": fit.epochs,
            "calibration_log_loss": losses,
        },
    )
    unseen = cross_fit(train, config=config, seed=seed, epochs=fit.epochs, on_fit=done)
    return TrainedQuality(model, calibration.from_logits(unseen))


def cross_fit(
    answers: VerifiedAnswers,
    *,
    config: QualityConfig,
    seed: int,
    epochs: int,
    on_fit: Callable[[], Any] | None = None,
) -> np.ndarray:
    """Predict each answer by an ensemble that saw no answer to its query.

    Parameters
    ----------
    answers
        N verified answers.
    config, seed
        As in `train_quality`.
    epochs
        Epochs of every fold.
    on_fit
        Called after each fold.

    Returns
    -------
    ndarray
        float64 (N,), mean log-odds of the members, not calibrated.
    """
    logits = np.empty(len(answers.labels))
    folds = query_folds(answers.queries, config.folds, rng=np.random.default_rng(seed))
    for fold in range(config.folds):
        seen, unseen = answers.rows(folds != fold), answers.inputs.rows(folds == fold)
        feature_map = _fit_map(seen.inputs, config)
        fit = fit_ensemble(
            feature_map.apply(seen.inputs),
            seen.labels,
            config=config,
            seed=seed,
            optional=feature_map.optional,
            epochs=epochs,
        )
        features = feature_map.apply(unseen)
        logits[folds == fold] = cap_void(fit.ensemble.logits(features), features).mean(axis=0)
        if on_fit:
            on_fit()
    return logits


def query_folds(queries: np.ndarray, folds: int, *, rng: np.random.Generator) -> np.ndarray:
    """Share queries out at random: int64 (N,) fold of each answer, the same for all of a query.

    Raises
    ------
    ValueError
        If there are fewer queries than folds.
    """
    names, place = np.unique(queries, return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"folds={folds} need as many queries, there are {len(names)}: lower it.")
    return (rng.permutation(len(names)) % folds)[place]


def choose_calibration(
    logits: np.ndarray, labels: np.ndarray, *, folds: np.ndarray
) -> tuple[Calibration, dict[str, float]]:
    """Fit the calibration whose log loss is lowest on parts that it was not fitted on.

    Parameters
    ----------
    logits
        float (N,).
    labels
        float (N,) in [0, 1].
    folds
        int (N,), from `query_folds`.

    Returns
    -------
    calibration : Calibration
        Fitted on all N.
    losses : dict
        Mean log loss (nats) by method on the left-out parts.
    """
    losses = {}
    for name, fit in _CALIBRATIONS.items():
        chances = np.empty(len(labels))
        for fold in np.unique(folds):
            fitted = fit(logits[folds != fold], labels[folds != fold])
            chances[folds == fold] = fitted.from_logits(logits[folds == fold])
        chances = chances.clip(_CLIP, 1 - _CLIP)
        loss = labels * np.log(chances) + (1 - labels) * np.log(1 - chances)
        losses[name] = float(-loss.mean())
    best = min(losses, key=losses.__getitem__)
    return _CALIBRATIONS[best](logits, labels), losses


def _temperature(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit a temperature."""
    return TemperatureScaling.fit(logits, labels)


def _temperature_and_bias(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit a temperature and a bias."""
    return TemperatureScaling.fit(logits, labels, bias=True)


def _isotonic(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit a step-like map of the probabilities."""
    return IsotonicCalibration.fit(1 / (1 + np.exp(-logits)), labels)


_CALIBRATIONS: dict[str, Callable[[np.ndarray, np.ndarray], Calibration]] = {
    "temperature": _temperature,
    "temperature_and_bias": _temperature_and_bias,
    "isotonic": _isotonic,
}


def _fit_map(inputs: QualityInputs, config: QualityConfig) -> FeatureMap:
    """Learn the features' distribution."""
    return FeatureMap.fit(
        inputs,
        query_axes=config.query_axes,
        response_axes=config.response_axes,
        see_adapter=config.see_adapter,
    )
