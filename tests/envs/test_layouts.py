"""Published layouts become tidy lines, or say why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routing_gym.envs.errors import TableError
from routing_gym.envs.layouts import CONTAMINATED, read_layout
from routing_gym.envs.table import OutcomeTable

ROUTELLM = """prompt,weak-1,strong-1,weak-1_response
"Who
is ""it""?",True,False,"a, b"
What is 2?,False,True,c
"""


def routellm(folder: Path, text: str = ROUTELLM) -> Path:
    (folder / "mmlu_anatomy.csv").write_text(text)
    return folder / "mmlu_anatomy.csv"


def routerbench(folder: Path, **columns: Any) -> Path:
    content: dict[str, Any] = {
        "sample_id": ["mmlu.0", "mmlu.1"],
        "prompt": ["['Be brief.', 'Who?']", "What?"],
        "eval_name": ["mmlu", "gsm8k"],
        "gpt-4": [1.0, 0.5],
        "mistral": [0.0, 0.25],
        "gpt-4|model_response": ["a", "b"],
        "gpt-4|total_cost": [0.01, 0.02],
        "mistral|total_cost": [0.001, 0.002],
        "oracle_model_to_route_to": ["gpt-4", "gpt-4"],
    }
    content = {name: values for name, values in (content | columns).items() if values is not None}
    pq.write_table(pa.table(content), folder / "wide.parquet")
    return folder / "wide.parquet"


def llmrouter(folder: Path, name: str = "routing_train.jsonl", **fields: Any) -> Path:
    rows = [
        {
            "task_name": "gsm8k",
            "query": f"What is {i}?",
            "ground_truth": str(i),
            "metric": "GSM8K",
            "model_name": model,
            "performance": float(i == 1),
            "token_num": 10 * i + 5,
        }
        | fields
        for i in range(2)
        for model in ("qwen", "llama")
    ]
    path = folder / name
    path.write_text(
        "\n".join(json.dumps({k: v for k, v in r.items() if v is not None}) for r in rows)
    )
    return path


def test_routellm(tmp_path: Path) -> None:
    lines = read_layout(routellm(tmp_path), "routellm").to_pylist()
    assert [line["arm"] for line in lines] == ["weak-1", "strong-1"] * 2  # responses are no arm
    assert lines[0] == {
        "query_id": "anatomy-0",
        "query": 'Who\nis "it"?',
        "task": "anatomy",
        "split": "clean",
        "arm": "weak-1",
        "score": 1.0,
    }


def test_routellm_folder_with_contaminated_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "responses"
    folder.mkdir()
    routellm(folder)
    (folder / "mmlu_law.csv").write_text("prompt,weak-1,strong-1\nWhy?,1,0\n")
    (tmp_path / CONTAMINATED).write_text('{"eval_prompt": "What is 2?"}\n')
    table = OutcomeTable.from_tidy(read_layout(folder, "routellm"))
    assert table.query_id.tolist() == ["anatomy-0", "law-0"]
    assert table.task.tolist() == ["anatomy", "law"]


def test_routerbench(tmp_path: Path) -> None:
    lines = read_layout(routerbench(tmp_path), "routerbench").to_pylist()
    assert lines[0] == {
        "query_id": "mmlu.0",
        "query": "Be brief.\nWho?",
        "task": "mmlu",
        "arm": "gpt-4",
        "score": 1.0,
        "cost": 0.01,
    }
    table = OutcomeTable.from_tidy(pa.Table.from_pylist(lines))
    assert table.adapters == ("gpt-4", "mistral")
    assert table.scores["cost"][1].tolist() == pytest.approx([1.0, 0.1])


def test_llmrouter(tmp_path: Path) -> None:
    llmrouter(tmp_path)
    llmrouter(tmp_path, "routing_test.jsonl", task_name="math")
    lines = read_layout(tmp_path, "llmrouter").to_pylist()
    assert len(lines) == 8
    assert {line["split"] for line in lines if line["task"] == "math"} == {"test"}
    assert {line["split"] for line in lines if line["task"] == "gsm8k"} == {"train"}
    assert {line["cost"] for line in lines} == {5.0, 15.0}  # tokens, where there is no cost
    assert len({line["query_id"] for line in lines}) == 4


def test_llmrouter_with_costs_and_without_splits(tmp_path: Path) -> None:
    path = llmrouter(tmp_path, "all.jsonl", cost=0.5, model_name=None, model="m")
    lines = read_layout(path, "llmrouter").to_pylist()
    assert {line["cost"] for line in lines} == {0.5}
    assert "split" not in lines[0]


def test_leaking_splits_are_refused(tmp_path: Path) -> None:
    llmrouter(tmp_path)
    llmrouter(tmp_path, "routing_test.jsonl", query="what is  1", ground_truth="x")
    path = tmp_path / "routing_test.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]))
    with pytest.raises(TableError, match="move both to one split"):
        OutcomeTable.from_tidy(read_layout(tmp_path, "llmrouter"))


def test_outside_layouts_plug_in(tmp_path: Path) -> None:
    path = routellm(tmp_path)
    named = read_layout(path, "routing_gym.envs.layouts:read_routellm")
    assert named.equals(read_layout(path, "routellm"))


Make = Callable[[Path], Path]
BAD: list[tuple[str, Make, str]] = [
    ("routellm", lambda f: f / "no.csv", "does not exist"),
    ("routellm", lambda f: f, r"holds no .csv or .parquet file"),
    ("routellm", lambda f: routellm(f, "query,a,b\nx,1,0\n"), "lacks the column 'prompt'"),
    ("routellm", lambda f: routellm(f, "prompt,a,b\nx,1,0\ny,,1\n"), r"row 1: model 'a' is None"),
    ("routellm", lambda f: routellm(f, "prompt,a\nx,1\n"), r"columns of 1 models \(a\)"),
    ("routellm", lambda f: routellm(f, 'prompt,a,b\n" ",1,0\n'), "row 0: the query is ' '"),
    ("routerbench", lambda f: routellm(f), "lacks the column 'sample_id'"),
    (
        "routerbench",
        lambda f: routerbench(f, mistral=None),
        "has the cost of 'mistral' but not its score",
    ),
    (
        "routerbench",
        lambda f: routerbench(f, mistral=[0.5, float("nan")]),
        "row 1: model 'mistral' is nan",
    ),
    (
        "routerbench",
        lambda f: routerbench(f, **{"mistral|total_cost": None}),
        r"columns of 1 models \(gpt-4\)",
    ),
    ("llmrouter", lambda f: llmrouter(f, performance=None), "row 0: lacks performance"),
    ("llmrouter", lambda f: llmrouter(f, model_name=None), "row 0: lacks model_name"),
    ("llmrouter", lambda f: llmrouter(f, performance="good"), "performance is 'good'"),
    ("llmrouter", lambda f: llmrouter(f, query=""), "the query is ''"),
]


@pytest.mark.parametrize(("layout", "make", "message"), BAD)
def test_refuses(layout: str, make: Make, message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read_layout(make(tmp_path), layout)


def test_refuses_pickles_lines_that_are_no_json_and_unknown_layouts(tmp_path: Path) -> None:
    (tmp_path / "t.pkl").write_bytes(b"")
    with pytest.raises(TableError, match="runs code when it is opened"):
        read_layout(tmp_path / "t.pkl", "routerbench")
    (tmp_path / "t.jsonl").write_text('{"query": "x"\n')
    with pytest.raises(TableError, match="row 0: is not JSON"):
        read_layout(tmp_path / "t.jsonl", "llmrouter")
    (tmp_path / "t.jsonl").write_text("[1]\n")
    with pytest.raises(TableError, match="row 0: is not an object"):
        read_layout(tmp_path / "t.jsonl", "llmrouter")
    with pytest.raises(ValueError, match="did you mean 'routellm'"):
        read_layout(tmp_path, "routelm")
