"""What one machine does per second in each stage of a collection, measured or read from reports."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.http_server import Prompting, ServedAdapter, ServerSpec
from routing_gym.adapters.spec import BASE, AdapterSpec, PoolSpec
from routing_gym.benchmark.instant_server import ADAPTER, instant_server
from routing_gym.envs.collection import verdicts
from routing_gym.envs.collection_files import append_lines
from routing_gym.envs.scoring import cells_of, queries_of
from routing_gym.envs.table import OutcomeTable

SCORING = Path(__file__).resolve().parents[1] / "results" / "self_evaluator" / "scoring.json"
"""Where the seconds of scoring an answer were measured."""
_SIGNAL = -0.1234  # as long as a usual one on disk


@dataclass(frozen=True)
class HttpRate:
    """What one client process drives against a server that answers at once.

    Parameters
    ----------
    concurrency
        Requests at once.
    per_second
        Answers per second of wall time.
    cpu_seconds
        Of the client, per answer.
    """

    concurrency: int
    per_second: float
    cpu_seconds: float


@dataclass(frozen=True)
class Rates:
    """What was measured of every stage but generation.

    Parameters
    ----------
    http
        Of the client, by concurrency.
    scoring_seconds
        Of one process, per answer.
    verification_seconds
        Of one core, per answer, with the processes that run code.
    work_bytes
        Of an answer on disk while the table is collected.
    cell_bytes, query_bytes
        Of an answer and of a query in the finished table.
    open_seconds, save_seconds
        Of reading and of writing a table, per cell.
    memory_bytes
        Of an open table, per cell.
    """

    http: tuple[HttpRate, ...]
    scoring_seconds: float
    verification_seconds: float
    work_bytes: float
    cell_bytes: float
    query_bytes: float
    open_seconds: float
    save_seconds: float
    memory_bytes: float

    @property
    def table_seconds(self) -> float:
        """Of writing and opening a table, per cell."""
        return self.save_seconds + self.open_seconds

    @property
    def best_http(self) -> HttpRate:
        """The concurrency with the most answers per second."""
        return max(self.http, key=lambda rate: rate.per_second)


def http_rates(
    concurrencies: Sequence[int] = (1, 4, 16, 64),
    *,
    requests: int = 400,
    base_model: str = "",
    tokens: int = 16,
    logprobs: int = 20,
) -> tuple[HttpRate, ...]:
    """Measure what this process drives as the client of a server that answers at once.

    The server is a process on the same machine, so on few cores the two share them; the CPU
    seconds are the client's own.

    Parameters
    ----------
    concurrencies
        Requests at once, each measured by itself.
    requests
        Answers per measurement.
    base_model
        Whose tokenizer renders the prompts here; "" leaves that to the server.
    tokens, logprobs
        Of each answer.

    Raises
    ------
    ModuleNotFoundError
        If httpx or tenacity is not installed.
    ValueError
        If a count is below 1.
    """
    if requests < 1 or not concurrencies:
        raise ValueError(f"requests={requests}, concurrencies={concurrencies}: give at least one.")
    prompt: Prompting = "rendered" if base_model else "chat"
    served = AdapterSpec(ADAPTER, served=ServedAdapter(revision="instant"))
    texts = [f"What comes after {i}? Answer with a number, please." for i in range(requests)]
    rates = []
    with instant_server(tokens=tokens, logprobs=logprobs) as url:
        for concurrency in concurrencies:
            server = ServerSpec(
                url, prompt=prompt, concurrency=concurrency, logprobs=logprobs, probe=False
            )
            spec = PoolSpec(base_model or "none", (AdapterSpec(BASE), served), server)
            with HttpPool(spec) as pool:
                pool.generate(ADAPTER, texts[: 2 * concurrency])  # connections stand
                rates.append(_timed(pool, texts, concurrency))
    return tuple(rates)


def measure_rates(
    table: OutcomeTable,
    *,
    http: Sequence[HttpRate],
    verified: int = 210,
    seed: int = 0,
    scoring: Path = SCORING,
) -> Rates:
    """Measure verification, disk and memory on a table; read what scoring was measured to take.

    Parameters
    ----------
    table
        A finished table; sizes and answers are its own.
    http
        From `http_rates`.
    verified
        Answers of the table that are verified again, drawn at random.
    seed
        Of the draw.
    scoring
        The file with ``scoring_seconds_per_answer``.

    Raises
    ------
    FileNotFoundError
        If that file does not exist.
    """
    if not scoring.is_file():
        raise FileNotFoundError(f"{scoring} does not exist: run scripts/measure_scoring.py.")
    content = json.loads(scoring.read_text(encoding="utf-8"))
    cells = len(table) * len(table.adapters)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "table"
        save = _seconds(lambda: table.save(place, embedding_dtype="float16"))
        load = _seconds(lambda: OutcomeTable.load(place))
        sizes = {path.name: path.stat().st_size for path in place.iterdir()}
        work = _work_bytes(table, Path(folder), seed=seed)
    return Rates(
        http=tuple(http),
        scoring_seconds=float(content["scoring_seconds_per_answer"]),
        verification_seconds=_verification_seconds(table, verified, seed=seed),
        work_bytes=work,
        cell_bytes=sizes["outcomes.parquet"] / cells,
        query_bytes=(sizes["queries.parquet"] + sizes["embeddings.safetensors"]) / len(table),
        open_seconds=load / cells,
        save_seconds=save / cells,
        memory_bytes=_memory_bytes(table) / cells,
    )


def _timed(pool: HttpPool, texts: Sequence[str], concurrency: int) -> HttpRate:
    """Time answers."""
    cpu = time.process_time()
    wall = _seconds(lambda: pool.generate(ADAPTER, texts))
    used = time.process_time() - cpu
    return HttpRate(concurrency, len(texts) / wall, used / len(texts))


def _seconds(call: Callable[[], object]) -> float:
    """Time a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _core_seconds() -> float:
    """Seconds of the processor so far, of this process and of those that it waited for."""
    return sum(os.times()[:4])


