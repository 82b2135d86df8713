"""README.md of an outcome table, as the Hugging Face hub and its library of data sets expect it."""

from __future__ import annotations

from routing_gym.adapters.pool_card import HUB_IDS, front_matter
from routing_gym.envs.table import OutcomeTable
from routing_gym.envs.table_checks import EMBEDDINGS, OUTCOMES, QUERIES

SPLIT = "full"
"""The one split of the data set: the queries' own splits are a column."""
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "n>100M")
_TEXT = """
# Outcome table

What each of {adapters} adapters{base} answered to each of {queries} queries ({counts}), and how
the answers were scored. `{outcomes}` has one row per query and adapter, `{questions}` one per
query; the split that a query belongs to is a column, which whoever trains has to respect.
`{embeddings}` holds the queries' embeddings ({encoder}) in the order of `{questions}`, and
`manifest.json` the meaning of every score and the hash of every file. Fingerprint `{fingerprint}`.

| action | adapter | mean verified accuracy |
|---|---|---|
{rows}

```python
from datasets import load_dataset

outcomes = load_dataset("<this repository>", "outcomes", split="{split}")
```
"""


def table_card(table: OutcomeTable, *, licence: str) -> str:
    """Write the card of a table.

    Parameters
    ----------
    table
        The table.
    licence
        Of the table, as the hub names it.
    """
    base = HUB_IDS.get(table.manifest.base_model, table.manifest.base_model)
    means = table.scores["accuracy"].mean(axis=0)  # (K,)
    rows = [
        f"| {position} | {name} | {mean:.3f} |"
        for position, (name, mean) in enumerate(zip(table.adapters, means, strict=True))
    ]
    return _matter(table, licence) + _TEXT.format(
        adapters=len(table.adapters),
        base=f" of `{base}`" if base else "",
        queries=len(table),
        counts=", ".join(f"{(table.split == name).sum()} {name}" for name in table.splits),
        outcomes=OUTCOMES,
        questions=QUERIES,
        embeddings=EMBEDDINGS,
        encoder=table.manifest.encoder or "of an encoder that is not named",
        fingerprint=table.fingerprint[:16],
        rows="\n".join(rows),
        split=SPLIT,
    )


def _matter(table: OutcomeTable, licence: str) -> str:
    """Write the front matter, whose configurations name the parquet files."""
    rows = len(table) * len(table.adapters)
    return front_matter(
        license=licence,
        pretty_name="Outcome table of an adapter pool",
        tags=["routing-gym", "routing", "lora", "contextual-bandit"],
        size_categories=[_SIZES[min(max(len(str(rows)) - 3, 0), len(_SIZES) - 1)]],
        configs=[
            {
                "config_name": name,
                "default": name == "outcomes",
                "data_files": [{"split": SPLIT, "path": file}],
            }
            for name, file in (("outcomes", OUTCOMES), ("queries", QUERIES))
        ],
    )
