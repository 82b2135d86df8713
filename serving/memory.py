"""How much memory a pool takes in one process, beside its base alone and separate models."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from routing_gym.adapters.spec import PoolSpec

WAYS = ("imports", "base", "pool", "separate")
_QUESTION = "Write a sentence with the words river, lantern."
_TOKENS = 16


def resident_megabytes(process: int | str = "self", *, kind: str = "VmRSS") -> float:
    """Return a process's resident memory in MB (10^6 bytes), as Linux counts it.

    Parameters
    ----------
    process
        Its id; "self" is this one.
    kind
        ``VmRSS`` is the memory now, ``VmHWM`` its peak.
    """
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith(f"{kind}:")]
    return int(line.split()[1]) * 1024 / 1e6


def memory_report(spec: PoolSpec, *, rows: int = 8, ways: Sequence[str] = WAYS) -> dict[str, float]:
    """Measure ways to hold a pool, each in a fresh process that has just answered.

    Parameters
    ----------
    spec
        The pool.
    rows
        Questions that are answered at once before the measurement.
    ways
        Some of `WAYS`: ``imports`` is the libraries without any model, ``base`` the base model
        alone, ``pool`` the base with every adapter beside it (what the local back end holds), and
        ``separate`` one whole model for each trained adapter.

    Returns
    -------
    dict
        Way -> resident MB.
    """
    return {way: _in_a_fresh_process(_MEASURED[way], spec, rows) for way in ways}


def _in_a_fresh_process(
    measure: Callable[[PoolSpec, int], float], spec: PoolSpec, rows: int
) -> float:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(measure, spec, rows).result()


def _imports(spec: PoolSpec, rows: int) -> float:
    """Load the libraries alone."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    return resident_megabytes()


def _base(spec: PoolSpec, rows: int) -> float:
    """Answer with the base alone."""
    import peft  # noqa: F401

    from routing_gym.adapters.base_model import load_base_model, load_tokenizer

    model = load_base_model(spec.base_model)
    _answer(model, load_tokenizer(spec.base_model), rows)
    return _with(model)


def _pool(spec: PoolSpec, rows: int) -> float:
    """Answer with all adapters in one batch."""
    from routing_gym.adapters.mixed_pool import MixedPool
    from routing_gym.adapters.open_batch import OpenBatch, Row
    from routing_gym.adapters.prompt import render_prompt

    pool = MixedPool(spec)
    ids = pool.tokenizer(render_prompt(pool.tokenizer, _QUESTION), add_special_tokens=False)
    names = [spec.names[row % len(spec.names)] for row in range(rows)]
    batch = OpenBatch(pool)
    batch.join([Row(row, name, ids["input_ids"]) for row, name in enumerate(names)])
    for _ in range(_TOKENS):
        batch.choose()
        batch.advance()
    return _with(pool)


def _separate(spec: PoolSpec, rows: int) -> float:
    """Answer with one model after the other, all of them in memory."""
    from peft import PeftModel

    from routing_gym.adapters.base_model import load_base_model, load_tokenizer

    tokenizer, models = load_tokenizer(spec.base_model), []
    for adapter in spec.adapters:
        if adapter.path is not None:
            base: Any = load_base_model(spec.base_model)
            merged = PeftModel.from_pretrained(base, str(adapter.path)).merge_and_unload()
            models.append(merged.eval())
    for model in models:
        _answer(model, tokenizer, rows)
    return _with(models)


def _with(held: object) -> float:
    """Measure while something is held."""
    assert held is not None
    return resident_megabytes()


def _answer(model: Any, tokenizer: Any, rows: int) -> None:
    """Let a model answer a batch."""
    from routing_gym.adapters.generation import generate
    from routing_gym.adapters.prompt import render_prompt

    prompts = [render_prompt(tokenizer, _QUESTION)] * rows
    generate(model, tokenizer, prompts, max_new_tokens=[_TOKENS] * rows)


_MEASURED: dict[str, Callable[[PoolSpec, int], float]] = {
    "imports": _imports,
    "base": _base,
    "pool": _pool,
    "separate": _separate,
}
