from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark import off_policy_plots
from routing_gym.benchmark.off_policy_report import study_figures, study_markdown, study_rows
from routing_gym.benchmark.off_policy_scenarios import (
    Scenario,
    ScenarioSettings,
    build_scenarios,
)
from routing_gym.benchmark.off_policy_study import StudyRow, StudySettings, headline, simulate
from routing_gym.benchmark.runs import Splits
from tests.agents.problems import identity

QUICK = StudySettings(replications=400, resamples=100, bootstrap_sizes=(400,))


def scenario(logging: list[float], target: list[float], *, seed: int = 0) -> Scenario:
    """60 rows in 3 cells of which the rewards differ, two adapters, binary rewards."""
    rng = np.random.default_rng(seed)
    cells = np.arange(60) % 3
    means = np.array([[0.9, 0.2], [0.3, 0.6], [0.5, 0.4]])[cells]
    return Scenario(
        logging_name="fixed",
        target_name="other",
        rewards=(rng.random((60, 2)) < means).astype(np.float64),
        logging=np.tile(logging, (60, 1)),
        target=np.tile(target, (60, 1)),
        cells=cells,
        observations=np.eye(3)[cells],
    )


@lru_cache
def rows(size: int = 400) -> dict[str, StudyRow]:
    found = simulate(
        scenario([0.5, 0.5], [0.9, 0.1]), size, settings=QUICK, rng=np.random.default_rng(0)
    )
    return {row.estimator: row for row in found}


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr", "recommended"])
def test_consistent_estimators_are_unbiased_and_cover(name: str) -> None:
    row = rows()[name]
    assert abs(row.bias) < 4 * row.bias_error + 1e-3
    assert row.safe == 1.0
    assert 0.92 <= row.coverage["normal"] <= 0.98
    assert row.coverage["all"] == row.coverage["normal"]
    if name != "ips":
        assert 0.9 <= row.coverage["bootstrap"] <= 0.99


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "sndr"])
def test_errors_reach_the_theoretical_bounds(name: str) -> None:
    assert rows()[name].over_bound == pytest.approx(1.0, abs=0.12)


def test_the_model_lowers_the_bound_and_bernstein_is_conservative() -> None:
    found = rows()
    assert found["dr"].bound < found["snips"].bound < found["ips"].bound
    assert found["dr"].coverage["bernstein"] > 0.99
    assert found["dr"].width["bernstein"] > found["dr"].width["normal"]


def test_the_direct_method_alone_has_no_bound() -> None:
    assert np.isnan(rows()["dm"].bound)


def test_a_log_with_little_overlap_is_not_counted() -> None:
    found = simulate(
        scenario([0.99, 0.01], [0.0, 1.0]), 100, settings=QUICK, rng=np.random.default_rng(0)
    )
    row = next(row for row in found if row.estimator == "snips")
    assert row.safe == 0.0
    assert "normal" not in row.coverage
    assert row.coverage["all"] < 0.9
    assert headline(found, estimator="snips")[1] == []


def test_equal_generators_give_equal_numbers() -> None:
    again = simulate(
        scenario([0.5, 0.5], [0.9, 0.1]), 400, settings=QUICK, rng=np.random.default_rng(0)
    )
    assert {row.estimator: row.rmse for row in again} == {
        name: row.rmse for name, row in rows().items()
    }


def test_the_ridge_is_studied_too() -> None:
    few = StudySettings(replications=200, folds=2, bootstrap_sizes=())
    found = simulate(
        scenario([0.5, 0.5], [0.9, 0.1]),
        60,
        settings=few,
        rng=np.random.default_rng(0),
        model="ridge",
    )
    row = next(row for row in found if row.estimator == "dr")
    assert row.model == "ridge"
    assert abs(row.bias) < 4 * row.bias_error + 1e-3


def test_scenarios_of_a_table_are_crossed_and_learned_on_train() -> None:
    splits = Splits(identity("train"), identity("validation"), identity("test"))
    found = build_scenarios(splits, settings=ScenarioSettings(clusters=4, components=4))
    assert len({(s.logging_name, s.target_name) for s in found}) == len(found) == 12
    for s in found:
        assert s.logging.min() > 0
        assert len(s.rewards) == len(splits.test)
    best = next(s for s in found if s.target_name == "knn" and s.logging_name == "epsilon_greedy")
    assert best.truth == pytest.approx(float(splits.test.rewards.max(axis=1).mean()), abs=1e-3)
    np.testing.assert_allclose(best.logging.max(axis=1), 0.7 + 0.3 / 4)
    other = build_scenarios(splits, population="validation")
    assert len(other[0].rewards) == len(splits.validation)


def test_report_and_figures(tmp_path: Path) -> None:
    own = [*rows().values(), *rows(100).values()]
    figures = study_figures(own, full_table=2.0)
    worst = max(row.over_bound for row in own if row.estimator == "dr" and row.size == 400)
    assert figures["dr_rmse_over_bound"] == worst
    covered = [row.coverage["normal"] for row in rows().values() if row.estimator == "snips"]
    assert figures["coverage_min"] <= covered[0] <= figures["coverage_max"]  # type: ignore[operator]
    text = study_markdown(own, figures, ridge=[], population="test", clusters=3, settings=QUICK)
    assert "fixed → other" in text
    assert "## 400 decisions per log" in text
    assert len(study_rows(own)) == len(own)
    off_policy_plots.error_against_size(own, path=tmp_path / "error.png", caption="x")
    off_policy_plots.coverage(own, path=tmp_path / "coverage.png")
    assert (tmp_path / "error.png").stat().st_size > 10_000
    assert (tmp_path / "coverage.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StudySettings(replications=50), "replications=50 must be at least 200"),
        (lambda: StudySettings(folds=1), "folds=1 must be at least 2"),
        (lambda: ScenarioSettings(epsilon=0.0), r"epsilon=0.0 .* in \(0, 1\]"),
        (lambda: ScenarioSettings(clusters=1), "clusters=1"),
        (lambda: scenario([0.5, 0.4], [0.5, 0.5]), r"logging\[0\] = .* is no distribution"),
        (
            lambda: build_scenarios(
                Splits(identity("train"), identity("validation"), identity("test")),
                population="train",
            ),
            "population='train' must be",
        ),
        (
            lambda: simulate(
                scenario([0.5, 0.5], [0.5, 0.5]), 1, settings=QUICK, rng=np.random.default_rng(0)
            ),
            "size=1 must be at least 2",
        ),
    ],
)
def test_wrong_settings_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
