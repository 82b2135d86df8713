"""The layouts in which other projects publish outcomes, read into the tidy one."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from routing_gym.envs.errors import TableError
from routing_gym.envs.tidy import DROPPED_SPLIT, read_csv
from routing_gym.queries.registry import resolve

LAYOUTS: dict[str, str] = {
    "tidy": "routing_gym.envs.layouts:read_plain",
    "routellm": "routing_gym.envs.layouts:read_routellm",
    "routerbench": "routing_gym.envs.layouts:read_routerbench",
    "llmrouter": "routing_gym.envs.layouts:read_llmrouter",
}
"""Layout name -> function that reads it."""
CONTAMINATED = "contaminated_prompts.jsonl"
_RESPONSE, _COST = "_response", "|total_cost"


def read_layout(path: Path | str, layout: str) -> pa.Table:
    """Read a published table as lines of ``query_id, query, arm, score[, cost, task, split]``.

    Parameters
    ----------
    path
        A file or, where the layout spreads over several, their folder.
    layout
        A key of ``LAYOUTS``, or ``"package.module:function"`` of outside code.

    Returns
    -------
    pa.Table
        One row per query and arm, for `routing_gym.envs.tidy.read_tidy`.

    Raises
    ------
    ValueError
        If the layout is unknown; the nearest known one is named.
    TableError
        If the files are missing or are not in that layout.
    """
    path = Path(path)
    reader = resolve(LAYOUTS, layout, kind="layout")
    if not path.exists():
        raise TableError(str(path), "does not exist", "pass the published file or its folder")
    content: pa.Table = reader(path)
    return content


def read_plain(path: Path) -> pa.Table:
    """Read a ``.csv`` or ``.parquet`` file that is tidy already."""
    return _read_columns(path)


def read_routellm(path: Path) -> pa.Table:
    """Read RouteLLM's evaluation files: ``prompt`` and one column of correctness per model.

    A folder is read file by file, the file's name without ``mmlu_`` being the task. Columns
    ``<model>_response`` are ignored. Prompts of a ``contaminated_prompts.jsonl`` in the folder or
    beside it get the split "contaminated", which `read_tidy` leaves out.
    """
    folder = path if path.is_dir() else path.parent
    dirty = {p for place in (folder, folder.parent) for p in _contaminated(place / CONTAMINATED)}
    lines: list[dict[str, Any]] = []
    for file in _files(path, (".csv", ".parquet")):
        content = _read_columns(file)
        _need(content, ("prompt",), file)
        models = [n for n in content.column_names if n != "prompt" and not n.endswith(_RESPONSE)]
        models = [n for n in models if _is_number(content[n].type)]
        _at_least_two(models, file)
        task = file.stem.removeprefix("mmlu_").removesuffix("_responses")
        for row, entry in enumerate(content.select(["prompt", *models]).to_pylist()):
            text = _text(entry["prompt"], file, row)
            shared = {"query_id": f"{task}-{row}", "query": text, "task": task}
            shared["split"] = DROPPED_SPLIT if text in dirty else "clean"
            for model in models:
                score = _number(entry[model], f"model {model!r}", file, row)
                lines.append(shared | {"arm": model, "score": score})
    return pa.Table.from_pylist(lines)


def read_routerbench(path: Path) -> pa.Table:
    """Read RouterBench's wide table: ``<model>`` a score, ``<model>|total_cost`` its cost in USD.

    ``sample_id``, ``prompt`` and ``eval_name`` become query id, query and task; a prompt that is
    the text of a list is joined line by line. Published as a pickle, which runs code when it is
    opened and is therefore refused: convert it to Parquet first.
    """
    if path.suffix in (".pkl", ".pickle"):
        raise TableError(
            str(path),
            "is a pickle, which runs code when it is opened",
            "if you trust it, write pandas.read_pickle(file).to_parquet('table.parquet') once and "
            "pass that",
        )
    content = _read_columns(path)
    _need(content, ("sample_id", "prompt", "eval_name"), path)
    models = [n.removesuffix(_COST) for n in content.column_names if n.endswith(_COST)]
    missing = [model for model in models if model not in content.column_names]
    if missing:
        fault = f"has the cost of {missing[0]!r} but not its score"
        raise TableError(str(path), fault, f"add the column {missing[0]!r}")
    _at_least_two(models, path)
    names = ["sample_id", "prompt", "eval_name", *models, *(f"{m}{_COST}" for m in models)]
    lines: list[dict[str, Any]] = []
    for row, entry in enumerate(content.select(names).to_pylist()):
        text = _joined(_text(entry["prompt"], path, row))
        shared = {"query_id": str(entry["sample_id"]), "query": text, "task": entry["eval_name"]}
        for model in models:
            score = _number(entry[model], f"model {model!r}", path, row)
            cost = _number(entry[f"{model}{_COST}"], f"the cost of {model!r}", path, row)
            lines.append(shared | {"arm": model, "score": score, "cost": cost})
    return pa.Table.from_pylist(lines)


def read_llmrouter(path: Path) -> pa.Table:
    """Read LLMRouter's routing data: one JSON line per query and model.

    ``query``, ``model_name`` (or ``model``) and ``performance`` are needed; ``cost``, else
    ``token_num``, is the cost; ``task_name`` the task. A query is told from others, as its authors
    do, by task, text, truth and metric. In a folder, "train" or "test" in a file's name is the
    split.
    """
    lines: list[dict[str, Any]] = []
    for file in _files(path, (".jsonl",)):
        split = next((name for name in ("train", "validation", "test") if name in file.stem), "")
        for row, entry in enumerate(_json_lines(file)):
            model = entry.get("model_name", entry.get("model"))
            for name, value in (("model_name", model), ("performance", entry.get("performance"))):
                if value is None:
                    fault = f"lacks {name}; it has {', '.join(sorted(entry)) or 'nothing'}"
                    raise TableError(f"{file.name}, row {row}", fault, "add it or drop the row")
            text = _text(entry.get("query"), file, row)
            task = str(entry.get("task_name") or "")
            key = [task, text, entry.get("ground_truth"), entry.get("metric")]
            line = {
                "query_id": hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16],
                "query": text,
                "arm": str(model),
                "score": _number(entry["performance"], "performance", file, row),
                "task": task,
            }
            cost = entry.get("cost", entry.get("token_num"))
            if cost is not None:
                line["cost"] = _number(cost, "the cost", file, row)
            lines.append(line | ({"split": split} if split else {}))
    return pa.Table.from_pylist(lines)


def _files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """List a folder's files of some kinds, in order; a file is itself."""
    if path.is_file():
        return [path]
    found = sorted(f for f in path.iterdir() if f.suffix in suffixes and f.name != CONTAMINATED)
    if not found:
        raise TableError(str(path), f"holds no {' or '.join(suffixes)} file", "pass another folder")
    return found


