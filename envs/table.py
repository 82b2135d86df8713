"""Every adapter's scored answer to every query: what environments and agents are made from."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES, TableColumns
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table_checks import check_pool, check_table
from routing_gym.envs.table_io import read_table, write_table
from routing_gym.envs.tidy import read_tidy
from routing_gym.rewards.reward import DEFAULT_REWARD, RewardFunction

DEFAULT_TABLE = Path(__file__).resolve().parents[1] / "results" / "table"


def as_reward(reward: RewardFunction | Mapping[str, float] | None) -> RewardFunction:
    """Turn weights into a reward function; ``None`` is the project's default reward."""
    if reward is None:
        return DEFAULT_REWARD
    return reward if isinstance(reward, RewardFunction) else RewardFunction(reward)


@dataclass(frozen=True, eq=False)
class OutcomeTable(TableColumns):
    """The outcomes of N queries under K adapters, verified when made.

    The table holds scores and costs, never rewards: ``data`` prices them, so that a new weighting
    of the metrics needs no generation. All arrays are read-only; two tables are the same if their
    ``fingerprint`` is.

    Parameters
    ----------
    **columns
        See `routing_gym.envs.columns.TableColumns`.

    Raises
    ------
    TableError
        If anything does not fit; the message names the file, the row or cell, and the remedy.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_table(self)

    def __len__(self) -> int:
        return len(self.query_id)

    def __repr__(self) -> str:
        counts = {name: int((self.split == name).sum()) for name in self.splits}
        return f"OutcomeTable({len(self)} queries {counts}, adapters={self.adapters})"

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the position is the action id."""
        return self.manifest.adapter_names

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold queries, in the order of train, validation, test."""
        order = ("train", "validation", "test")
        return tuple(name for name in order if (self.split == name).any())

    @property
    def directions(self) -> dict[str, Literal["higher", "lower"]]:
        """Score name -> whether higher or lower is better."""
        return {name: record.direction for name, record in self.manifest.metrics.items()}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the content: the same before and after saving, whoever wrote the files."""
        digest = hashlib.sha256()
        records = (self.manifest.adapters, sorted(self.manifest.metrics.items()))
        digest.update(repr((*records, self.manifest.pool_fingerprint)).encode())
        arrays = {name: getattr(self, name) for name in (*QUERY_DTYPES, *OUTCOME_DTYPES)}
        arrays |= {f"score {name}": self.scores[name] for name in sorted(self.scores)}
        for name, values in (arrays | {"embeddings": self.embeddings}).items():
            digest.update(f"\n{name} {values.shape}\n".encode())
            if values.dtype == object:
                digest.update("\x00".join(values.ravel().tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def subset(self, rows: np.ndarray) -> OutcomeTable:
        """Keep some queries.

        Parameters
        ----------
        rows
            bool (N,) mask or int (n,) row numbers.

        Raises
        ------
        TableError
            If no query, or one query twice, would remain.
        """
        kept = {
            name: getattr(self, name)[rows]
            for name in (*QUERY_DTYPES, *OUTCOME_DTYPES, "embeddings")
        }
        scores = {name: values[rows] for name, values in self.scores.items()}
        manifest = dataclasses.replace(self.manifest, files={})
        return OutcomeTable(scores=scores, manifest=manifest, **kept)

    def where(self, **columns: str | int | Sequence[str | int]) -> OutcomeTable:
        """Keep the queries whose columns have the given value, or one of the given values.

        Examples
        --------
        ``table.where(split="test", domain=("code", "analysis"))``

        Raises
        ------
        ValueError
            If a column is unknown, or no query matches.
        """
        mask = np.ones(len(self), dtype=np.bool_)
        for name, wanted in columns.items():
            if name not in QUERY_DTYPES:
                raise ValueError(f"unknown column {name!r}: known are {', '.join(QUERY_DTYPES)}.")
            values = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
            mask &= np.isin(getattr(self, name), np.array(values, dtype=QUERY_DTYPES[name]))
        if not mask.any():
            raise ValueError(f"no query has {columns}: ask for values that the table holds.")
        return self.subset(mask)

    def data(
        self, split: str, reward: RewardFunction | Mapping[str, float] | None = None
    ) -> RoutingData:
        """Price one split: the arrays that agents learn from.

        Parameters
        ----------
        split
            ``"train"``, ``"validation"`` or ``"test"``.
        reward
            The reward function, or its weights by score name; ``None`` is the default reward.

        Returns
        -------
        RoutingData
            Fresh, writable copies of the split's n rows.

        Raises
        ------
        ValueError
            If the split holds no query, or the reward weighs a score that the table lacks.
        """
        if split not in self.splits:
            raise ValueError(f"split={split!r} holds no query: choose one of {self.splits}.")
        rows = np.flatnonzero(self.split == split)
        scores = {name: values[rows] for name, values in self.scores.items()}
        rewards = as_reward(reward)(scores, self.directions)  # (n, K)
        unknown = self.manifest.generation.get("not_measured", ())
        costs = {
            name: getattr(self, name)[rows].astype(np.float32)
            for name in ("prompt_tokens", "completion_tokens", "seconds")
            if name not in unknown
        }
        return RoutingData(
            adapters=self.adapters,
            observations=self.embeddings[rows],
            rewards=rewards.astype(np.float32),
            accuracy=scores["accuracy"].copy(),
            query_ids=self.query_id[rows].astype(np.str_),
            tasks=self.task[rows].astype(np.str_),
            domains=self.domain[rows].astype(np.str_),
            complexity=self.complexity[rows],
            scores=scores,
            costs=costs,
        )

    def check_pool(self, names: Sequence[str], fingerprint: str) -> None:
        """Refuse a pool of adapters that is not the one that produced this table.

        Parameters
        ----------
        names
            The pool's adapter names in the order of their action ids.
        fingerprint
            The pool's fingerprint.

        Raises
        ------
        TableError
            If names, their order or the fingerprint differ.
        """
        check_pool(self.manifest, names, fingerprint)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        embedding_dtype: Literal["float32", "float16"] = "float32",
    ) -> OutcomeTable:
        """Write the table to a folder, whole or not at all.

        Parameters
        ----------
        folder
            Where to; it must not exist, or be a table if ``overwrite``.
        overwrite
            Replace the table that is there.
        embedding_dtype
            float16 halves the embeddings' file and rounds them; float32 keeps every bit.

        Returns
        -------
        OutcomeTable
            The table as it now loads, with the files' hashes in its manifest.

        Raises
        ------
        TableError
            If the folder exists and may not be replaced.
        """
        write_table(self, Path(folder), overwrite=overwrite, embedding_dtype=embedding_dtype)
        return self.load(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> OutcomeTable:
        """Read a table and verify it: hashes, shapes, cells, keys, ranges, splits.

        Raises
        ------
        TableError
            If anything is wrong; the message names the file, the row and the remedy.
        """
        return cls(**_fields(read_table(Path(folder))))

    @classmethod
    def from_tidy(
        cls,
        source: Any,
        *,
        embeddings: np.ndarray | Callable[[Sequence[str]], np.ndarray] | None = None,
        encoder: str = "",
        score_range: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> OutcomeTable:
        """Read what the field publishes; see `routing_gym.envs.tidy.read_tidy` for every detail.

        Parameters
        ----------
        source
            A data frame or a path (.parquet or .csv) with the columns
            ``query_id, query, arm, score[, cost, task, split]``, one row per query and arm.
        embeddings
            float (N, D) in the order of first appearance of the query ids, or a function from
            the texts to it; ``None`` hashes words, which needs no model.
        encoder
            The name to record for ``embeddings``.
        score_range
            Lowest and highest possible score, if not [0, 1]; the scores are scaled by it.
        seed
            Decides which query falls in which split, where the source does not say.
        """
        columns = read_tidy(
            source, embeddings=embeddings, encoder=encoder, score_range=score_range, seed=seed
        )
        return cls(**_fields(columns))


def _fields(columns: TableColumns) -> dict[str, Any]:
    """List a record's fields by name, without copying arrays."""
    return {spec.name: getattr(columns, spec.name) for spec in dataclasses.fields(TableColumns)}
