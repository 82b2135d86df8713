"""The stages of an improvement cycle, each sealed under a key of what its result depends on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.spec import PoolSpec
from routing_gym.benchmark.cycle_content import seen_content
from routing_gym.benchmark.cycle_focus import Focus, choose_focus
from routing_gym.benchmark.cycle_gate import (
    DOMAIN,
    OVERALL,
    SEEN,
    TASK,
    UNSEEN,
    WEAKEST,
    RegionRow,
    compare_sides,
)
from routing_gym.benchmark.cycle_routers import POLICY, read_side, train_router, use_policy
from routing_gym.benchmark.cycle_seal import Sealed, file_hashes, json_digest, seal_stage
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.benchmark.cycle_versions import Version, build_version, with_adapter
from routing_gym.benchmark.gap_records import GapReport
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Example, Query
from routing_gym.rewards.quality import DEFAULT_QUALITY

STAGES = ("gaps", "data", "training", "table", "routers", "comparison", "version")
"""The stages of a cycle in their order."""
COMPARISON, ADAPTER, TABLE = "comparison.json", "adapter", "table"
Targets = Sequence[tuple[str, int, float]]


@dataclass(frozen=True)
class Steps:
    """What a cycle has done by others: the parts that need a language model or make data.

    Parameters
    ----------
    find
        ``(table, level) -> report``; the table holds train and validation only.
    sample
        ``(targets, count, evaluation, seed, folder, work)``: makes data and writes it into the
        folder, keeping what is half done in `work`.
    read
        ``folder -> examples`` of what `sample` wrote.
    train
        ``(examples, held_out, start, work) -> folder`` of the trained adapter inside `work`, going
        on from what lies there.
    recollect
        ``(table, pool, work) -> table``: collects the changed adapters' cells, going on likewise.
    """

    find: Callable[[OutcomeTable, str], GapReport]
    sample: Callable[[Targets, int, Sequence[Query], int, Path, Path], None]
    read: Callable[[Path], Sequence[Example]]
    train: Callable[[Sequence[Example], Sequence[Example], Path, Path], Path]
    recollect: Callable[[OutcomeTable, PoolSpec, Path], OutcomeTable]


@dataclass
class CycleStages:
    """The stages of one cycle, in their order; each asks for those before it.

    Parameters
    ----------
    settings, steps
        Of the cycle.
    number
        Of the cycle, from 1.
    base
        The version that it starts from.
    root
        Folder of its stages.
    sealed_only
        Whether to refuse to make what is not sealed: a cycle that was judged is not done again.
    """

    settings: CycleSettings
    steps: Steps
    number: int
    base: Version
    root: Path
    sealed_only: bool = False

    @cached_property
    def old_table(self) -> OutcomeTable:
        """The table of the version that the cycle starts from."""
        return self.base.table()

    @cached_property
    def gaps(self) -> Sealed:
        """Where the pool is weakest, on train and validation."""
        table, level = self.old_table, self.settings.region_level
        chosen = self.settings.chosen("level", "task", "adapter")

        def make(draft: Path, work: Path) -> None:
            seen = table.where(split=[split for split in table.splits if split != "test"])
            report = self.steps.find(seen, level)
            report.save(draft)
            choose_focus(report, seen, self.base.pool, **chosen | {"level": level}).save(draft)

        return self._seal("gaps", {"table": table.fingerprint, **chosen}, make)

    @cached_property
    def focus(self) -> Focus:
        """What the cycle works on."""
        return Focus.load(self.gaps.folder)

    @cached_property
    def data(self) -> Sealed:
        """Training data for the weak region, and replay of the adapter's other tasks."""
        settings = self.settings
        count = settings.examples + settings.held_out
        seed = settings.data_seed + self.number
        inputs = {
            "gaps": self.gaps.digest,
            "count": count,
            "seed": seed,
            **settings.chosen("region_share", "data_options"),
        }

        def make(draft: Path, work: Path) -> None:
            targets = self.focus.targets(settings.region_share)
            self.steps.sample(targets, count, queries_of(self.old_table), seed, draft, work)

        return self._seal("data", inputs, make)

    @cached_property
    def training(self) -> Sealed:
        """The adapter's new version."""
        settings, start = self.settings, self._adapter(self.base.pool)
        inputs = {
            "data": self.data.digest,
            "adapter": start.sha256,
            **settings.chosen("held_out", "data_seed", "method", "training"),
        }

        def make(draft: Path, work: Path) -> None:
            made = list(self.steps.read(self.data.folder))
            order = np.random.default_rng([settings.data_seed, self.number]).permutation(len(made))
            examples = [made[i] for i in order]
            if len(examples) <= settings.held_out:
                raise ValueError(
                    f"{len(examples)} samples were made and held_out={settings.held_out}: nothing "
                    "is left to train on; ask for more examples."
                )
            held_out, rest = examples[: settings.held_out], examples[settings.held_out :]
            assert start.path is not None
            shutil.copytree(self.steps.train(rest, held_out, start.path, work), draft / ADAPTER)

        return self._seal("training", inputs, make)

    @cached_property
    def new_pool(self) -> PoolSpec:
        """The pool with the adapter's new version."""
        folder = self.training.folder / ADAPTER
        return with_adapter(self.base.pool, self.focus.adapter, folder.resolve())

    @cached_property
    def table(self) -> Sealed:
        """The new outcome table, of which only the changed cells were collected."""
        settings, quality = self.settings, Path(self.settings.quality or DEFAULT_QUALITY)
        inputs = {
            "table": self.old_table.fingerprint,
            "pool": self.new_pool.fingerprint,
            "quality": json_digest(file_hashes(quality)),
            **settings.chosen("answer_batch", "flush_rows"),
        }

        def make(draft: Path, work: Path) -> None:
            made = self.steps.recollect(self.old_table, self.new_pool, work)
            exact = np.array_equal(made.embeddings.astype(np.float16), made.embeddings)
            made.save(draft / TABLE, embedding_dtype="float16" if exact else "float32")
            for lines in work.glob("*.jsonl"):
                shutil.copy2(lines, draft / lines.name)

        return self._seal("table", inputs, make)

    @cached_property
    def new_table(self) -> OutcomeTable:
        """The table of the new pool."""
        table = OutcomeTable.load(self.table.folder / TABLE)
        table.check_pool(self.new_pool.names, self.new_pool.fingerprint)
        return table

    @cached_property
    def routers(self) -> dict[str, list[Sealed]]:
        """Routers of every seed on the old and on the new table."""
        tables = {"old": self.old_table, "new": self.new_table}
        return {
            side: [self._router(side, table, seed) for seed in self.settings.router_seeds]
            for side, table in tables.items()
        }

    @cached_property
    def comparison(self) -> Sealed:
        """Old against new on the test split."""
        settings = self.settings
        inputs = {
            "routers": {side: [r.digest for r in found] for side, found in self.routers.items()},
            "data": self.data.digest,
            **settings.chosen("resamples", "confidence"),
        }

        def make(draft: Path, work: Path) -> None:
            content = [row.to_json() for row in self._rows()]
            (draft / COMPARISON).write_text(json.dumps(content, indent=1) + "\n", "utf-8")

        return self._seal("comparison", inputs, make)

    @cached_property
    def rows(self) -> list[RegionRow]:
        """What the comparison found."""
        content = json.loads((self.comparison.folder / COMPARISON).read_text("utf-8"))
        return [RegionRow.from_json(row) for row in content]

    def version(self, place: Path) -> Version:
        """Put the new version in its place; nothing makes it the current one.

        Parameters
        ----------
        place
            Its folder.
        """
        parts = {
            f"adapters/{self.focus.adapter}": self.training.folder / ADAPTER,
            "table": self.table.folder / TABLE,
            "router": self.routers["new"][0].folder / POLICY,
        }
        note = {
            "base": self.base.name,
            "cycle": self.number,
            "adapter": self.focus.adapter,
            "table_fingerprint": self.new_table.fingerprint,
            "comparison": self.comparison.digest,
        }
        return build_version(place, pool=self.new_pool, parts=parts, note=note)

    def seconds(self) -> dict[str, float]:
        """Wall time of every stage, and of the training alone across kills where it is known."""
        both = [*self.routers["old"], *self.routers["new"]]
        found = {
            "gaps": self.gaps.seconds,
            "data": self.data.seconds,
            "training": self.training.seconds,
            "table": self.table.seconds,
            "routers": sum(router.seconds for router in both),
            "comparison": self.comparison.seconds,
        }
        measures = training_record(self.training.folder / ADAPTER).get("measures", {})
        found["training"] = max(found["training"], float(measures.get("seconds", 0.0)))
        return {name: round(value, 1) for name, value in found.items()}

    def _router(self, side: str, table: OutcomeTable, seed: int) -> Sealed:
        """Train, or take over, one router."""
        settings = self.settings
        given = settings.policy if side == "old" else ""
        chosen = settings.chosen("agent", "agent_options", "reward")
        inputs = {"table": table.fingerprint, "seed": seed, **chosen}
        inputs |= {"policy": json_digest(file_hashes(Path(given)))} if given else {}

        def make(draft: Path, work: Path) -> None:
            if given:
                use_policy(Path(given), table, draft, reward=settings.reward)
                return
            train_router(
                table,
                draft,
                agent=settings.agent,
                options=settings.agent_options,
                reward=settings.reward,
                seed=seed,
            )

        return self._seal(f"router-{side}-{seed}", inputs, make)

    def _rows(self) -> list[RegionRow]:
        """Compare both sides in every region."""
        sides = {
            side: read_side(
                table,
                [router.folder for router in self.routers[side]],
                reward=self.settings.reward,
            )
            for side, table in (("old", self.old_table), ("new", self.new_table))
        }
        return compare_sides(
            sides["old"],
            sides["new"],
            self._regions(),
            resamples=self.settings.resamples,
            confidence=self.settings.confidence,
        )

    def _regions(self) -> list[tuple[str, str, np.ndarray]]:
        """List the regions of the test split: kind, label and mask."""
        test = self.old_table.where(split="test")
        weak = self.focus.rows(test)
        queries = np.array(queries_of(test), dtype=object)
        texts = [example.query.text for example in self.steps.read(self.data.folder)]
        seen = np.zeros(len(test), dtype=np.bool_)
        if weak.any():
            seen[weak] = seen_content(list(queries[weak]), texts)
        label = self.focus.label
        regions = [
            (OVERALL, "all", np.ones(len(test), dtype=np.bool_)),
            (WEAKEST, label, weak),
            (SEEN, f"{label}, content in the made data", weak & seen),
            (UNSEEN, f"{label}, other content", weak & ~seen),
        ]
        for kind, column in ((DOMAIN, test.domain), (TASK, test.task)):
            regions += [(kind, str(name), column == name) for name in dict.fromkeys(column)]
        return regions

    def _adapter(self, pool: PoolSpec) -> Any:
        """Find the adapter that is trained in a pool."""
        return pool.adapters[pool.position(self.focus.adapter)]

    def _seal(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[Path, Path], None]
    ) -> Sealed:
        """Make or find a stage."""
        return seal_stage(self.root, name, inputs, None if self.sealed_only else make)


def training_record(folder: Path) -> dict[str, Any]:
    """Read what a training left beside its weights; empty if it left nothing that is whole."""
    try:
        found = json.loads((folder / "training.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
