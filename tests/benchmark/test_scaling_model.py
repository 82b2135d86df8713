"""The scaling model by hand, and the rates that it is fed with on a small table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing_gym.benchmark.scaling_model import (
    HttpRate,
    Plan,
    Rates,
    estimate,
    http_rates,
    measure_rates,
    scaling_figures,
    scaling_section,
)
from routing_gym.envs.table import OutcomeTable

RATES = Rates(
    http=(HttpRate(1, 100.0, 0.004), HttpRate(16, 250.0, 0.005)),
    scoring_seconds=0.016,
    verification_seconds=0.004,
    work_bytes=500.0,
    cell_bytes=60.0,
    query_bytes=1000.0,
    open_seconds=20e-6,
    save_seconds=16e-6,
    memory_bytes=400.0,
)


def test_an_estimate_by_hand() -> None:
    found = estimate(RATES, Plan(per_gpu=10.0, queries=1_000_000, adapters=100, gpus=8, workers=32))
    assert found.hours == pytest.approx(
        {
            "generation": 1e8 / 80 / 3600,
            "scoring": 1e8 * 0.016 / 32 / 3600,
            "verification": 1e8 * 0.004 / 32 / 3600,
            "table": 1.0,
        }
    )
    assert found.total_hours == pytest.approx(sum(found.hours.values()))
    assert found.gpu_hours == pytest.approx(1e8 / 10 / 3600)
    assert found.disk_gb == pytest.approx(50 + 6 + 1)
    assert found.memory_gb == pytest.approx(40)
    assert found.bottleneck == "generation"


def test_the_bottleneck_moves() -> None:
    plan = Plan(per_gpu=10.0, clients=4, workers=32)
    assert estimate(RATES, plan).bottleneck == "generation"
    assert estimate(RATES, replace(plan, per_gpu=1e4, clients=1)).bottleneck == "client"
    assert estimate(RATES, replace(plan, per_gpu=1e4, clients=100)).bottleneck == "scoring"
    many = replace(plan, per_gpu=1e4, clients=10_000, workers=10_000)
    assert estimate(RATES, many).bottleneck == "table"


def test_clients_that_are_too_few_hold_the_gpus_up() -> None:
    held = estimate(RATES, Plan(per_gpu=1000.0, clients=4))
    assert held.hours["client"] == pytest.approx(1e8 / 1000 / 3600)
    assert held.gpu_hours == pytest.approx(8 * held.hours["client"])


def test_the_section_says_what_was_measured_and_what_was_not() -> None:
    text = scaling_section(RATES, per_gpu=(10.0, 100.0))
    assert "1,000,000 queries × 100 adapters on 8 GPUs" in text
    assert "No one has run this" in text
    assert "| 10                |        347.2 |   2,777.8 |" in text
    assert "From 250 answers/s per GPU on, which so few clients do not reach, scoring" in text
    more = scaling_section(RATES, plan=Plan(per_gpu=10.0, clients=8))  # 32 / .016 / 8 = 250
    assert "From 250 answers/s per GPU on, scoring takes longer" in more
    assert "4 client processes drive 1,000 answers/s, that is 125 per GPU: faster" in text
    assert "40 GB" in text
    figures = scaling_figures(RATES)
    assert figures["http_answers_per_second"] == 250.0
    assert figures["table_open_microseconds_per_answer"] == pytest.approx(20)


@pytest.mark.parametrize("name", ["per_gpu", "queries", "adapters", "gpus", "clients", "workers"])
def test_wrong_plans(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: give a number above 0"):
        Plan(**{"per_gpu": 1.0, name: 0})


def test_rates_are_measured_over_http() -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("tenacity")
    rates = http_rates((1, 4), requests=20, tokens=5, logprobs=3)
    assert [rate.concurrency for rate in rates] == [1, 4]
    for rate in rates:
        assert rate.per_second > 0
        assert 0 < rate.cpu_seconds < 1


@pytest.mark.parametrize("settings", [{"requests": 0}, {"concurrencies": ()}])
def test_nothing_cannot_be_measured(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give at least one"):
        http_rates(**settings)


def test_rates_of_a_table(tmp_path: Path) -> None:
    table = OutcomeTable.load(Path(__file__).resolve().parents[2] / "results" / "table")
    scoring = tmp_path / "scoring.json"
    with pytest.raises(FileNotFoundError, match=r"run scripts/measure_scoring\.py"):
        measure_rates(table, http=RATES.http, scoring=scoring)
    scoring.write_text(json.dumps({"scoring_seconds_per_answer": 0.016}))
    rates = measure_rates(table, http=RATES.http, verified=5, scoring=scoring)
    assert rates.best_http.concurrency == 16
    assert rates.scoring_seconds == 0.016
    assert rates.verification_seconds > 0
    assert 60 < rates.cell_bytes < 70
    assert 500 < rates.query_bytes < 1000
    assert rates.work_bytes > 300
    assert 100 < rates.memory_bytes < 2000
    assert 0 < rates.table_seconds < 0.1
