"""Make adversarial pairs from an outcome table: right answers against tempting wrong ones.

Every pair is verified by its task; every text carries the token signals that metrics are made from,
read under the adapter that gave it (a text made by rule: that gave the right answer).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.likelihood import BaseLikelihood
from routing_gym.adapters.p_true import PTrue
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.token_signals import TokenSignals, token_signals
from routing_gym.benchmark.provenance import provenance
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query
from routing_gym.rewards.adversarial import AdversarialPair, write_pairs
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.pair_drafts import PER_CELL, Draft, balanced, draft_pairs, finish_pair
from routing_gym.rewards.wrong_answers import RULES, Stored
from routing_gym.scripts.command import run_command

Texts = list[tuple[str, str]]


@dataclass(frozen=True)
class Config:
    """Settings of one set of pairs.

    Parameters
    ----------
    table
        Folder of the outcome table.
    pool
        Name or file of the pool that the table is of; its models read the answers.
    split
        Split whose answers are used.
    output
        Parquet file of the pairs; it is replaced.
    seed
        Seed of every choice.
    per_cell
        Pairs wanted of each rule in each domain, by the rule's kind (real, content, dressed, void).
    variants
        Wrong texts per pair from which the base model's likeliest is taken.
    batch_size
        Different queries per batch.
    threads
        CPU threads; 0 leaves it to torch.
    """

    table: Path = Path("results/table")
    pool: str = "default"
    split: str = "test"
    output: Path = Path("results/self_evaluator/adversarial.parquet")
    seed: int = 0
    per_cell: dict[str, int] = field(default_factory=lambda: dict(PER_CELL))
    variants: int = 3
    batch_size: int = 32
    threads: int = 0

    def __post_init__(self) -> None:
        if self.variants < 1 or self.batch_size < 1:
            raise ValueError(
                f"variants={self.variants} and batch_size={self.batch_size} must be at least 1."
            )


def make_adversarial(config: Config) -> None:
    """Draft, verify, measure and write the pairs."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    table = OutcomeTable.load(config.table)
    spec = load_pool(config.pool)
    table.check_pool(spec.names, spec.fingerprint)
    if config.split not in table.splits:
        raise ValueError(f"split={config.split!r} holds no query: choose one of {table.splits}.")
    print("drafting and verifying ...")
    drafts = draft_pairs(
        stored_answers(table.where(split=config.split)),
        rng=np.random.default_rng(config.seed),
        per_cell=config.per_cell,
        variants=config.variants,
    )
    pairs = balanced(_finish(config, spec, drafts), per_cell=config.per_cell)
    measured = measure(config, spec, pairs)
    origin = provenance(
        table_hash=table.fingerprint, seeds=[config.seed], extra=[f"split: {config.split}"]
    )
    write_pairs(measured, config.output, provenance={"provenance": origin})
    print(f"{summary(measured)}\n\n{len(measured)} pairs -> {config.output}")


def stored_answers(table: OutcomeTable) -> list[Stored]:
    """List every answer of a table with its verdict."""
    answers = []
    for row, text in enumerate(table.text):
        query = Query(
            query_id=table.query_id[row],
            text=text,
            domain=table.domain[row],
            task=table.task[row],
            complexity=int(table.complexity[row]),
            form=table.form[row],
            form_size=int(table.form_size[row]),
            reference=table.reference[row],
        )
        answers += [
            Stored(
                query,
                adapter,
                response=table.responses[row, arm],
                right=bool(table.scores["accuracy"][row, arm]),
                finished=bool(table.finished[row, arm]),
                prompt_tokens=int(table.prompt_tokens[row, arm]),
                completion_tokens=int(table.completion_tokens[row, arm]),
                seconds=float(table.seconds[row, arm]),
            )
            for arm, adapter in enumerate(table.adapters)
        ]
    return answers


def measure(
    config: Config, spec: PoolSpec, pairs: Sequence[AdversarialPair]
) -> list[AdversarialPair]:
    """Add the token signals under the answering adapters, the costs and P(True)."""
    sides = [(p.adapter_right, p.right_answer) for p in pairs]
    sides += [(p.adapter_wrong, p.wrong_answer) for p in pairs]
    signals = _signals(config, spec, sides)
    judge = PTrue(spec.base_model, batch_size=config.batch_size)
    with _bar(len({(a.query, a.response) for _, a in sides}), "P(True)") as bar:
        judged = judge(
            [a.query for _, a in sides], [a.response for _, a in sides], on_batch=bar.update
        )
    whole = [
        dataclasses.replace(
            answer,
            token_log_probs=tuple(map(float, signals[i].log_probs)),
            token_entropies=tuple(map(float, signals[i].entropies)),
            p_true=float(judged[i]),
        )
        for i, (_, answer) in enumerate(sides)
    ]
    count = len(pairs)
    return [
        dataclasses.replace(
            pair,
            right_answer=right,
            wrong_answer=wrong if pair.made == "real" else _priced(wrong, right),
        )
        for pair, right, wrong in zip(pairs, whole[:count], whole[count:], strict=True)
    ]


