"""The protocol on RouteLLM's tables: no text is on both sides, and routers learn what can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routing_gym.agents import make_agent
from routing_gym.benchmark.routellm_observations import Observations
from routing_gym.benchmark.routellm_report import draw_pgr, mean_interval, study_figures
from routing_gym.benchmark.routellm_study import RouterSpec, measure, preference, run_seed
from routing_gym.benchmark.routellm_table import Pair, as_pair, halves
from routing_gym.envs.table import OutcomeTable
from tests.agents.problems import by_hand

ROUTERS = {
    "look-up": RouterSpec("task_lookup", "surface"),
    "stack": RouterSpec("ridge", "tfidf+surface"),
    "told": RouterSpec("ridge", "surface", tasks="told"),
    "guessed": RouterSpec("ridge", "surface", tasks="guessed"),
    "neighbours": RouterSpec(
        "knn", "surface", candidates=[{"neighbours": [2]}, {"neighbours": [20]}]
    ),
    "together": RouterSpec(average=("stack", "neighbours")),
}


def published(n: int = 120) -> pa.Table:
    """Make long questions that only the strong model solves, and short ones that both solve."""
    lines = []
    for i in range(n):
        hard = i % 2 == 0
        text = f"Topic {i}: " + ("a long and winding question, " * 9 if hard else "short one?")
        shared = {"query_id": f"q{i}", "query": text, "task": "hard" if hard else "easy"}
        lines += [
            shared | {"arm": "cheap", "score": float(not hard), "split": "clean"},
            shared | {"arm": "dear", "score": float(i % 12 != 1), "split": "clean"},
        ]
    return pa.Table.from_pylist(lines)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return as_pair(OutcomeTable.from_tidy(published()), "made-up")


def test_routers_recover_what_the_text_tells(pair: Pair) -> None:
    observations = Observations(pair.texts)
    outcomes = run_seed(pair, ROUTERS, observations=observations, seed=3)
    assert list(outcomes) == ["random", "oracle", *ROUTERS]
    oracle = outcomes["oracle"].apgr_exact
    for name in ROUTERS:
        assert outcomes[name].apgr_exact > 0.85 * oracle, name
        assert outcomes[name].pgr[0] == 0
        assert outcomes[name].pgr[-1] == pytest.approx(1)
    assert outcomes["neighbours"].chosen["neighbours"] in ((2,), (20,))
    assert outcomes["random"].validation_area != outcomes["random"].validation_area  # none
    assert 0.5 < outcomes["stack"].validation_area <= 1
    again = run_seed(pair, ROUTERS, observations=Observations(pair.texts), seed=3)
    for name, outcome in again.items():
        assert outcome.apgr == outcomes[name].apgr


def test_the_test_half_teaches_nothing(pair: Pair) -> None:
    test = halves(pair.groups, np.random.default_rng(3)).test
    scores = pair.scores.copy()
    scores[test] = 5 * scores[test] - 2  # another scale: PGR is the same for the same choices
    tasks = np.where(test, pair.tasks[::-1], pair.tasks)
    other = replace(pair, scores=scores)
    routers = {name: spec for name, spec in ROUTERS.items() if name != "look-up"}
    first = run_seed(pair, routers, observations=Observations(pair.texts), seed=3)
    second = run_seed(other, routers, observations=Observations(pair.texts), seed=3)
    untold = {name: spec for name, spec in routers.items() if name != "told"}
    third = run_seed(
        replace(pair, tasks=tasks), untold, observations=Observations(pair.texts), seed=3
    )
    for name in routers:
        assert second[name].chosen == first[name].chosen, name
        assert second[name].validation_area == first[name].validation_area
        np.testing.assert_allclose(second[name].pgr, first[name].pgr, atol=1e-9)
    for name in untold:
        assert third[name].apgr == first[name].apgr, name


def test_one_task_is_not_told(pair: Pair) -> None:
    alone = replace(pair, tasks=np.full(len(pair.tasks), "all"))
    routers = ROUTERS | {"both": RouterSpec(average=("told", "stack"))}
    outcomes = run_seed(alone, routers, observations=Observations(pair.texts), seed=0)
    assert set(routers) - set(outcomes) == {"told", "both"}
    assert outcomes["look-up"].apgr_exact == pytest.approx(0.5)


def test_measures_by_hand() -> None:
    scores = np.array([[0.0, 1.0], [0, 1], [1, 1], [1, 0]])
    with pytest.raises(ValueError, match="without a gap"):
        measure(np.zeros(2), scores[2:] * 0 + 1)
    outcome = measure(np.array([3.0, 2.0, 1.0, 0.0]), scores)
    # quality .5, .75, 1, 1, .75 at 0, 1/4, ... calls: PGR 0, 1, 2, 2, 1
    assert outcome.apgr_exact == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)
    assert outcome.cpt == {0.5: pytest.approx(0.125), 0.8: pytest.approx(0.2)}


def test_preference_of_values_and_of_probabilities() -> None:
    data = by_hand([[0, 1], [1, 0]], tasks=["a", "b"])
    for name, expected in (("task_lookup", [1, -1]), ("best_single", [0, 0]), ("random", [0, 0])):
        agent = make_agent(name)
        agent.train(data, validation=data, seed=0)
        np.testing.assert_allclose(preference(agent, data), expected, atol=1e-9)


def test_mean_interval() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    width = 4.302653 / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert interval.value == 2
    assert interval.low == pytest.approx(2 - width, abs=1e-5)
    wider = mean_interval([1.0, 2.0, 3.0], corrected=True)
    assert wider.high - 2 == pytest.approx(width * 2, abs=1e-4)  # (1/3 + 1) / (1/3) = 4
    assert not mean_interval([1.0]).defined


def test_figures_and_curves(pair: Pair, tmp_path: Path) -> None:
    routers = {"look-up": ROUTERS["look-up"]}
    observations = Observations(pair.texts)
    runs = [run_seed(pair, routers, observations=observations, seed=seed) for seed in (0, 1)]
    figures: dict[str, Any] = dict(study_figures({"x": runs}, headline="look-up"))
    assert figures["apgr_x"] == figures["apgr_x_look-up"]
    assert {"apgr_x_exact", "apgr_x_corrected", "cpt50_x", "cpt80_x"} <= set(figures)
    assert figures["apgr_x_oracle"].value >= figures["apgr_x"].value
    draw_pgr(runs, path=tmp_path / "pgr.png", caption="two seeds", headline="look-up")
    assert (tmp_path / "pgr.png").stat().st_size > 10_000
    assert "look-up" in (tmp_path / "pgr.svg").read_text()
    with pytest.raises(ValueError, match="headline='other' was not run"):
        study_figures({"x": runs}, headline="other")


def test_refuses_what_is_no_router() -> None:
    with pytest.raises(ValueError, match="has no candidates"):
        RouterSpec("knn", candidates=[])
    for options in ({}, {"agent": "knn", "average": ("a",)}):
        with pytest.raises(ValueError, match="give the one or the other"):
            RouterSpec(**options)
    with pytest.raises(ValueError, match="tasks='known' must be one of"):
        RouterSpec("ridge", tasks="known")


def test_an_average_stands_after_its_parts(pair: Pair) -> None:
    routers = {"x": RouterSpec(average=("stack",)), "stack": ROUTERS["stack"]}
    with pytest.raises(ValueError, match="'x' averages 'stack', which does not stand before it"):
        run_seed(pair, routers, observations=Observations(pair.texts), seed=0)
