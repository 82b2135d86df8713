"""Outcome tables on the hub: a data set that others read, and that comes back to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("huggingface_hub")

from routing_gym.adapters.file_manifest import MANIFEST_FILE
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.envs.table_card import SPLIT, table_card
from routing_gym.envs.table_hub import pull_table, push_table
from routing_gym.envs.table_io import FILES
from tests.hub_stand_in import HubStandIn
from tests.synthetic import identity_table

ALL = (*FILES, MANIFEST_FILE)
ADDRESS = "hf://datasets/me/outcomes"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with HubStandIn() as server:
        server.use(monkeypatch)
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("table") / "table"
    identity_table(n=60).save(made)
    return made


@pytest.mark.parametrize("place", [ADDRESS, f"{ADDRESS}/v1/small", "folder"])
def test_what_is_pulled_is_what_was_pushed(
    hub: HubStandIn, folder: Path, tmp_path: Path, place: str
) -> None:
    address = str(tmp_path / "shelf") if place == "folder" else place
    pushed = push_table(folder, address)
    pulled = pull_table(address, tmp_path / "here")
    assert pulled.fingerprint == pushed.fingerprint
    assert sorted(entry.name for entry in (tmp_path / "here").iterdir()) == sorted(ALL)
    for name in ALL:
        assert (tmp_path / "here" / name).read_bytes() == (folder / name).read_bytes()
    assert OutcomeTable.load(tmp_path / "here").fingerprint == pushed.fingerprint
    pull_table(address, tmp_path / "here")  # replaced


def test_a_data_set_is_private_and_has_a_card(hub: HubStandIn, folder: Path) -> None:
    table = push_table(folder, ADDRESS, licence="cc-by-4.0")
    repository = hub.repositories["datasets/me/outcomes"]
    assert repository.private
    assert set(repository.files) == {".gitattributes", "README.md", *ALL}
    assert repository.messages[-1] == f"Outcome table {table.fingerprint[:12]}"
    card = repository.files["README.md"].decode()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert (matter["license"], matter["size_categories"]) == ("cc-by-4.0", ["n<1K"])
    named = {entry["config_name"]: entry["data_files"] for entry in matter["configs"]}
    assert set(named) == {"outcomes", "queries"}
    assert all(file["path"] in FILES for files in named.values() for file in files)


@pytest.mark.parametrize(
    ("rows", "category"), [(199, "n<1K"), (200, "1K<n<10K"), (1999, "1K<n<10K"), (2000, "10K<n")]
)
def test_the_size_is_told_by_the_hubs_categories(rows: int, category: str) -> None:
    class Rows:
        """A table of which only the size counts."""

        adapters = ("a",) * 5

        def __len__(self) -> int:
            return rows

    from routing_gym.envs import table_card as module

    assert category in module._matter(Rows(), "mit")  # type: ignore[arg-type]


def test_the_library_of_data_sets_reads_the_layout(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = push_table(folder, tmp_path / "shelf")
    cache = str(tmp_path / "cache")
    place = str(tmp_path / "shelf")
    outcomes = datasets.load_dataset(place, "outcomes", split=SPLIT, cache_dir=cache)
    queries = datasets.load_dataset(place, "queries", split=SPLIT, cache_dir=cache)
    assert len(outcomes) == len(table) * len(table.adapters)
    assert queries["query_id"][:] == table.query_id.tolist()
    assert set(queries["split"]) == set(table.splits)
    first = outcomes[0]
    assert (first["query_id"], first["adapter"]) == (table.query_id[0], table.adapters[0])
    assert first["score_accuracy"] == table.scores["accuracy"][0, 0]


def test_a_wrong_file_is_an_error_with_a_remedy(
    hub: HubStandIn, folder: Path, tmp_path: Path
) -> None:
    push_table(folder, ADDRESS)
    push_table(folder, tmp_path / "here")
    hub.spoil = lambda path, content: content[:-1] + b"?" if path == FILES[0] else content
    for target in ("here", "nowhere"):
        with pytest.raises(
            ValueError, match=rf"holds no intact table: {FILES[0]}: is truncated or edited.*restore"
        ):
            pull_table(ADDRESS, tmp_path / target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["here"]
    assert OutcomeTable.load(tmp_path / "here")


def test_only_tables_are_pushed_and_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for move in (push_table, pull_table):
        with pytest.raises(ValueError, match="give the table a folder of its own"):
            move(folder, tmp_path / "mine")
    with pytest.raises(ValueError, match="is not an outcome table"):
        push_table(tmp_path / "mine", tmp_path / "shelf")
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing"):
        pull_table(tmp_path / "mine", tmp_path / "shelf")
    with pytest.raises(ValueError, match=r"no place for a table: write hf://datasets/me/x"):
        push_table(folder, "hf://me/x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_a_pools_manifest_is_no_tables(hub: HubStandIn, folder: Path, tmp_path: Path) -> None:
    push_table(folder, ADDRESS)
    files = hub.repositories["datasets/me/outcomes"].files
    files[MANIFEST_FILE] = b'{"kind": "pool"}'
    with pytest.raises(ValueError, match=r"manifest\.json of something else .*folder of its own"):
        push_table(folder, ADDRESS)
    with pytest.raises(ValueError, match=r"manifest\.json: lacks the field"):
        pull_table(ADDRESS, tmp_path / "here")


@pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="no embedded table")
def test_the_embedded_tables_card_tells_its_size() -> None:
    card = table_card(OutcomeTable.load(DEFAULT_TABLE), licence="mit")
    assert "10K<n<100K" in card
    assert "| 1 | reasoning | 0." in card
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in card