def summary(pairs: Sequence[AdversarialPair]) -> str:
    """Count the pairs by rule and domain, and the lures beyond the promised ones."""
    domains = list(dict.fromkeys(pair.domain for pair in pairs))
    counts = Counter((pair.rule, pair.domain) for pair in pairs)
    lines = [f"{'':18}{'lure':>9}" + "".join(f"{domain:>10}" for domain in domains)]
    lines += [
        f"{rule:18}{RULES[rule].lure:>9}" + "".join(f"{counts[rule, d]:10}" for d in domains)
        for rule in RULES
        if any(counts[rule, domain] for domain in domains)
    ]
    longer = np.mean([len(pair.wrong) > len(pair.right) for pair in pairs])
    likelier = np.mean([bool(pair.likelier) for pair in pairs])
    lines.append(f"of all wrong answers, {longer:.0%} are longer and {likelier:.0%} likelier")
    return "\n".join(lines)


def _finish(config: Config, spec: PoolSpec, drafts: Sequence[Draft]) -> list[AdversarialPair]:
    """Ask the base model which of each draft's wrong texts it finds likeliest."""
    wanted = [(d.right.query.text, text) for d in drafts for text in (d.right.response, *d.wrong)]
    known = _likelihoods(config, spec, list(dict.fromkeys(wanted)))
    return [
        finish_pair(
            draft,
            right=known[draft.right.query.text, draft.right.response],
            wrong=[known[draft.right.query.text, text] for text in draft.wrong],
        )
        for draft in drafts
    ]


def _likelihoods(config: Config, spec: PoolSpec, texts: Texts) -> dict[tuple[str, str], float]:
    """Mean token log-likelihoods under the base, by query and response."""
    likelihood = BaseLikelihood(spec.base_model, batch_size=config.batch_size)
    by_query: dict[str, list[str]] = {}
    for query, response in texts:
        by_query.setdefault(query, []).append(response)
    queries = sorted(by_query, key=lambda query: max(map(len, by_query[query])))
    known: dict[tuple[str, str], float] = {}
    with _bar(len(texts), "likelihood") as bar:
        for start in range(0, len(queries), config.batch_size):
            part = queries[start : start + config.batch_size]
            keys = [(query, response) for query in part for response in by_query[query]]
            values = likelihood([q for q, _ in keys], [r for _, r in keys])
            known.update(zip(keys, values.tolist(), strict=True))
            bar.update(len(keys))
    return known


def _signals(
    config: Config, spec: PoolSpec, sides: Sequence[tuple[str, Answer]]
) -> list[TokenSignals]:
    """Token signals of answers, each under its own adapter."""
    pool = AdapterPool(spec)
    found: dict[int, TokenSignals] = {}
    distinct = {(name, a.query, a.response, a.finished) for name, a in sides}
    with _bar(len(distinct), "signals") as bar:
        for name in spec.names:
            rows = [row for row, (adapter, _) in enumerate(sides) if adapter == name]
            pool.activate(name)
            signals = token_signals(
                pool.model,
                pool.tokenizer,
                [sides[row][1].query for row in rows],
                [sides[row][1].response for row in rows],
                [sides[row][1].finished for row in rows],
                batch_size=config.batch_size,
                on_batch=bar.update,
            )
            found.update(zip(rows, signals, strict=True))
    return [found[row] for row in range(len(sides))]


def _priced(wrong: Answer, right: Answer) -> Answer:
    """Price a text that nobody generated: seconds go with the tokens read and written."""
    assert wrong.token_log_probs is not None
    tokens = len(wrong.token_log_probs)
    worked = max(1, right.prompt_tokens + right.completion_tokens)
    seconds = right.seconds * (right.prompt_tokens + tokens) / worked
    return dataclasses.replace(wrong, finished=True, completion_tokens=tokens, seconds=seconds)


def _bar(total: int, description: str) -> Any:
    """Show how many answers are read."""
    return tqdm(total=total, unit="answer", desc=description, smoothing=0.05)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config,
        make_adversarial,
        description=__doc__,
        default_config="configs/make_adversarial.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
