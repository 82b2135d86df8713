"""What the quality model sees of an answer: cheap scores, text statistics and embeddings.

Everything comes from an `Answer`, the scores of the metrics in `NEEDS` and the embeddings of query
and response, so that a live answer and a row of an outcome table give the same features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.rewards.coherence import repetition_free_share
from routing_gym.rewards.forms import FORMS
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.text import copied_share, words

SIGNALS = ("consistency", "certainty", "weakest_token")
NEEDS = ("relevance", "completeness", "factuality", "safety", "tokens", *SIGNALS)
"""The metrics that are read; none of them needs another pass of a language model."""

_SIZES = ("finished", "form_size", "log_characters", "log_words")
_TEXT = (*_SIZES, "distinct", "copied", "grounded", "log_query_words")
_MEASURES = (*SIGNALS, *(f"root_surprise_{name}" for name in SIGNALS))
_FORMS = tuple(f"form_{name}" for name in FORMS)

COLUMNS: tuple[str, ...] = (
    *(name for name in NEEDS if name not in SIGNALS),
    *_TEXT,
    *_FORMS,
    *_MEASURES,
)
"""The C scalars of an answer, in their order; see `read_columns`."""

RECORDED, VOID = len(COLUMNS), len(COLUMNS) + 1

_UNMEASURED = 0.5  # what certainty and weakest_token score without token signals
_FLOOR = 1e-30  # of a probability: what float32 columns still hold
_ECHO = 0.6  # copied share from which completeness and factuality score 0
_CLIP = 6.0  # standard deviations


@dataclass(frozen=True, eq=False)
class QualityInputs:
    """Answers as arrays, before standardisation.

    Parameters
    ----------
    columns
        float32 (N, C), from `read_columns`; NaN where nothing was measured.
    queries, responses
        float32 (N, E), embeddings of the texts, from one encoder.
    void
        bool (N,), from `is_void`.
    adapters
        str (N,), who answered; only for a model that may see it.

    Raises
    ------
    ValueError
        If a shape does not fit.
    """

    columns: np.ndarray
    queries: np.ndarray
    responses: np.ndarray
    void: np.ndarray
    adapters: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.void)
        if self.columns.shape != (count, len(COLUMNS)):
            raise ValueError(
                f"columns has shape {self.columns.shape}, not (N, C) = {(count, len(COLUMNS))}: "
                "make it with read_columns."
            )
        for name in ("queries", "responses"):
            shape = getattr(self, name).shape
            if len(shape) != 2 or shape != (count, self.queries.shape[1]):
                raise ValueError(
                    f"{name} has shape {shape}, not (N, E) with N = {count}: give one embedding "
                    "per answer, all from one encoder."
                )
        if self.adapters is not None and len(self.adapters) != count:
            raise ValueError(f"adapters has {len(self.adapters)} names, not N = {count}.")

    def __len__(self) -> int:
        return len(self.void)

    def rows(self, chosen: np.ndarray) -> QualityInputs:
        """Keep some answers: bool (N,) mask or row numbers."""
        return QualityInputs(
            columns=self.columns[chosen],
            queries=self.queries[chosen],
            responses=self.responses[chosen],
            void=self.void[chosen],
            adapters=None if self.adapters is None else self.adapters[chosen],
        )


def read_inputs(
    answers: Sequence[Answer],
    scores: Mapping[str, np.ndarray],
    *,
    queries: np.ndarray,
    responses: np.ndarray,
    adapters: Sequence[str] | None = None,
) -> QualityInputs:
    """Gather what the quality model sees of answers.

    Parameters
    ----------
    answers
        N answers.
    scores
        By name, float (N,) in [0, 1], of every metric in `NEEDS`.
    queries, responses
        float (N, E), embeddings; those of blank responses are not read.
    adapters
        N names; only for a model that may see them.

    Raises
    ------
    ValueError
        If a score is missing or a shape does not fit.
    """
    return QualityInputs(
        columns=read_columns(answers, scores),
        queries=np.asarray(queries, dtype=np.float32),
        responses=np.asarray(responses, dtype=np.float32),
        void=np.array([is_void(answer) for answer in answers], dtype=bool),
        adapters=None if adapters is None else np.array(adapters, dtype=np.str_),
    )


def read_columns(answers: Sequence[Answer], scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute the scalar features.

    The scores of `NEEDS`, of which those from token signals come twice, as p and as
    ``sqrt(-ln p)``, which spreads what is near 1; whether the answer ended, the asked size, lengths
    as ``ln(1 + n)``, the share of the text that repeats nothing, the share of the query that it
    copies, the share of its words that the query holds, and the asked form one-hot.

    Parameters
    ----------
    answers
        N answers.
    scores
        By name, float (N,) in [0, 1], of every metric in `NEEDS`.

    Returns
    -------
    ndarray
        float32 (N, C) in the order of `COLUMNS`; NaN for token signals that were not recorded
        (certainty and weakest token are both exactly 0.5) and for an unknown form.

    Raises
    ------
    ValueError
        If a score is missing or has another shape.
    """
    taken = {name: _score(name, scores, len(answers)) for name in NEEDS}
    measured = (taken["certainty"] != _UNMEASURED) | (taken["weakest_token"] != _UNMEASURED)
    signals = np.stack([taken[name] for name in SIGNALS], axis=1)
    surprise = np.sqrt(-np.log(np.maximum(signals, _FLOOR)))
    plain = [taken[name] for name in NEEDS if name not in SIGNALS]
    texts = np.array([_text_columns(a) for a in answers]).reshape(-1, len(_TEXT) + len(_FORMS))
    known = np.where(measured[:, None], np.hstack([signals, surprise]), np.nan)
    return np.hstack([np.stack(plain, axis=1), texts, known]).astype(np.float32)


