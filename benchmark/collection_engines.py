"""Ways to let every adapter of a pool answer every query, for the contest of collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from routing_gym.adapters.spec import PoolSpec
from routing_gym.queries.query import Query

Answerer = Callable[[Sequence[Query]], list[list[str]]]
"""Queries (N) -> the answers of each adapter, in the pool's order, (K, N)."""
LOOP, POOL, OPENVINO = "loop", "pool", "openvino"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Engine:
    """One way.

    Parameters
    ----------
    name, label
        Short name and the text of its line.
    load
        Loads a pool, which is not timed, and returns what answers.
    own
        Whether it is ours.
    packages
        What it needs, for the provenance.
    lacking
        Lists what it needs and is not installed.
    """

    name: str
    label: str
    load: Callable[[PoolSpec], Answerer]
    own: bool = True
    packages: tuple[str, ...] = ()
    lacking: Callable[[], list[str]] = field(default=list)


def engines() -> tuple[Engine, ...]:
    """Return the plain loop first, then ours."""
    from routing_gym.adapters.openvino_pool import missing_packages

    return (
        Engine(
            LOOP,
            "a loop: `set_adapter`, `generate`, one query at a time",
            load_loop,
            own=False,
            packages=("torch", "transformers", "peft"),
        ),
        Engine(POOL, f"ours: merged, batches of up to {BATCH_SIZE}", load_pool_engine),
        Engine(
            OPENVINO,
            "ours on OpenVINO GenAI: merged, continuous batching",
            load_openvino,
            packages=("openvino", "openvino-genai"),
            lacking=missing_packages,
        ),
    )


def load_loop(spec: PoolSpec) -> Answerer:
    """Load a peft model with all adapters; answer as its users write it."""
    import torch
    from peft import PeftModel

    from routing_gym.adapters.base_model import load_base_model, load_tokenizer
    from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS
    from routing_gym.adapters.prompt import render_prompt

    tokenizer: Any = load_tokenizer(spec.base_model)
    model: Any = load_base_model(spec.base_model)
    for adapter in spec.adapters:
        if adapter.path is None:
            continue
        if hasattr(model, "peft_config"):
            model.load_adapter(str(adapter.path), adapter_name=adapter.name)
        else:
            model = PeftModel.from_pretrained(model, str(adapter.path), adapter_name=adapter.name)
    model.eval()

    def one(query: Query) -> str:
        prompt = render_prompt(tokenizer, query.text)
        encoded = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        encoded = encoded.to(model.device)
        written = model.generate(
            **encoded,
            max_new_tokens=TOKEN_BUDGETS.get(query.form, FREE_BUDGET),
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )[0, encoded["input_ids"].shape[1] :]
        return str(tokenizer.decode(written, skip_special_tokens=True)).strip()

    def answer(queries: Sequence[Query]) -> list[list[str]]:
        answers: list[list[str]] = [[] for _ in spec.adapters]
        for query in queries:
            for own, adapter in zip(answers, spec.adapters, strict=True):
                plain = adapter.path is None and hasattr(model, "peft_config")
                if adapter.path is not None:
                    model.set_adapter(adapter.name)
                with torch.inference_mode(), model.disable_adapter() if plain else nullcontext():
                    own.append(one(query))
        return answers

    return answer


def load_pool_engine(spec: PoolSpec) -> Answerer:
    """Load the pool of transformers."""
    from routing_gym.adapters.pool import AdapterPool

    return _answerer(AdapterPool(spec))


def load_openvino(spec: PoolSpec) -> Answerer:
    """Compile the pool for OpenVINO."""
    import torch

    from routing_gym.adapters.openvino_pool import OpenVINOPool
    from routing_gym.adapters.pool import AdapterPool

    return _answerer(OpenVINOPool(AdapterPool(spec), threads=torch.get_num_threads()))


def _answerer(pool: Any) -> Answerer:
    """Ask a pool adapter by adapter."""

    def answer(queries: Sequence[Query]) -> list[list[str]]:
        texts, forms = [q.text for q in queries], [q.form for q in queries]
        return [
            [a.text for a in pool.generate(name, texts, forms=forms, batch_size=BATCH_SIZE)]
            for name in pool.spec.names
        ]

    return answer
