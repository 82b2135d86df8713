"""Parts of a cycle: its settings, seals, versions, focus, content."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.spec import PoolSpec
from routing_gym.agents.knn import KNNAgent
from routing_gym.benchmark.cycle_content import content_words, seen_content
from routing_gym.benchmark.cycle_focus import Focus, choose_focus
from routing_gym.benchmark.cycle_routers import read_side, use_policy
from routing_gym.benchmark.cycle_seal import seal_stage
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.benchmark.cycle_versions import build_version, read_version, with_adapter
from routing_gym.benchmark.gaps import GapSettings, find_gaps
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query
from tests.benchmark.small_pool import REWARD, make_world, write_adapter


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "cluster"}, "level='cluster' is unknown: use one of domain, task"),
        ({"method": "dpo"}, "method='dpo' is unknown: use one of sft, grpo"),
        ({"examples": 0}, "examples=0: give at least 1"),
        ({"resamples": 10}, "resamples=10: give at least 100"),
        ({"region_share": 0.0}, "region_share=0.0: give a share"),
        ({"confidence": 1.0}, "confidence=1.0: give a share"),
        ({"router_seeds": []}, "give at least one"),
        ({"router_seeds": [1, 1]}, "all different"),
        ({"agent": "gumble"}, "gumbel"),
    ],
)
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CycleSettings(**change)


def test_a_stage_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(draft: Path, work: Path) -> None:
        made.append(draft)
        assert (work / "half").is_file() is (len(made) == 2)
        (work / "half").write_text("done so far")
        if len(made) == 1:
            raise KeyboardInterrupt
        (draft / "whole").write_text("result")

    with pytest.raises(KeyboardInterrupt):
        seal_stage(tmp_path, "stage", {"a": 1}, make)
    first = seal_stage(tmp_path, "stage", {"a": 1}, make)
    again = seal_stage(tmp_path, "stage", {"a": 1}, make)
    assert (first.fresh, again.fresh) == (True, False)
    assert first.digest == again.digest
    assert len(made) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.folder.name]
    (first.folder / "whole").unlink()
    with pytest.raises(ValueError, match="whole is missing: delete the folder"):
        seal_stage(tmp_path, "stage", {"a": 1}, make)


def test_other_inputs_are_another_stage(tmp_path: Path) -> None:
    def make(draft: Path, work: Path) -> None:
        (draft / "file").write_text("same")

    one, two = (seal_stage(tmp_path, "stage", {"a": a}, make) for a in (1, 2))
    assert one.folder != two.folder
    assert one.digest != two.digest


def test_a_version_refers_to_what_did_not_change(world: Path, tmp_path: Path) -> None:
    new = write_adapter(tmp_path / "new", ["rhyme"])
    spec = with_adapter(PoolSpec.from_yaml(world / "pool.yaml"), "creative", new)
    parts = {"adapters/creative": new, "table": world / "table"}
    place = tmp_path / "versions" / "v0001"
    version = build_version(place, pool=spec, parts=parts, note={"cycle": 1})
    assert version.pool.fingerprint == spec.fingerprint
    assert version.pool.adapters[1].path == (place / "adapters" / "creative").resolve()
    assert version.pool.adapters[2].path == (world / "weights" / "analysis").resolve()
    again = build_version(place, pool=spec, parts=parts, note={"cycle": 1})
    assert again.sha256 == version.sha256
    other = build_version(place, pool=spec, parts=parts, note={"cycle": 2})
    assert other.sha256 != version.sha256
    assert [p.name for p in place.parent.iterdir()] == ["v0001"]
    (place / "stray").write_text("x")
    with pytest.raises(ValueError, match="stray is not what was sealed: restore the version"):
        read_version(place)


def test_other_weights_of_an_unchanged_adapter_are_found(world: Path, tmp_path: Path) -> None:
    old = write_adapter(tmp_path / "old", ["sorting"])
    spec = with_adapter(PoolSpec.from_yaml(world / "pool.yaml"), "analysis", old)
    place = tmp_path / "versions" / "v0001"
    build_version(place, pool=spec, parts={"table": world / "table"}, note={})
    write_adapter(old, ["nothing"])
    with pytest.raises(ValueError, match="are not those of this version"):
        read_version(place)


def focus_of(world: Path, **choices: str) -> Focus:
    table = OutcomeTable.load(world / "table").where(split=("train", "validation"))
    level = choices.pop("level", "task")
    report = find_gaps(table, settings=GapSettings(levels=(level,)))
    pool = PoolSpec.from_yaml(world / "pool.yaml")
    return choose_focus(report, table, pool, level=level, **choices)


def test_the_weakest_region_and_its_adapter(world: Path) -> None:
    focus = focus_of(world)
    assert (focus.label, focus.adapter) == ("creative / rhyme", "creative")
    assert (focus.tasks, focus.replay) == (("rhyme",), ("keywords",))
    targets = focus.targets(0.7)
    assert sum(weight for _, _, weight in targets) == pytest.approx(1.0)
    assert sum(weight for task, _, weight in targets if task == "rhyme") == pytest.approx(0.7)


def test_a_domain_and_one_complexity(world: Path) -> None:
    domain = focus_of(world, level="domain")
    assert set(domain.tasks) == {"keywords", "rhyme"}
    assert domain.replay == ()
    assert sum(weight for _, _, weight in domain.targets(0.7)) == pytest.approx(1.0)
    table = OutcomeTable.load(world / "table")
    assert domain.rows(table).sum() == 120
    level = focus_of(world, level="task_complexity")
    assert level.complexity in (1, 2, 3)
    assert level.rows(table).sum() == 20
    assert len([t for t in level.targets(0.5) if t[0] == "rhyme"]) == 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"task": "nothing"}, "task='nothing' has no region"),
        ({"adapter": "base"}, "adapter='base' is the base model"),
        ({"adapter": "poetry"}, "unknown adapter 'poetry'"),
    ],
)
def test_wrong_choices(world: Path, choices: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        focus_of(world, **choices)


def test_content_is_what_was_drawn() -> None:
    (query,) = make_queries({"rhyme": 1}, seed=3)
    word = json.loads(query.reference)
    assert content_words(query) == {word.casefold()}
    other = "What goes with it? Anything."
    assert seen_content([query], [other]).tolist() == [False]
    assert seen_content([query], [other, f"Something on {word}, please."]).tolist() == [True]
    free = Query("q", "Who is there?", "general", "outside")
    assert seen_content([free], ["Who?"]).tolist() == [False]


def test_a_policy_of_other_adapters_is_no_router(world: Path, tmp_path: Path) -> None:
    table = OutcomeTable.load(world / "table")
    agent = KNNAgent()
    agent.train(table.data("train", REWARD), validation=table.data("validation", REWARD), seed=0)
    agent.save(tmp_path / "policy")
    use_policy(tmp_path / "policy", table, tmp_path, reward=REWARD)
    assert (
        len(read_side(table, [tmp_path], reward=REWARD).actions[0]) == (table.split == "test").sum()
    )
    records = table.manifest.adapters
    turned = replace(table, manifest=replace(table.manifest, adapters=records[::-1]))
    with pytest.raises(ValueError, match="give a policy of the table's pool"):
        use_policy(tmp_path / "policy", turned, tmp_path, reward=REWARD)
