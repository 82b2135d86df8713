"""Query sets: unique, split, determined by the seed, and apart from the training examples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routing_gym.queries.dataset import make_examples, make_queries, make_task, tasks_of, verify
from routing_gym.queries.splits import SPLITS, normalise
from routing_gym.queries.task import Draw, Task
from routing_gym.queries.tasks import TASKS

pytest.importorskip("reasoning_gym")

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = "tests.queries.test_dataset:TinyTask"
MIX = dict.fromkeys(TASKS, 12)


class TinyTask(Task):
    """Three questions, one for each complexity."""

    name = TINY
    domain = "general"
    form = "number"
    phrasings = ("Say {n}.",)
    endings = ("A number.",)

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        return Draw({"n": complexity}, str(complexity), str(complexity))

    def is_right(self, reference: Any, response: str) -> bool:
        return response == reference


class NoTask:
    """Something else."""


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text())
    return content


def test_counts_order_and_complexities() -> None:
    queries = make_queries(MIX, seed=0)
    assert [q.task for q in queries] == [name for name in TASKS for _ in range(12)]
    for name in TASKS:
        levels = Counter(q.complexity for q in queries if q.task == name)
        assert levels == {1: 4, 2: 4, 3: 4}
    assert len({q.query_id for q in queries}) == len(queries)


def test_splits_share_no_text() -> None:
    queries = make_queries(MIX, seed=0)
    texts = [normalise(q.text) for q in queries]
    assert len(set(texts)) == len(texts)
    parts = {s: {t for t, q in zip(texts, queries, strict=True) if q.split == s} for s in SPLITS}
    assert all(parts.values())
    assert sum(map(len, parts.values())) == len(queries)
    assert len(set().union(*parts.values())) == len(queries)


def test_the_seed_determines_the_set() -> None:
    mix = {"turns": 20, "sums": 20, "kinship": 3}
    assert make_queries(mix, seed=3) == make_queries(mix, seed=3)
    texts = [{q.text for q in make_queries(mix, seed=seed)} for seed in (3, 4)]
    assert texts[0] != texts[1]


def test_a_task_does_not_depend_on_the_others() -> None:
    alone = make_queries({"dates": 9}, seed=0)
    assert make_queries({"turns": 5, "dates": 9}, seed=0)[5:] == alone


def test_more_queries_keep_the_first() -> None:
    assert make_queries({"dates": 30}, seed=0)[:9] == make_queries({"dates": 9}, seed=0)


def test_training_examples_avoid_the_table() -> None:
    table = make_queries({"turns": 60, "capitals": 60}, seed=0)
    taboo = {normalise(q.text) for q in table}
    examples = make_examples(["turns", "capitals"], 120, seed=0, forbidden=table)
    texts = [normalise(e.query.text) for e in examples]
    assert not taboo & set(texts)
    assert len(set(texts)) == 120
    unaware = make_examples(["turns", "capitals"], 120, seed=0)  # same stream, so it would collide
    assert taboo & {normalise(e.query.text) for e in unaware}


def test_training_examples_take_tasks_and_complexities_in_turn() -> None:
    examples = make_examples(["turns", "dates"], 12, seed=1)
    assert [e.query.task for e in examples] == ["turns", "dates"] * 6
    assert [e.query.complexity for e in examples] == [1, 1, 2, 2, 3, 3] * 2
    assert examples == make_examples(["turns", "dates"], 12, seed=1)
    assert all(verify(e.query, e.target).strict == 1.0 for e in examples)


def test_the_shipped_settings_keep_training_and_table_apart() -> None:
    collect, train = read("collect_outcomes.yaml"), read("train_adapter.yaml")
    assert set(collect["mix"]) == set(TASKS)
    assert sum(collect["mix"].values()) >= 3000
    assert train["table_mix"] == collect["mix"]
    assert train["table_seed"] == collect["seed"]


@pytest.mark.parametrize("domain", ["reasoning", "code", "creative", "analysis"])
def test_shipped_training_examples_are_not_in_the_table(domain: str) -> None:
    collect = read("collect_outcomes.yaml")
    mix = {name: collect["mix"][name] for name in tasks_of(domain)}
    table = make_queries(mix, seed=collect["seed"])
    examples = make_examples(tasks_of(domain), 80, seed=1, forbidden=table)
    assert not {normalise(q.text) for q in table} & {normalise(e.query.text) for e in examples}


def test_every_text_of_a_task_can_be_asked_for() -> None:
    assert [q.text for q in make_queries({TINY: 3}, seed=0)] == [
        "Say 1. A number.",
        "Say 2. A number.",
        "Say 3. A number.",
    ]


def test_a_task_that_runs_out_says_so() -> None:
    with pytest.raises(ValueError, match="has no more than 3 different texts: ask for fewer"):
        make_queries({TINY: 4}, seed=0)
    with pytest.raises(ValueError, match="has no more than 3 different texts"):
        make_examples([TINY], 4, seed=0)


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"turns": 0}, r"mix\['turns'\]=0: give at least 1 query"),
        ({"turns": -2}, r"mix\['turns'\]=-2"),
        ({"turnes": 3}, "unknown task 'turnes'.*did you mean 'turns'"),
        ({"tests.queries.test_dataset:NoTask": 1}, "is a NoTask: give a subclass of Task"),
    ],
)
def test_wrong_mixes(mix: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_queries(mix, seed=0)


def test_tasks_are_made_once() -> None:
    assert make_task("turns") is make_task("turns")
