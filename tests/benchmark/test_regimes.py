from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import Entry, collect
from routing_gym.benchmark.regimes import MANDATORY, choose_regimes, regime_figures
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval

N = 8
REWARD = np.tile([[0.4, 0.8], [0.8, 0.4]], (N // 2, 1))
RIGHT, WRONG, FIRST = (1, 0) * (N // 2), (0, 1) * (N // 2), (0,) * N
MOSTLY = (*RIGHT[:6], 0, 1)  # .8 on six queries, .4 on two
CELLS = 1000


def stick() -> Yardstick:
    return Yardstick(("base", "code"), np.repeat(["a", "b"], N // 2), REWARD, REWARD, 0, 0)


def record(agent: str, validation: float, actions: tuple[int, ...], **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {"feedback": "full", "outcomes": CELLS, "trained_on": "r"} | changes
    return RunRecord(
        agent=agent,
        seed=0,
        key="k",
        status="finished",
        validation_reward=validation,
        test_actions=actions,
        **fields,
    )


def bandit(agent: str, validation: float, outcomes: int, actions: tuple[int, ...]) -> RunRecord:
    return record(agent, validation, actions, feedback="bandit", outcomes=outcomes)


RECORDS = [
    record("oracle", 1.0, RIGHT, privileged=True),
    record("task_lookup", 0.95, RIGHT, privileged=True),
    record("knn", 0.9, WRONG),
    record("best_single", 0.85, FIRST),
    record("random", 0.99, WRONG, feedback="none", outcomes=0),
    record("ridge", 0.7, RIGHT),
    record("forest", 0.8, MOSTLY),  # worse on test, better on validation
    record("forest", 0.99, RIGHT, trained_on="accuracy"),
    bandit("ppo", 0.79, 5 * CELLS, RIGHT),
    bandit("linucb", 0.75, int(0.4 * CELLS), MOSTLY),
    bandit("squarecb", 0.6, 200, RIGHT),
]


@pytest.fixture(scope="module")
def entries() -> dict[tuple[str, str], Entry]:
    return collect(RECORDS, stick(), bootstrap=stick().bootstrap(resamples=200))


def names(entries: dict[tuple[str, str], Entry], outcomes: int = CELLS) -> list[str | None]:
    chosen = choose_regimes(entries, trained_on="r", outcomes=outcomes)
    found = (chosen.full, chosen.bandit, chosen.frugal)
    return [entry.row.agent if entry is not None else None for entry in found]


def test_a_baseline_in_other_settings_is_a_baseline_still() -> None:
    tuned = record("knn_text", 0.98, WRONG)
    entries = collect([*RECORDS, tuned], stick(), bootstrap=stick().bootstrap(resamples=200))
    names = {"knn_text": "knn"}
    chosen = choose_regimes(entries, trained_on="r", outcomes=CELLS, names=names)
    assert chosen.full is not None
    assert chosen.full.row.agent == "forest"


def test_each_regime_is_chosen_on_validation(entries: dict[tuple[str, str], Entry]) -> None:
    assert names(entries) == ["forest", "ppo", "linucb"]


def test_the_frugal_pay_for_two_fifths(entries: dict[tuple[str, str], Entry]) -> None:
    assert names(entries, outcomes=900) == ["forest", "ppo", "squarecb"]
    assert names(entries, outcomes=200) == ["forest", "ppo", None]


def test_nobody_stands_for_an_empty_regime(entries: dict[tuple[str, str], Entry]) -> None:
    baselines = {key: entries[key] for key in entries if key[0] in (*MANDATORY, "oracle", "random")}
    assert names(baselines) == [None, None, None]
    assert regime_figures(
        choose_regimes(baselines, trained_on="r", outcomes=CELLS),
        baselines,
        stick(),
        bootstrap=stick().bootstrap(resamples=200),
        trained_on="r",
    ) == {}  # fmt: skip


def test_figures_by_hand(entries: dict[tuple[str, str], Entry]) -> None:
    figures = regime_figures(
        choose_regimes(entries, trained_on="r", outcomes=CELLS),
        entries,
        stick(),
        bootstrap=stick().bootstrap(resamples=200),
        trained_on="r",
    )
    values = {
        name: figure.value if isinstance(figure, Interval) else figure
        for name, figure in figures.items()
    }
    mostly = (6 * 0.8 + 2 * 0.4) / 8
    assert values["best_full_gap_closed"] == pytest.approx((mostly - 0.6) / 0.2)
    assert values["best_bandit_gap_closed"] == pytest.approx(1.0)
    assert values["best_full_minus_knn"] == pytest.approx(mostly - 0.4)
    assert values["best_full_minus_task_lookup"] == pytest.approx(mostly - 0.8)
    assert values["best_frugal_minus_best_single"] == pytest.approx(mostly - 0.6)
    assert values["best_bandit_over_full"] == pytest.approx(1.0)  # linucb's over forest's
    gap = figures["best_full_gap_closed"]
    assert isinstance(gap, Interval)
    assert values["best_full_gap_closed_low"] == gap.low < gap.value
    regimes = ("full", "bandit", "frugal")
    assert set(figures) == {"best_bandit_over_full"} | {
        f"best_{name}_{what}"
        for name in regimes
        for what in ("gap_closed", "gap_closed_low", *(f"minus_{other}" for other in MANDATORY))
    }


def test_a_baseline_that_was_not_run_is_left_out(entries: dict[tuple[str, str], Entry]) -> None:
    some = {key: entry for key, entry in entries.items() if key[0] in ("ridge", "knn")}
    figures = regime_figures(
        choose_regimes(some, trained_on="r", outcomes=CELLS),
        some,
        stick(),
        bootstrap=stick().bootstrap(resamples=200),
        trained_on="r",
    )
    assert set(figures) == {
        "best_full_gap_closed",
        "best_full_gap_closed_low",
        "best_full_minus_knn",
    }
