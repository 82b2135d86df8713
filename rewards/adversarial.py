"""Pairs of a right answer and a tempting wrong one, and how often a score prefers the right.

**What the set flatters.** A right answer is what its adapter wrote greedily; a text made by rule is
one that this adapter did not write. Read under the same adapter it is less likely by construction,
so scores made of token signals see a difference that no wrong answer of the adapter's own would
show. Beside the share of all pairs, report that of the real pairs (both sides were written), and
that of `without_token_signals`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routing_gym.rewards.lures import has_lure
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.wrong_answers import RULES

TEXTS = ("pair_id", "rule", "made", "query_id", "domain", "task", "adapter_right", "adapter_wrong")
ASKED = {"query": pa.string(), "form": pa.string(), "form_size": pa.int32()}
MEASURED = {
    "finished": pa.bool_(),
    "prompt_tokens": pa.int32(),
    "completion_tokens": pa.int32(),
    "seconds": pa.float32(),
    "log_likelihood": pa.float64(),
    "p_true": pa.float64(),
    "token_log_probs": pa.list_(pa.float32()),
    "token_entropies": pa.list_(pa.float32()),
}
SIDES = ("right", "wrong")


@dataclass(frozen=True)
class AdversarialPair:
    """A verified right answer and a verified wrong one to the same query.

    Parameters
    ----------
    pair_id
        Unique in its set.
    rule
        Key of `routing_gym.rewards.wrong_answers.RULES`.
    made
        "real": both were generated; "rule": the wrong one was made from right ones.
    query_id, domain, task
        As in the outcome table.
    adapter_right, adapter_wrong
        Under whose weights the token signals were read: who answered, or, for a text that nobody
        generated, who gave the right answer.
    right_answer, wrong_answer
        The answers with their measurements; metrics see nothing else of the pair.

    Raises
    ------
    ValueError
        If the rule is unknown, the queries differ, or the answers are the same.
    """

    pair_id: str
    rule: str
    made: Literal["real", "rule"]
    query_id: str
    domain: str
    task: str
    adapter_right: str
    adapter_wrong: str
    right_answer: Answer
    wrong_answer: Answer

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} of {self.pair_id!r}: use one of {list(RULES)}.")
        if self.right_answer.query != self.wrong_answer.query:
            raise ValueError(f"pair {self.pair_id!r} has two queries: give answers to the same.")
        if self.right == self.wrong:
            raise ValueError(f"pair {self.pair_id!r} has the same text twice: drop it.")

    @property
    def right(self) -> str:
        """The right answer's text."""
        return self.right_answer.response

    @property
    def wrong(self) -> str:
        """The wrong answer's text."""
        return self.wrong_answer.response

    @property
    def likelier(self) -> bool | None:
        """Whether the base model finds the wrong answer the likelier; None if not measured."""
        right, wrong = self.right_answer.log_likelihood, self.wrong_answer.log_likelihood
        return None if right is None or wrong is None else wrong > right

    @property
    def tempts(self) -> bool:
        """Whether the wrong answer has the lure that its rule promises."""
        if RULES[self.rule].lure == "fluent":
            return bool(self.likelier)
        asked = {"query": self.right_answer.query, "form": self.right_answer.form}
        return has_lure(RULES[self.rule].lure, **asked, right=self.right, wrong=self.wrong)


def preference(
    pairs: Sequence[AdversarialPair], scores_right: np.ndarray, scores_wrong: np.ndarray
) -> dict[str, np.ndarray]:
    """Compare the scores of right and wrong answers.

    Parameters
    ----------
    pairs
        N pairs.
    scores_right, scores_wrong
        (N,), higher is better.

    Returns
    -------
    dict[str, ndarray]
        Under "overall" and under each rule's name: float64, 1 where the right answer is preferred,
        0.5 for a tie, 0 where the wrong one is; the mean is the share, resample it for an interval.

    Raises
    ------
    ValueError
        If the scores are not (N,) or not finite.
    """
    right, wrong = (np.asarray(s, dtype=np.float64) for s in (scores_right, scores_wrong))
    for name, values in (("scores_right", right), ("scores_wrong", wrong)):
        if values.shape != (len(pairs),) or not np.isfinite(values).all():
            raise ValueError(f"{name} has shape {values.shape}: give ({len(pairs)},) finite ones.")
    hits = (right > wrong) + 0.5 * (right == wrong)
    rules = np.array([pair.rule for pair in pairs], dtype=object)
    return {"overall": hits} | {rule: hits[rules == rule] for rule in dict.fromkeys(rules)}


def without_token_signals(pairs: Sequence[AdversarialPair]) -> list[AdversarialPair]:
    """Copy pairs, leaving out the token signals that give a text made by rule away."""
    unread: dict[str, Any] = {"token_log_probs": None, "token_entropies": None}
    return [
        dataclasses.replace(
            pair,
            right_answer=dataclasses.replace(pair.right_answer, **unread),
            wrong_answer=dataclasses.replace(pair.wrong_answer, **unread),
        )
        for pair in pairs
    ]


def write_pairs(
    pairs: Sequence[AdversarialPair],
    path: str | os.PathLike[str],
    *,
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write pairs to a parquet file, one row each, whole or not at all.

    Parameters
    ----------
    pairs
        The pairs; a row holds every field, the measurements as ``<field>_right`` and
        ``<field>_wrong``.
    path
        The file; its folder is made.
    provenance
        What to record in the file's metadata.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([_row(pair) for pair in pairs], schema=_schema())
    unfinished = target.with_name(target.name + ".part")
    pq.write_table(table.replace_schema_metadata(dict(provenance or {})), unfinished)
    os.replace(unfinished, target)


def read_pairs(path: str | os.PathLike[str]) -> list[AdversarialPair]:
    """Read pairs with all that was measured of their answers.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If it lacks a column, or a row is no pair.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: make it with scripts/make_adversarial.py.")
    table = pq.read_table(path)
    missing = [name for name in _schema().names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}: make it again.")
    return [_pair(row) for row in table.to_pylist()]


def _schema() -> pa.Schema:
    """Columns of the file."""
    columns = [(name, pa.string()) for name in (*TEXTS, *SIDES)]
    columns += ASKED.items()
    columns += [(f"{name}_{side}", dtype) for side in SIDES for name, dtype in MEASURED.items()]
    return pa.schema(columns)


def _row(pair: AdversarialPair) -> dict[str, Any]:
    """Flatten a pair."""
    row = {name: getattr(pair, name) for name in TEXTS}
    row |= {name: getattr(pair.right_answer, name) for name in ASKED}
    for side, answer in zip(SIDES, (pair.right_answer, pair.wrong_answer), strict=True):
        row[side] = answer.response
        row |= {f"{name}_{side}": getattr(answer, name) for name in MEASURED}
    return row


def _pair(row: Mapping[str, Any]) -> AdversarialPair:
    """Rebuild a pair."""
    asked = {name: row[name] for name in ASKED}
    right, wrong = (
        Answer(response=row[side], **asked, **{n: row[f"{n}_{side}"] for n in MEASURED})
        for side in SIDES
    )
    own = {name: row[name] for name in TEXTS}
    return AdversarialPair(**own, right_answer=right, wrong_answer=wrong)