def _drawn(table: OutcomeTable, count: int, *, seed: int) -> list[tuple[int, str]]:
    """Draw rows and adapters."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(table), size=min(count, len(table)), replace=False).tolist()
    arms = rng.integers(len(table.adapters), size=len(rows)).tolist()
    return [(row, table.adapters[arm]) for row, arm in zip(rows, arms, strict=True)]


def _verification_seconds(table: OutcomeTable, count: int, *, seed: int) -> float:
    """Verify answers as a collection does; what that takes of all cores together."""
    queries, cells = queries_of(table), cells_of(table)
    pairs = [
        (queries[row], cells[adapter][queries[row].query_id])
        for row, adapter in _drawn(table, count, seed=seed)
    ]
    before = _core_seconds()
    verdicts(pairs)
    return (_core_seconds() - before) / len(pairs)


def _work_bytes(table: OutcomeTable, folder: Path, *, seed: int) -> float:
    """Write answers as a collection does, with as many token signals as they have tokens."""
    cells, path = cells_of(table), folder / "answers.jsonl"
    drawn = _drawn(table, 500, seed=seed)
    lines = []
    for row, adapter in drawn:
        cell = cells[adapter][str(table.query_id[row])]
        signals = (_SIGNAL,) * cell.completion_tokens
        whole = dataclasses.replace(
            cell, key="0" * 24, token_log_probs=signals, token_entropies=signals
        )
        lines.append(dataclasses.asdict(whole))
    append_lines(path, lines)
    return path.stat().st_size / len(lines)


def _memory_bytes(table: OutcomeTable) -> float:
    """Add up the arrays of an open table, and the texts of its answers."""
    columns = [getattr(table, field.name) for field in dataclasses.fields(table)]
    arrays = [c for c in columns if isinstance(c, np.ndarray)] + list(table.scores.values())
    texts = sum(len(text.encode()) + 49 for text in table.responses.flat)  # 49: a str's own
    return float(sum(array.nbytes for array in arrays) + texts)