def _read_columns(path: Path) -> pa.Table:
    """Read one ``.csv`` or ``.parquet`` file."""
    try:
        return read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        fault = f"cannot be read ({str(error).rstrip('.')})"
        raise TableError(str(path), fault, "pass a .parquet or .csv file") from error


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    """Read objects, one per line; empty lines are skipped."""
    for row, line in enumerate(path.read_text("utf-8").splitlines()):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(
                f"{path.name}, row {row}", f"is not JSON ({error})", "mend it"
            ) from error
        if not isinstance(entry, dict):
            raise TableError(f"{path.name}, row {row}", "is not an object", "mend it")
        yield entry


def _contaminated(path: Path) -> list[str]:
    """Read the prompts that RouteLLM's training data contains, if they are listed."""
    return [str(entry.get("eval_prompt")) for entry in _json_lines(path)] if path.is_file() else []


def _need(content: pa.Table, names: Sequence[str], path: Path) -> None:
    """Refuse a table that lacks a column of its layout."""
    for name in names:
        if name not in content.column_names:
            found = ", ".join(content.column_names[:8])
            remedy = f"needed are {', '.join(names)}, found are {found}; is it another layout?"
            raise TableError(str(path), f"lacks the column {name!r}", remedy.rstrip("?"))


def _at_least_two(models: Sequence[str], path: Path) -> None:
    """Refuse a table with nothing to route between."""
    if len(models) < 2:
        fault = f"has columns of {len(models)} models ({', '.join(models) or 'none'})"
        raise TableError(str(path), fault, "give the scores of at least 2 arms")


def _is_number(kind: pa.DataType) -> bool:
    """Whether a column can hold scores; one that is empty throughout can."""
    numeric = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return bool(numeric or pa.types.is_null(kind))


def _number(value: Any, what: str, path: Path, row: int) -> float:
    """Read a finite number, true and false as 1 and 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        fault = f"{what} is {value!r}, not a number"
        raise TableError(f"{path.name}, row {row}", fault, "fill it or drop the query")
    return number


def _text(value: Any, path: Path, row: int) -> str:
    """Read a query's text."""
    if not isinstance(value, str) or not value.strip():
        fault = f"the query is {value!r}, not a text"
        raise TableError(f"{path.name}, row {row}", fault, "fill it or drop the query")
    return value


def _joined(text: str) -> str:
    """Turn the text of a list of texts into its lines; leave anything else."""
    if not text.lstrip().startswith("["):
        return text
    try:
        parts = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    whole = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
    return "\n".join(parts) if whole and any(part.strip() for part in parts) else text
