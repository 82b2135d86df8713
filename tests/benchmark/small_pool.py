"""A pool of real files and a table of real queries in which one task is poor, and steps on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, PoolSpec
from routing_gym.benchmark.cycle import Improvement
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.benchmark.cycle_stages import Steps
from routing_gym.benchmark.gaps import GapSettings, find_gaps
from routing_gym.envs.collection import assemble
from routing_gym.envs.collection_files import Cell
from routing_gym.envs.collection_passes import LIKELIHOODS, P_TRUE
from routing_gym.envs.recollection import recollect
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_examples, make_queries
from routing_gym.queries.query import Example, Query
from routing_gym.rewards.evaluator import SelfEvaluator

METRICS = ("completeness", "safety", "p_true", "base_likelihood", "tokens", "seconds")
MIX = {"keywords": 60, "rhyme": 60, "sorting": 60}
REWARD = {"p_true": 1.0}
SKILLS = {"base": (), "creative": ("keywords",), "analysis": ("sorting",)}
"""Adapter -> tasks that it answers rightly; a trained adapter's weights file names them."""


def write_adapter(folder: Path, skills: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_text(json.dumps(list(skills)))
    (folder / CONFIG_FILE).write_text("{}")
    return folder


def skills_of(spec: PoolSpec, name: str) -> list[str]:
    path = spec.adapters[spec.position(name)].path
    return [] if path is None else json.loads((path / WEIGHTS_FILE).read_text())


def right_answer(query: Query) -> str:
    """Answer a query of the mix rightly."""
    reference = json.loads(query.reference)
    if query.task == "keywords":
        return f"The {' and the '.join(reference)} were quite near."
    if query.task == "rhyme":
        from routing_gym.queries.words import RHYMES

        family = next(f for f in RHYMES if reference in f)
        return f"I like the {next(w for w in family if w != reference)}."
    return ", ".join(map(str, reference)) if isinstance(reference, list) else str(reference)


@dataclass
class SkilledPool:
    """Answers rightly what an adapter's weights file says that it can."""

    spec: PoolSpec
    by_text: dict[str, Query]
    asked: list[str] = field(default_factory=list)
    dies_at: int = 0

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> list[Completion]:
        self.asked += texts
        if self.dies_at and len(self.asked) > self.dies_at:
            raise KeyboardInterrupt
        skills = skills_of(self.spec, name)
        queries = [self.by_text[text] for text in texts]
        said = [right_answer(q) if q.task in skills else "No idea at all." for q in queries]
        return [Completion(text, 7, 5, 0.1, True, (-0.1,), (0.2,)) for text in said]


def sure(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """Judge an answer as likely right unless it says that it is not."""
    return np.array([0.1 if text == "No idea at all." else 0.9 for text in responses])


def unlikely(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    return np.full(len(queries), -1.0)


def make_world(folder: Path) -> Path:
    """Write a pool and its table; return the folder."""
    places: dict[str, str | None] = {"base": None}
    for name, skills in SKILLS.items():
        if name != "base":
            write_adapter(folder / "weights" / name, skills)
            places[name] = f"weights/{name}"
    pool_file = folder / "pool.yaml"
    pool_file.write_text(
        yaml.safe_dump({"base_model": "some/model", "adapters": places}, sort_keys=False)
    )
    spec = PoolSpec.from_yaml(pool_file)
    queries = make_queries(MIX, seed=0)
    pool = SkilledPool(spec, {q.text: q for q in queries})
    cells: dict[str, dict[str, Cell]] = {}
    for name in spec.names:
        texts, forms = [q.text for q in queries], [q.form for q in queries]
        answers = pool.generate(name, texts, forms=forms, batch_size=64)
        cells[name] = {
            q.query_id: Cell("k", q.query_id, a.text, 7, 5, 0.1, True, (-0.1,), (0.2,))
            for q, a in zip(queries, answers, strict=True)
        }
    flat = [cells[name][q.query_id].response for q in queries for name in spec.names]
    shape = (len(queries), len(spec.names))
    task = {name: row for row, name in enumerate(MIX)}
    table = assemble(
        queries,
        cells,
        pool=spec,
        evaluator=SelfEvaluator(METRICS),
        likelihoods=np.full(shape, -1.0),
        p_true=sure(flat, flat).reshape(shape),
        encode=lambda texts: np.eye(3, 8)[[task[q.task] for q in queries]],
        encoder="tasks",
        generation={},
        seeds={"queries": 0},
        versions={},
    )
    table.save(folder / "table")
    return folder


@dataclass
class Teacher:
    """Steps of a cycle: training writes the skills that it was told to; counts what it did."""

    folder: Path
    learns: Callable[[list[str]], list[str]] = lambda skills: [*skills, "rhyme"]
    calls: list[str] = field(default_factory=list)
    pools: list[SkilledPool] = field(default_factory=list)
    dies_in: str = ""
    dies_at: int = 0

    def steps(self) -> Steps:
        return Steps(self.find, self.sample, self.read, self.train, self.recollect)

    def find(self, table: OutcomeTable, level: str) -> Any:
        assert set(table.split) == {"train", "validation"}
        self.note("find")
        return find_gaps(table, settings=GapSettings(levels=(level,)))

    def sample(
        self,
        targets: Sequence[tuple[str, int, float]],
        count: int,
        evaluation: Sequence[Query],
        seed: int,
        folder: Path,
        work: Path,
    ) -> None:
        self.note("sample")
        tasks = sorted({task for task, _, _ in targets})
        (folder / "made.json").write_text(json.dumps([tasks, count, seed]))

    def read(self, folder: Path) -> list[Example]:
        tasks, count, seed = json.loads((folder / "made.json").read_text())
        return make_examples(tasks, count, seed=seed)

    def train(
        self, examples: Sequence[Example], held_out: Sequence[Example], start: Path, work: Path
    ) -> Path:
        self.note("train")
        skills = self.learns(json.loads((start / WEIGHTS_FILE).read_text()))
        return write_adapter(work / "adapter", skills)

    def recollect(self, table: OutcomeTable, spec: PoolSpec, work: Path) -> OutcomeTable:
        self.note("recollect")
        pool = SkilledPool(spec, {str(text): q for text, q in _queries(table)}, [], self.dies_at)
        self.pools.append(pool)
        return recollect(
            table,
            spec,
            pool=pool,
            read=lambda name: _refuse,
            judges={P_TRUE: sure, LIKELIHOODS: unlikely},
            evaluator=SelfEvaluator(METRICS),
            folder=work,
            flush_rows=16,
        )

    def note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.dies_in:
            raise KeyboardInterrupt


def improvement(world: Path, teacher: Teacher, **changes: Any) -> Improvement:
    """Make the improvement of a world."""
    values: dict[str, Any] = {
        "pool": str(world / "pool.yaml"),
        "table": world / "table",
        "store": world / "store",
        "output": world / "report",
        "reward": REWARD,
        "agent": "ridge",
        "router_seeds": [0, 1],
        "examples": 20,
        "held_out": 4,
        "resamples": 200,
        **changes,
    }
    return Improvement(CycleSettings(**values), teacher.steps(), say=lambda text: None)


def _queries(table: OutcomeTable) -> list[tuple[str, Query]]:
    from routing_gym.envs.scoring import queries_of

    return [(query.text, query) for query in queries_of(table)]


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("answers have their token signals already")