def is_void(answer: Answer) -> bool:
    """Tell whether a response says nothing of its own: no word, or an echo of the query."""
    return not words(answer.response) or copied_share(answer.query, answer.response) >= _ECHO


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Standardises inputs: what was learned of the features' distribution, without labels.

    The features are the standardised columns (`COLUMNS`), a flag for recorded token signals (at
    `RECORDED`), one for responses that say nothing (at `VOID`), the principal components of the
    query's and of the response's embedding, each of unit variance, and, if the model may see it,
    the adapter one-hot. A value that is missing is 0, the mean; a column that did not vary is held
    at 0, since nothing was learned of it.

    Parameters
    ----------
    center, factor
        float32 (C,): mean and 1 / standard deviation, 0 for a column that did not vary.
    query_center, response_center
        float32 (E,).
    query_axes, response_axes
        float32 (E, Q) and (E, R): principal axes over their standard deviation.
    adapters
        Names in the order of the one-hot; empty if the model is blind to them.
    """

    center: np.ndarray
    factor: np.ndarray
    query_center: np.ndarray
    query_axes: np.ndarray
    response_center: np.ndarray
    response_axes: np.ndarray
    adapters: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, inputs: QualityInputs, *, query_axes: int, response_axes: int, see_adapter: bool
    ) -> FeatureMap:
        """Learn means, deviations and principal axes.

        Parameters
        ----------
        inputs
            N answers, at least 2.
        query_axes, response_axes
            Q and R, at most E.
        see_adapter
            Whether the features name the adapter.

        Raises
        ------
        ValueError
            If the adapter is to be seen but not given.
        """
        seen = inputs.adapters if see_adapter else np.zeros(0, dtype=np.str_)
        if seen is None:
            raise ValueError("see_adapter=True needs the inputs' adapters: give N names.")
        center, factor = _moments(inputs.columns)
        return cls(
            center,
            factor,
            *_principal_axes(inputs.queries, query_axes),
            *_principal_axes(inputs.responses, response_axes),
            adapters=tuple(np.unique(seen).tolist()),
        )

    def apply(self, inputs: QualityInputs) -> np.ndarray:
        """Make features: float32 (N, D), finite.

        Raises
        ------
        ValueError
            If the embeddings have another width, or adapters are needed and missing or unknown.
        """
        width = len(self.query_center)
        if inputs.queries.shape[1] != width:
            raise ValueError(
                f"embeddings have width {inputs.queries.shape[1]}, not {width}: use the encoder "
                "that the quality model was trained with."
            )
        standard = (inputs.columns - self.center) * self.factor
        recorded = ~np.isnan(inputs.columns[:, _positions(_MEASURES)]).any(axis=1, keepdims=True)
        parts = [
            np.nan_to_num(standard).clip(-_CLIP, _CLIP),
            recorded,
            inputs.void[:, None],
            ((inputs.queries - self.query_center) @ self.query_axes).clip(-_CLIP, _CLIP),
            ((inputs.responses - self.response_center) @ self.response_axes).clip(-_CLIP, _CLIP),
        ]
        if self.adapters:
            parts.append(self._one_hot(inputs.adapters))
        return np.hstack(parts).astype(np.float32)

    @property
    def num_features(self) -> int:
        """D, the width of the features."""
        axes = self.query_axes.shape[1] + self.response_axes.shape[1]
        return len(COLUMNS) + 2 + axes + len(self.adapters)

    @property
    def optional(self) -> tuple[np.ndarray, ...]:
        """Positions of the features that are 0 together: token signals (with flag), and form."""
        return (np.append(_positions(_MEASURES), RECORDED), _positions(_FORMS))

    def _one_hot(self, adapters: np.ndarray | None) -> np.ndarray:
        """Encode who answered, (N, adapters)."""
        if adapters is None or not np.isin(adapters, self.adapters).all():
            raise ValueError(
                f"this quality model sees the adapter: give one of {', '.join(self.adapters)} "
                "per answer."
            )
        return adapters[:, None] == np.array(self.adapters)


def _score(name: str, scores: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Scores of one needed metric, float32 as in a table, so that both give the same features."""
    if name not in scores:
        raise ValueError(
            f"scores lack {name!r}, which the quality model reads: score the answers (or the "
            "table, with scripts/score_table.py) on every metric it needs."
        )
    values = np.asarray(scores[name], dtype=np.float32)
    if values.shape != (count,):
        raise ValueError(f"scores[{name!r}] has shape {values.shape}, not (N,) = ({count},).")
    return values


