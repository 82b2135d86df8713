"""The report of made data says what was made, refused and measured, and draws it."""

from __future__ import annotations

from pathlib import Path

from routing_gym.benchmark.data_report import data_report, draw_effect, effect_table
from routing_gym.queries.near_duplicates import Thresholds
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from routing_gym.queries.synthesis_settings import Contents, MadeData
from routing_gym.queries.threshold_effect import Probe

NEAR = {"query_id": "q", "split": "test", "cosine": 0.81, "jaccard": 0.2}
SAMPLE = Sample(
    Query("a", "Say\na line | with cat.", "creative", "rhyme", complexity=1),
    "A hat.",
    {"nearest": NEAR, "changes": ["Hello!"], "paraphraser": "m"},
)
MADE = MadeData((SAMPLE,), {"rhyme / 1": {"too near": 4}}, {"rhyme / 1": Contents(9, 5, 0.5, True)})


def probes() -> list[Probe]:
    texts = {"words": "old", "meaning": "old"}
    return [
        Probe("rhyme", f"new {i}", i > 7, {"words": i / 10, "meaning": i / 10}, texts)  # type: ignore[arg-type]
        for i in range(10)
    ]


def test_the_report_tells_all() -> None:
    text = data_report(
        "Data", MADE, probes=probes(), thresholds=Thresholds(), leaks=0, figure="f.png"
    )
    for part in ("`leaks` = 0", "5 of 9", "50.0 %", "0.810", "too near", "![Effect", "f.png"):
        assert part in text
    assert "Removed at 0.800 (same question): “new 8” beside “old”" in text
    assert "Kept at 0.900 (same question): “new 9”" in text
    assert "- Say a line | with cat. → `A hat.`" in text


def test_no_probes_no_figure() -> None:
    text = data_report("Data", MadeData((), {}, {}), probes=[], thresholds=Thresholds(), leaks=0)
    assert "Nothing." in text
    assert "threshold does" not in text


def test_the_table_of_thresholds() -> None:
    row = next(line for line in effect_table(probes(), "words").splitlines() if "| 0.8 " in line)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "0.8",
        "20.0 %",
        "80.0 %",
        "100.0 %",
        "0.0 %",
    ]


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    draw_effect(probes(), Thresholds(), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 10_000
    assert (tmp_path / "f.svg").is_file()
