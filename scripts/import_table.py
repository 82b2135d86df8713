"""Turn a published table of outcomes into an outcome table, checked and embedded.

Layouts: "tidy" (a .csv or .parquet with query_id, query, arm, score and, if known, cost, task,
split), and those of RouteLLM, RouterBench and LLMRouter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routing_gym.adapters.base_model import cache_folder
from routing_gym.adapters.embedding import JoinedEncoder, make_encoder
from routing_gym.adapters.tfidf import TfidfEncoder
from routing_gym.envs.errors import TableError
from routing_gym.envs.layouts import LAYOUTS, read_layout
from routing_gym.envs.table import OutcomeTable
from routing_gym.envs.tidy import DROPPED_SPLIT
from routing_gym.queries.splits import SPLITS, assign_split, normalise
from routing_gym.scripts.command import run_command

DUPLICATES = ("refuse", "keep", "drop")


@dataclass(frozen=True)
class ImportConfig:
    """Settings of the import.

    Parameters
    ----------
    input
        The published file, or the folder of the layouts that have several.
    output
        Folder of the new table.
    layout
        tidy, routellm, routerbench or llmrouter, or "package.module:function" of outside code.
    encoder
        minilm, tfidf (fitted to the train split), surface, a sentence-transformers id or a folder;
        several joined by "+".
    arms
        The arms to keep, each of which must be there; empty keeps all.
    score_range
        Lowest and highest possible score where it is not 0 to 1; empty takes those that occur.
    duplicates
        What to do with different queries whose texts are equal when normalised: refuse the table,
        keep them (in one split), or drop all but the first.
    validation_share
        Share of the given train split that becomes validation where the source has none; 0 leaves
        it as it is.
    seed
        Of the splits.
    cache
        Folder of the embeddings; "" is ``$ROUTING_GYM_CACHE`` or ``~/.cache/routing-gym``.
    overwrite
        Whether a table that is there is replaced.
    """

    input: Path
    output: Path
    layout: str = "tidy"
    encoder: str = "minilm"
    arms: list[str] | None = None
    score_range: list[float] | None = None
    duplicates: str = "refuse"
    validation_share: float = 0.2
    seed: int = 0
    cache: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS and ":" not in self.layout:
            raise ValueError(f"layout={self.layout!r} is unknown: choose of {', '.join(LAYOUTS)}.")
        if self.duplicates not in DUPLICATES:
            raise ValueError(
                f"duplicates={self.duplicates!r} is unknown: choose of {', '.join(DUPLICATES)}."
            )
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must be in [0, 1).")
        if self.score_range and len(self.score_range) != 2:
            raise ValueError(f"score_range={self.score_range} must be the lowest and the highest.")


def import_table(config: ImportConfig) -> None:
    """Read, check, embed and save; print what the table holds."""
    lines = _without_contaminated(read_layout(config.input, config.layout))
    lines = select_arms(lines, config.arms or [])
    lines = settle_duplicates(lines, config.duplicates)
    lines = add_validation(lines, share=config.validation_share, seed=config.seed)
    encoder: Any = make_encoder(config.encoder, cache=config.cache or cache_folder())
    ends = config.score_range
    table = OutcomeTable.from_tidy(
        lines,
        embeddings=encoder,
        score_range=(ends[0], ends[1]) if ends else None,
        seed=config.seed,
    )
    table.save(config.output, overwrite=config.overwrite)
    counts = ", ".join(f"{(table.split == name).sum()} {name}" for name in table.splits)
    print(f"{len(table)} queries ({counts}) x {len(table.adapters)} arms: {config.output}")
    print(f"embeddings: {table.embeddings.shape[1]} features of {table.manifest.encoder}")
    if "score_range" in table.manifest.generation:
        low, high = table.manifest.generation["score_range"]
        print(f"scores span {low:g} to {high:g} and were scaled to [0, 1]")
    for part in encoder.parts if isinstance(encoder, JoinedEncoder) else (encoder,):
        if isinstance(part, TfidfEncoder):
            folder = config.output.with_name(f"{config.output.name}-tfidf")
            part.save(folder)
            print(f"the fitted encoder, for new queries: {folder}")
    for arm, mean in zip(table.adapters, table.scores["accuracy"].mean(axis=0), strict=True):
        print(f"  {arm}: mean score {mean:.3f}")


def select_arms(lines: pa.Table, arms: Sequence[str]) -> pa.Table:
    """Keep the rows of some arms; all if none is named.

    Raises
    ------
    TableError
        If an arm does not occur.
    """
    if not arms or "arm" not in lines.column_names:
        return lines
    known = sorted({str(arm) for arm in lines["arm"].to_pylist()})
    for arm in arms:
        if arm not in known:
            raise TableError("column arm", f"lacks {arm!r}", f"choose of {', '.join(known)}")
    return lines.filter(pa.array([arm in arms for arm in lines["arm"].to_pylist()]))


def settle_duplicates(lines: pa.Table, how: str) -> pa.Table:
    """Find queries of different ids whose normalised texts are equal, and refuse or drop them.

    Raises
    ------
    TableError
        If there are any and `how` is "refuse", or some lie in different splits and `how` is "keep".
    """
    names = set(lines.column_names)
    if not {"query_id", "query"} <= names:
        return lines  # what is missing is refused with the other columns
    ids, texts = lines["query_id"].to_pylist(), lines["query"].to_pylist()
    first: dict[str, str] = {}
    again: dict[str, str] = {}
    for query_id, text in dict(zip(ids, texts, strict=True)).items():
        known = first.setdefault(normalise(str(text)), query_id)
        if known != query_id:
            again[query_id] = known
    splits = dict(zip(ids, lines["split"].to_pylist(), strict=True)) if "split" in names else {}
    for query_id, known in again.items():
        pair = {splits.get(query_id), splits.get(known)}
        if len(pair) > 1 and pair <= set(SPLITS) and how != "drop":
            raise TableError(
                f"query {query_id!r}",
                f"leaks: it lies in split {splits[query_id]!r} and has the text of query {known!r} "
                f"in {splits[known]!r} when normalised",
                "move both to one split or pass --duplicates drop",
            )
    if how == "keep":
        return lines
    if again and how == "refuse":
        query_id, known = next(iter(again.items()))
        raise TableError(
            f"query {query_id!r}",
            f"has the text of query {known!r} when normalised ({len(again)} such queries)",
            "pass --duplicates keep (they stay in one split) or --duplicates drop",
        )
    return lines.filter(pa.array([query_id not in again for query_id in ids]))


def add_validation(lines: pa.Table, *, share: float, seed: int) -> pa.Table:
    """Take a share of a given train split for validation, if the source has no validation split.

    Whole texts move, chosen by a hash of their normalised form.
    """
    splits = set(lines["split"].to_pylist()) if "split" in lines.column_names else set()
    if "train" not in splits or "validation" in splits or not share:
        return lines
    moved = [
        "validation"
        if split == "train"
        and assign_split(str(text), seed=seed, shares=(1 - share, share, 0.0)) != "train"
        else split
        for split, text in zip(lines["split"].to_pylist(), lines["query"].to_pylist(), strict=True)
    ]
    return lines.set_column(lines.column_names.index("split"), "split", pa.array(moved))


def _without_contaminated(lines: pa.Table) -> pa.Table:
    """Leave out rows that the publisher marked, before texts are compared."""
    if "split" not in lines.column_names:
        return lines
    kept = np.array([split != DROPPED_SPLIT for split in lines["split"].to_pylist()])
    return lines.filter(pa.array(kept)) if kept.any() else lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        ImportConfig,
        import_table,
        description=__doc__,
        default_config="configs/import_table.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
