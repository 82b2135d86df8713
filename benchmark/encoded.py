"""A table's splits as agents see them through other encoders than the table's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from routing_gym.adapters.embedding import JOINT, make_encoder
from routing_gym.benchmark.runs import Splits
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table import OutcomeTable

STORED = "table"
"""The name of the embeddings that the table holds, as a part of a joined encoder."""


def encode_splits(
    table: OutcomeTable,
    splits: Mapping[str, Splits],
    *,
    encoder: str,
    cache: Path | str | None = None,
) -> dict[str, Splits]:
    """Put other observations into priced splits.

    Encoders that learn (TF-IDF) learn from the train split's texts alone.

    Parameters
    ----------
    table
        Whose texts are encoded.
    splits
        Reward's name -> the table under that reward.
    encoder
        See `routing_gym.adapters.embedding.make_encoder`; parts are joined by "+", and the part
        ``"table"`` stands for the embeddings that the table holds.
    cache
        Folder that keeps sentence embeddings between runs; None keeps nothing.

    Returns
    -------
    dict
        Reward's name -> splits with observations float32 (n, D) and the widths of the parts.

    Raises
    ------
    ValueError
        If a part's name is unknown.
    """
    train = [str(text) for text in table.text[table.split == "train"]]
    blocks = []
    for name in encoder.split(JOINT):
        if name == STORED:
            blocks.append(np.asarray(table.embeddings, dtype=np.float32))
            continue
        part = make_encoder(name, cache=cache)
        part.fit(train)
        blocks.append(part.encode([str(text) for text in table.text]))
    joined = np.concatenate(blocks, axis=1)
    seen = {name: joined[table.split == name] for name in ("train", "validation", "test")}
    widths = tuple(block.shape[1] for block in blocks)
    return {
        reward: Splits(
            train=_seen(data.train, seen["train"]),
            validation=_seen(data.validation, seen["validation"]),
            test=_seen(data.test, seen["test"]),
            blocks=widths if len(widths) > 1 else (),
        )
        for reward, data in splits.items()
    }


def _seen(data: RoutingData, observations: np.ndarray) -> RoutingData:
    """Return a split with other observations."""
    return replace(data, observations=observations)
