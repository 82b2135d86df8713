"""Quality: the calibrated probability that an answer is right, learned from verified ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from routing_gym.adapters.folder import replaced_folder
from routing_gym.rewards.calibration import Calibration, calibration_from_json
from routing_gym.rewards.encoding import RememberingEncoder, TextEncoder
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.quality_features import (
    COLUMNS,
    NEEDS,
    VOID,
    FeatureMap,
    read_inputs,
)
from routing_gym.rewards.quality_network import Ensemble

FORMAT = 1
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
DEFAULT_QUALITY = Path(__file__).resolve().parent / "weights" / "quality"

_VOID_LOGIT = -3.0  # P = .05: of 50 such answers in train and validation 3 are right
_MAP_ARRAYS = tuple(part.name for part in dataclasses.fields(FeatureMap) if part.name != "adapters")
_REMEDY = "restore it, or train it again with scripts/train_quality.py"


@dataclass(frozen=True, eq=False)
class QualityModel:
    """P(correct) of an answer without its reference: features, an ensemble, a calibration.

    Trained by `routing_gym.rewards.quality_training.train_quality` on verified answers of a train
    split; predicting needs numpy only and is the same for an answer whoever gave it, unless the
    model was trained with ``see_adapter``.

    Parameters
    ----------
    feature_map
        Standardises the inputs.
    ensemble
        M networks.
    calibration
        Maps the mean of the members' log-odds to a probability.
    encoder
        Id of the encoder behind the embeddings.
    record
        How it was trained; JSON values only.

    Raises
    ------
    ValueError
        If the ensemble does not take the features that the map makes.
    """

    feature_map: FeatureMap
    ensemble: Ensemble
    calibration: Calibration
    encoder: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.feature_map.num_features != self.ensemble.num_features:
            raise ValueError(
                f"the feature map makes D = {self.feature_map.num_features} features, the ensemble "
                f"takes {self.ensemble.num_features}: they belong to two models."
            )

    @property
    def num_members(self) -> int:
        """M, the networks of the ensemble."""
        return self.ensemble.num_members

    @property
    def see_adapter(self) -> bool:
        """Whether the features name who answered."""
        return bool(self.feature_map.adapters)

    def features(
        self,
        answers: Sequence[Answer],
        scores: Mapping[str, np.ndarray],
        *,
        queries: np.ndarray,
        responses: np.ndarray,
        adapters: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Make the features of answers.

        Parameters
        ----------
        answers
            N answers; only their texts, form and end are read, the rest through the scores.
        scores
            By name, float (N,) in [0, 1], of every metric in `NEEDS`.
        queries, responses
            float (N, E), embeddings of the texts by the model's encoder.
        adapters
            N names, for a model with `see_adapter`; others do not read them.

        Returns
        -------
        ndarray
            float32 (N, D).

        Raises
        ------
        ValueError
            If a score is missing, a shape does not fit, or adapters are needed.
        """
        inputs = read_inputs(
            answers, scores, queries=queries, responses=responses, adapters=adapters
        )
        return self.feature_map.apply(inputs)

    def logits(
        self, features: np.ndarray, *, passes: int = 0, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Log-odds of being right, before calibration.

        Parameters
        ----------
        features
            float32 (N, D), from `features`.
        passes
            Above 0: that many draws under dropout (MC dropout), over the members in turn.
        rng
            Draws the dropout; needed with `passes`.

        Returns
        -------
        ndarray
            float64 (M, N) by member, or (passes, N). Those of responses that say nothing (empty,
            an echo) are at most -3.

        Raises
        ------
        ValueError
            If the features have another width, or passes come without a generator.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_map.num_features:
            raise ValueError(
                f"features has shape {features.shape}, not (N, D) with D = "
                f"{self.feature_map.num_features}: make it with this model's features()."
            )
        if passes < 0 or (passes and rng is None):
            raise ValueError(f"passes={passes} must be at least 0 and needs an rng if above 0.")
        if passes and rng is not None:
            found = self.ensemble.sampled_logits(features, passes=passes, rng=rng)
        else:
            found = self.ensemble.logits(features)
        return cap_void(found, features)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Calibrated P(correct): float64 (N,) in [0, 1] of float32 features (N, D)."""
        return self.calibration.from_logits(self.logits(features).mean(axis=0))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` and ``config.json``, replacing a model that is there.

        Raises
        ------
        ValueError
            If the folder holds other files.
        """
        target = Path(folder)
        if target.exists() and not _is_replaceable(target):
            raise ValueError(f"{target} holds other files: save the model to a folder of its own.")
        weights = save_arrays(self._arrays())
        config = {
            "format": FORMAT,
            "columns": list(COLUMNS),
            "encoder": self.encoder,
            "adapters": list(self.feature_map.adapters),
            "dropout": self.ensemble.dropout,
            "calibration": self.calibration.to_json(),
            "record": dict(self.record),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        with replaced_folder(target) as draft:
            (draft / WEIGHTS_FILE).write_bytes(weights)
            text = json.dumps(config, indent=1) + "\n"
            (draft / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str] = DEFAULT_QUALITY) -> QualityModel:
        """Read and verify what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        ValueError
            If a file is damaged or edited, or is of another version of the features.
        """
        path, weights = Path(folder) / CONFIG_FILE, Path(folder) / WEIGHTS_FILE
        for file in (path, weights):
            if not file.is_file():
                raise FileNotFoundError(f"quality model: {file} is missing: {_REMEDY}.")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            _check_config(config, path=path, weights=weights.read_bytes())
            arrays = load_arrays(weights.read_bytes())
            layers = range(sum(name.startswith("weight_") for name in arrays))
            return cls(
                FeatureMap(
                    **{name: arrays[name] for name in _MAP_ARRAYS},
                    adapters=tuple(config["adapters"]),  # type: ignore[misc]
                ),
                Ensemble(
                    tuple(arrays[f"weight_{i}"] for i in layers),
                    tuple(arrays[f"bias_{i}"] for i in layers),
                    float(config["dropout"]),
                ),
                calibration_from_json(config["calibration"]),
                encoder=config["encoder"],
                record=config["record"],
            )
        except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
            raise ValueError(f"{folder} is not readable ({error}): {_REMEDY}.") from error
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder} lacks the entry {error}: {_REMEDY}.") from error

    def _arrays(self) -> dict[str, np.ndarray]:
        """Everything that is a float array, by name."""
        arrays = {name: getattr(self.feature_map, name) for name in _MAP_ARRAYS}
        for kind, parts in (("weight", self.ensemble.weights), ("bias", self.ensemble.biases)):
            arrays |= {f"{kind}_{i}": part for i, part in enumerate(parts)}
        return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


