from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import best_router, collect, router_figures, routing_figures
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

N = 8
REWARD = np.tile([[0.4, 0.8], [0.8, 0.4]], (N // 2, 1))
ACCURACY = np.tile([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], (N // 4, 1))
RIGHT, WRONG = (1, 0) * (N // 2), (0, 1) * (N // 2)


def record(agent: str, trained_on: str, actions: tuple[int, ...], **options: object) -> RunRecord:
    fields = {"seed": 0, "key": "k", "status": "finished", "feedback": "full"} | options
    return RunRecord(agent=agent, trained_on=trained_on, test_actions=actions, **fields)  # type: ignore[arg-type]


@pytest.fixture
def yardstick() -> Yardstick:
    return Yardstick(
        adapters=("base", "code"),
        tasks=np.repeat(["a", "b"], N // 2),
        reward=REWARD,
        accuracy=ACCURACY,
        best_by_reward=0,
        best_by_accuracy=1,
        quality=np.tile([0.5, 0.4], (N, 1)),
        seconds=np.tile([1.0, 2.0], (N, 1)),
    )


@pytest.fixture
def bootstrap(yardstick: Yardstick) -> PairedBootstrap:
    return yardstick.bootstrap(resamples=500)


def interval(figure: float | Interval) -> Interval:
    assert isinstance(figure, Interval)
    return figure


def test_router_figures_by_hand(yardstick: Yardstick, bootstrap: PairedBootstrap) -> None:
    actions = np.array([[0, 0, 1, 0] * 2])  # accuracy .75, always in the tie set
    figures = router_figures(actions, yardstick, bootstrap=bootstrap)
    # the adapter of the best train accuracy is 1: accuracy .5, quality .4, 2 seconds
    assert interval(figures["accuracy_gain_over_best_single"]).value == pytest.approx(0.5)
    assert interval(figures["routing_accuracy"]) == Interval(1.0, 1.0, 1.0)
    assert interval(figures["routing_accuracy_all"]).value == 1.0
    quality = (3 * 0.5 + 0.4) / 4
    gain = interval(figures["quality_gain_over_best_single"])
    assert gain.value == pytest.approx(quality / 0.4 - 1)
    assert interval(figures["seconds_over_best_single"]).value == pytest.approx(1.25 / 2)
    assert gain.low < gain.value < gain.high


def test_ppo_against_best_single_and_supervised(
    yardstick: Yardstick, bootstrap: PairedBootstrap
) -> None:
    records = [record("ppo", "r", RIGHT, feedback="bandit"), record("gumbel", "r", RIGHT)]
    entries = collect(records, yardstick, bootstrap=bootstrap)
    figures = routing_figures(entries, yardstick, bootstrap=bootstrap, reward="r")
    difference = interval(figures["ppo_minus_best_single"])
    assert difference.value == pytest.approx(0.2)  # .8 against .6
    assert figures["ppo_minus_best_single_low"] == difference.low
    assert 0 < difference.low < 0.2
    assert interval(figures["ppo_over_supervised"]) == Interval(1.0, 1.0, 1.0)
    assert interval(figures["ppo_reward_gap"]).value == pytest.approx(0.8 - 0.5)


def test_the_router_is_chosen_on_validation_among_the_deployable(
    yardstick: Yardstick, bootstrap: PairedBootstrap
) -> None:
    records = [
        record("oracle", "r", RIGHT, privileged=True, validation_accuracy=1.0),
        record("best_single", "r", WRONG, validation_accuracy=0.95),
        record("random", "r", WRONG, feedback="none", validation_accuracy=0.9),
        record("knn", "r", WRONG, validation_accuracy=0.7),
        record("knn", "accuracy", WRONG, validation_accuracy=0.8),
        record("gumbel", "r", RIGHT, validation_accuracy=0.75),
    ]
    router = best_router(collect(records, yardstick, bootstrap=bootstrap))
    assert router is not None
    assert router.row.label == "knn / accuracy"


def test_without_learned_routers_there_are_no_gains(
    yardstick: Yardstick, bootstrap: PairedBootstrap
) -> None:
    entries = collect([record("best_single", "r", WRONG)], yardstick, bootstrap=bootstrap)
    assert best_router(entries) is None
    assert routing_figures(entries, yardstick, bootstrap=bootstrap, reward="r") == {}


def test_accuracy_lost_and_ablation(yardstick: Yardstick, bootstrap: PairedBootstrap) -> None:
    records = [
        record("gumbel", "r", RIGHT),
        record("softmax", "r", WRONG),
        record("gumbel", "accuracy", (0, 0, 1, 0) * 2),
    ]
    entries = collect(records, yardstick, bootstrap=bootstrap)
    figures = routing_figures(entries, yardstick, bootstrap=bootstrap, reward="r")
    assert interval(figures["gumbel_minus_softmax"]).value == pytest.approx(0.4)
    # trained on accuracy .75, on the reward (0 + 1 + 1 + 0) / 4
    assert interval(figures["accuracy_lost_to_reward_gumbel"]).value == pytest.approx(0.25)
    assert "gumbel_minus_regression" not in figures
    assert "gumbel_minus_softmax_accuracy" not in figures


def test_seeds_are_joined_and_failed_runs_left_out(
    yardstick: Yardstick, bootstrap: PairedBootstrap
) -> None:
    records = [
        record("knn", "r", RIGHT, validation_accuracy=0.5, outcomes=10),
        record("knn", "r", WRONG, seed=1, validation_accuracy=0.7, outcomes=20),
        record("knn", "r", (), seed=2, status="failed"),
    ]
    entry = collect(records, yardstick, bootstrap=bootstrap)["knn", "r"]
    assert entry.row.seeds == 2
    assert entry.row.reward.value == pytest.approx(0.6)
    assert entry.validation_accuracy == pytest.approx(0.6)
    assert entry.outcomes == 15
