"""Exact figures of the comparison of trainings, its tables and its drawings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.statistics import Interval, wilson_interval
from routing_gym.benchmark.training_comparison import (
    Arm,
    comparison_figures,
    comparison_markdown,
    draw_rewards,
    draw_shares,
    paired_gain,
    tasks_in,
)

START = Arm(
    "reasoning",
    "turns",
    "start",
    {"validation": [0.0, 1.0, 0.0, 0.0], "made": [1.0, 0.0, 0.0, 0.0], "others": [1.0, 1.0]},
)
SPENT = {"updates": 3.0, "queries": 24.0, "cpu_seconds": 12.0, "trained_tokens": 4321.0}
SFT = replace(
    START,
    name="sft",
    right={"validation": [1.0, 1.0, 0.0, 0.0], "made": [1.0, 1.0, 1.0, 0.0], "others": [1.0, 0.0]},
    measures=SPENT,
)
GRPO = replace(
    START,
    name="grpo",
    right={"validation": [1.0, 1.0, 1.0, 0.0], "made": [1.0, 0.0, 0.0, 0.0], "others": [1.0, 1.0]},
    measures=SPENT | {"generated_tokens": 99.0, "informative_share": 0.25},
    rewards=[0.1, 0.4, 0.6],
)
ARMS = (SFT, START, GRPO)


def test_figures() -> None:
    figures = comparison_figures(ARMS, seed=3, resamples=400)
    values = {k: f.value if isinstance(f, Interval) else f for k, f in figures.items()}
    assert figures["turns_start_target"] == wilson_interval(2, 8)
    assert (values["turns_sft_target"], values["turns_sft_made"]) == (5 / 8, 3 / 4)
    assert (values["turns_sft_gain"], values["turns_grpo_gain"]) == (3 / 8, 2 / 8)
    assert (values["turns_sft_gain_validation"], values["turns_sft_gain_made"]) == (1 / 4, 2 / 4)
    assert (values["turns_sft_gain_others"], values["turns_grpo_gain_others"]) == (-1 / 2, 0.0)
    assert values["turns_grpo_minus_sft"] == -1 / 8
    assert values["turns_grpo_informative_share"] == 0.25
    assert values["turns_sft_cpu_seconds"] == 12.0
    assert "turns_start_gain" not in figures
    same = figures["turns_grpo_gain_others"]
    assert isinstance(same, Interval)
    assert (same.low, same.high) == (0.0, 0.0)


def test_a_gain_is_paired_and_stays_within_its_groups() -> None:
    """On 200 queries that all gain but for ten that lose, the interval is that of the mean."""
    made = np.zeros(200)
    better = np.ones(200)
    better[:10] = 0.0
    first = replace(SFT, right={"validation": [], "made": better.tolist(), "others": []})
    second = replace(START, right={"validation": [], "made": made.tolist(), "others": []})
    gain = paired_gain(first, second, group="target")
    assert gain.value == pytest.approx(0.95)
    assert 0.91 < gain.low < 0.94
    assert 0.96 < gain.high < 0.99
    assert not paired_gain(first, second, group="validation").defined
    assert not first.share("others").defined


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ((SFT, GRPO), "the arms of task 'turns' need one named 'start'"),
        ((START, START), "need one named 'start'"),
        (
            (START, replace(SFT, right={"validation": [1.0], "made": [], "others": []})),
            "the arms of task 'turns' answered",
        ),
    ],
)
def test_arms_that_cannot_be_compared(arms: tuple[Arm, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks_in(arms)


@pytest.mark.parametrize(
    "right", [{"made": [1.0]}, {"validation": [], "made": [], "others": [1.0]}]
)
def test_an_arm_without_queries(right: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give validation, made, others, and queries of the task"):
        replace(START, right=right)


def test_the_report(tmp_path: Path) -> None:
    other = [replace(arm, task="rhyme") for arm in (START, SFT)]
    arms = [*ARMS, *other]
    figures = comparison_figures(arms, resamples=50)
    text = comparison_markdown(arms, figures)
    assert "## turns, from the adapter *reasoning*" in text
    assert "Queries: 4 validation, 4 made, 2 others." in text
    assert "GRPO less supervised fine-tuning on the target: -0.12" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "4,321" in lines["grpo"]
    assert "0.25" in lines["grpo"]
    assert "nan" not in text
    for name, draw in {
        "accuracy": lambda path: draw_shares(arms, group="target", path=path),
        "others": lambda path: draw_shares(arms, group="others", path=path),
        "rewards": lambda path: draw_rewards(arms, path=path),
    }.items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