class Quality:
    """`QualityModel` as a metric: calibrated P(correct) from cheap metrics and embeddings.

    **Sees** what told right from wrong answers in the training table: how sure the answering model
    was of its tokens, form, cheap checks, topic, length, and what kind of query and of response it
    is. It reads no reference and not who answered.

    **Is fooled by** confident errors in the right form, above all without token signals (which a
    live answer may lack): then a wrong number or name in place of the right one is hardly visible.
    It has learned one pool's typical errors; queries far from the training table's get a guess, so
    train it again for another pool (scripts/train_quality.py).

    Parameters
    ----------
    encoder
        Has ``encode(texts) -> (N, E)``; by default the embedded all-MiniLM-L6-v2, loaded when it is
        first needed. Must be the model's own encoder.
    model
        The model or its folder; None loads the embedded one when it is first needed.

    Raises
    ------
    ValueError
        If the model sees the adapter, which metrics never do.
    """

    name = "quality"
    direction: Direction = "higher"
    needs: tuple[str, ...] = NEEDS

    def __init__(
        self,
        encoder: TextEncoder | None = None,
        *,
        model: QualityModel | str | os.PathLike[str] | None = None,
    ) -> None:
        self._encoder = encoder or RememberingEncoder()
        self._model = _blind(model) if isinstance(model, QualityModel) else None
        self._folder = DEFAULT_QUALITY if model is None or self._model else Path(str(model))

    @property
    def model(self) -> QualityModel:
        """The model, loaded on first use."""
        if self._model is None:
            self._model = _blind(QualityModel.load(self._folder))
        return self._model

    def score(self, answers: Sequence[Answer], *, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]; `scores` holds (N,) for each name in `needs`."""
        if not answers:
            return np.zeros(0)
        return self.model.predict(self.features(answers, scores))

    def features(self, answers: Sequence[Answer], scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embed the texts and make the model's features: float32 (N, D)."""
        texts = [answer.query for answer in answers] + response_texts(answers)
        embedded = self._encoder.encode(texts)
        return self.model.features(
            answers,
            scores,
            queries=embedded[: len(answers)],
            responses=embedded[len(answers) :],
        )


def response_texts(answers: Sequence[Answer]) -> list[str]:
    """Responses as they are embedded: a blank one as a space, which every encoder takes."""
    return [answer.response if answer.response.strip() else " " for answer in answers]


def cap_void(logits: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Hold the log-odds (..., N) of responses that say nothing at -3 or below."""
    return np.where(features[:, VOID] > 0, np.minimum(logits, _VOID_LOGIT), logits)


def _blind(model: QualityModel) -> QualityModel:
    """Refuse a model that sees the adapter as a metric."""
    if model.see_adapter:
        raise ValueError(
            "model was trained with see_adapter=True, but a metric never learns who answered: "
            "train one with see_adapter=False, or call QualityModel.predict with adapters."
        )
    return model


def _check_config(config: Mapping[str, Any], *, path: Path, weights: bytes) -> None:
    """Refuse another format, other columns, or weights that are not the described ones."""
    if config["format"] != FORMAT or config["columns"] != list(COLUMNS):
        raise ValueError(
            f"{path} is of another version of the features: train it again with "
            "scripts/train_quality.py."
        )
    if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
        raise ValueError(
            f"{path.with_name(WEIGHTS_FILE)} is not the file that {path.name} describes "
            f"(truncated or edited): {_REMEDY}."
        )


def _is_replaceable(folder: Path) -> bool:
    """Whether saving over the folder destroys nothing but a saved model."""
    return folder.is_dir() and {p.name for p in folder.iterdir()} <= {WEIGHTS_FILE, CONFIG_FILE}
