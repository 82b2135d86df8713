"""Collecting only what changed: new cells are new, every other cell is the old one to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.collection_passes import LIKELIHOODS, P_TRUE
from routing_gym.envs.recollection import changed_adapters, recollect
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.evaluator import SelfEvaluator
from tests.benchmark.small_pool import (
    METRICS,
    SkilledPool,
    make_world,
    sure,
    unlikely,
    write_adapter,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def table(world: Path) -> OutcomeTable:
    return OutcomeTable.load(world / "table")


def pool_of(world: Path, folder: Path, **changed: tuple[str, ...]) -> PoolSpec:
    """Give a world's pool other weights for some adapters."""
    places: dict[str, str | None] = {"base": None}
    for name in ("creative", "analysis"):
        places[name] = str(world / "weights" / name)
        if name in changed:
            places[name] = str(write_adapter(folder / name, changed[name]))
    path = folder / "pool.yaml"
    content = {"base_model": "some/model", "adapters": places}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return PoolSpec.from_yaml(path)


def collect(table: OutcomeTable, spec: PoolSpec, folder: Path, **changes: Any) -> OutcomeTable:
    by_text = {query.text: query for query in queries_of(table)}
    options: dict[str, Any] = {
        "pool": SkilledPool(spec, by_text),
        "read": lambda name: None,
        "judges": {P_TRUE: sure, LIKELIHOODS: unlikely},
        "evaluator": SelfEvaluator(METRICS),
        "folder": folder,
        "flush_rows": 32,
    }
    return recollect(table, spec, **{**options, **changes})


def test_two_changed_adapters(world: Path, table: OutcomeTable, tmp_path: Path) -> None:
    skills = ("rhyme", "sorting")
    spec = pool_of(world, tmp_path, creative=skills, analysis=("keywords",))
    assert changed_adapters(table, spec) == ("creative", "analysis")
    passes: list[str] = []

    def progress(name: str, rows: int) -> Any:
        passes.append(name)
        return lambda done: None

    new = collect(table, spec, tmp_path, progress=progress, note={"why": "a test"})
    new.check_pool(spec.names, spec.fingerprint)
    assert len(passes) == 10
    np.testing.assert_array_equal(new.scores["accuracy"][:, 0], table.scores["accuracy"][:, 0])
    assert new.scores["accuracy"][np.isin(new.task, skills), 1].all()
    assert not new.scores["accuracy"][new.task == "keywords", 1].any()
    assert new.manifest.generation["recollected"] == {
        "adapters": ["creative", "analysis"],
        "kept": ["base"],
        "from_table": table.fingerprint,
        "why": "a test",
    }
    assert new.split.tolist() == table.split.tolist()
    saved = new.save(tmp_path / "table")
    assert saved.fingerprint == new.fingerprint


def test_the_same_answers_are_the_same_table(
    world: Path, table: OutcomeTable, tmp_path: Path
) -> None:
    spec = pool_of(world, tmp_path, creative=("keywords", "keywords"))
    new = collect(table, spec, tmp_path)
    for name, values in table.scores.items():
        np.testing.assert_array_equal(values, new.scores[name], err_msg=name)
    assert (table.responses == new.responses).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapters": lambda a: a[::-1]}, "only weights of an adapter may differ"),
        ({"base_model": lambda b: "other/model"}, "on 'other/model', the table"),
        ({}, "there is nothing to do"),
    ],
)
def test_other_pools_are_refused(
    world: Path, table: OutcomeTable, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    spec = PoolSpec.from_yaml(world / "pool.yaml")
    spec = replace(spec, **{name: make(getattr(spec, name)) for name, make in change.items()})
    with pytest.raises(ValueError, match=message):
        collect(table, spec, tmp_path)


def test_every_column_needs_its_metric(world: Path, table: OutcomeTable, tmp_path: Path) -> None:
    spec = pool_of(world, tmp_path, creative=())
    evaluator = SelfEvaluator([name for name in METRICS if name != "p_true"])
    with pytest.raises(ValueError, match="the evaluator lacks 'p_true'"):
        collect(table, spec, tmp_path, evaluator=evaluator)
