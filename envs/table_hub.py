"""Outcome tables as data sets of the Hugging Face hub: the files as they are, and a card.

The card names the parquet files, so that ``datasets.load_dataset("owner/name", "outcomes")`` and
the hub's own viewer read them; a pulled table is verified as any table is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from routing_gym.adapters.hub import pull_folder, push_folder
from routing_gym.adapters.hub_layout import CARD_FILE, Layout
from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import MANIFEST, Manifest
from routing_gym.envs.table import OutcomeTable
from routing_gym.envs.table_card import table_card
from routing_gym.envs.table_io import FILES


def push_table(
    folder: Path | str, target: Path | str, *, licence: str = "mit", private: bool = True
) -> OutcomeTable:
    """Verify a table and copy it to a data set, or to a folder.

    Parameters
    ----------
    folder
        The table's.
    target
        ``hf://datasets/owner/name[@revision][/path]``, or a local folder; see
        `routing_gym.adapters.hub.push_folder`.
    licence
        Of the table, as the hub names it.
    private
        Whether a data set that is made is private.

    Returns
    -------
    OutcomeTable
        What was pushed.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no intact table, or the target holds anything else.
    OSError, ImportError
        If the hub cannot be used.
    """
    source = Path(folder)
    table = OutcomeTable.load(source)

    def cards(folder: Path) -> Mapping[str, str]:
        return {CARD_FILE: table_card(table, licence=licence)}

    return push_folder(
        lambda draft: TABLE.copy(source, draft),
        target,
        layout=TABLE,
        message=f"Outcome table {table.fingerprint[:12]}",
        cards=cards,
        private=private,
    )


def pull_table(source: Path | str, folder: Path | str) -> OutcomeTable:
    """Fetch a table, verify it and write it, whole or not at all.

    Parameters
    ----------
    source
        ``hf://datasets/owner/name[@revision][/path]``, or a local folder.
    folder
        Replaced if it holds a table or nothing.

    Raises
    ------
    FileNotFoundError, ValueError
        If the source holds no intact table, or the folder holds anything else.
    OSError, ImportError
        If the hub cannot be used.
    """
    return pull_folder(source, folder, layout=TABLE)


def _listed(folder: Path) -> Collection[str]:
    """Name the files of a table, of which its manifest must tell the hashes."""
    file = folder / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: give a folder that holds an outcome table.")
    try:
        Manifest.from_json(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise TableError(MANIFEST, f"is not UTF-8 ({error})", "give a table's folder") from error
    return FILES


TABLE: Layout[OutcomeTable] = Layout("table", "dataset", _listed, OutcomeTable.load)
