"""The columns of an outcome table, typed and read-only, before anything is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.envs.manifest import Manifest

QUERY_DTYPES: dict[str, Any] = {
    "query_id": object,
    "text": object,
    "domain": object,
    "task": object,
    "complexity": np.int64,
    "split": object,
    "form": object,
    "form_size": np.int64,
    "reference": object,
}
OUTCOME_DTYPES: dict[str, Any] = {
    "prompt_tokens": np.int32,
    "completion_tokens": np.int32,
    "seconds": np.float32,
    "finished": np.bool_,
    "responses": object,
}


@dataclass(frozen=True, eq=False)
class TableColumns:
    """N queries, K adapters, and every outcome, cast to the table's dtypes and made read-only.

    Parameters
    ----------
    query_id, text, domain, task, split, form, reference
        str arrays (N,): the unique id, what is asked, where it comes from, ``train``,
        ``validation`` or ``test``, the form of answer asked for, and the verifier's JSON.
    complexity, form_size
        int64 (N,): level 1 to 3 (0 = unknown), and the asked count of items or words (0 = free).
    scores
        Score name -> float32 (N, K) in the range that the manifest states; ``accuracy`` is the
        verified correctness, and no self-evaluated score may be computed from it.
    prompt_tokens, completion_tokens
        int32 (N, K), at least 0.
    seconds
        float32 (N, K), seconds per answer, at least 0.
    finished
        bool (N, K), whether the answer ended before the limit of tokens.
    responses
        str array (N, K), the answers.
    embeddings
        float32 (N, D), the encoder's embedding of each text.
    manifest
        Adapters (position = action id), the scores' meaning, and provenance.
    """

    query_id: np.ndarray
    text: np.ndarray
    domain: np.ndarray
    task: np.ndarray
    complexity: np.ndarray
    split: np.ndarray
    form: np.ndarray
    form_size: np.ndarray
    reference: np.ndarray
    scores: Mapping[str, np.ndarray]
    prompt_tokens: np.ndarray
    completion_tokens: np.ndarray
    seconds: np.ndarray
    finished: np.ndarray
    responses: np.ndarray
    embeddings: np.ndarray
    manifest: Manifest

    def __post_init__(self) -> None:
        for name, dtype in (QUERY_DTYPES | OUTCOME_DTYPES | {"embeddings": np.float32}).items():
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        scores = {name: _frozen(values, np.float32) for name, values in self.scores.items()}
        object.__setattr__(self, "scores", scores)


def _frozen(values: np.ndarray, dtype: Any) -> np.ndarray:
    """View values as a read-only array of a dtype, leaving the caller's array as it is."""
    array = np.asarray(values)
    if array.dtype != dtype:
        array = array.astype(dtype)
    array = array.view()
    array.flags.writeable = False
    return array