def _text_columns(answer: Answer) -> list[float]:
    """Compute the columns that the texts and the asked form give."""
    given, asked = words(answer.response), words(answer.query)
    known = set(asked)
    return [
        float(answer.finished),
        min(answer.form_size, 10) / 5,
        float(np.log1p(len(answer.response))),
        float(np.log1p(len(given))),
        repetition_free_share(answer.response),
        copied_share(answer.query, answer.response),
        sum(word in known for word in given) / max(len(given), 1),
        float(np.log1p(len(asked))),
        *(float(answer.form == form) if answer.form in FORMS else np.nan for form in FORMS),
    ]


def _moments(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / deviation of each column over what is there."""
    there = ~np.isnan(columns)
    count = np.maximum(there.sum(axis=0), 1)
    center = np.where(there, columns, 0).sum(axis=0, dtype=np.float64) / count
    squares = np.where(there, columns - center, 0) ** 2
    deviation = np.sqrt(squares.sum(axis=0, dtype=np.float64) / count)
    factor = np.where(deviation > 1e-4, 1 / np.maximum(deviation, 1e-4), 0.0)
    return center.astype(np.float32), factor.astype(np.float32)


def _principal_axes(embeddings: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (E,) and leading axes (E, number) over their deviation, signs fixed."""
    values = embeddings.astype(np.float64)
    center = values.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(values - center, rowvar=False))
    axes, variance = axes[:, ::-1][:, :number], variance[::-1][:number]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    scaled = axes * signs / np.sqrt(np.maximum(variance, 1e-8))
    return center.astype(np.float32), scaled.astype(np.float32)


def _positions(names: Sequence[str]) -> np.ndarray:
    """Where named columns stand."""
    return np.array([COLUMNS.index(name) for name in names])
