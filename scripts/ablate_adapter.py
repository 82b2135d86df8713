"""Compare where and how wide an adapter's LoRA sits, at equal training: loss, accuracy, size."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routing_gym.adapters.base_model import EMBEDDED
from routing_gym.adapters.lora import ALL_LINEAR, ATTENTION
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.spec import BASE, AdapterSpec, PoolSpec
from routing_gym.adapters.training import AdapterTrainingConfig, train_adapter
from routing_gym.adapters.training_run import finished_measures
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import format_interval, markdown_table, write_report
from routing_gym.benchmark.statistics import Interval, wilson_interval
from routing_gym.queries.dataset import make_examples, tasks_of, verify
from routing_gym.queries.query import Example
from routing_gym.scripts.command import run_command, save_resolved

VARIANTS: dict[str, dict[str, Any]] = {
    "all_linear_rank_8": {"targets": ALL_LINEAR, "rank": 8, "alpha": 16},
    "attention_rank_16": {"targets": ATTENTION, "rank": 16, "alpha": 32},
}


@dataclass(frozen=True)
class Config:
    """Settings of the ablation.

    Parameters
    ----------
    adapter
        Domain whose tasks are trained.
    examples
        Training examples of every variant.
    held_out
        Examples on which loss and verified accuracy are measured; never trained on.
    seed
        Seed of the examples and the training.
    runs
        Folder of the runs; a finished variant is not trained again.
    output
        Folder of the report.
    threads
        CPU threads; 0 leaves it to torch.
    """

    adapter: str = "code"
    examples: int = 400
    held_out: int = 120
    seed: int = 11
    runs: str = "runs/ablation"
    output: str = "results/ablation"
    threads: int = 0


def ablate(config: Config) -> None:
    """Train every variant, let it answer the held-out examples, and write the report."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    drawn = make_examples(
        tasks_of(config.adapter), config.examples + config.held_out, seed=config.seed
    )
    examples, held_out = drawn[: config.examples], drawn[config.examples :]
    figures: dict[str, float | Interval] = {}
    rows = []
    for name, settings in VARIANTS.items():
        folder = Path(config.runs) / config.adapter / name
        measures = _train(examples, held_out, settings, folder=folder, seed=config.seed)
        accuracy = _accuracy(folder / "adapter", held_out)
        figures |= {
            f"held_out_loss_{name}": measures["held_out_loss"],
            f"accuracy_{name}": accuracy,
            f"megabytes_{name}": measures["megabytes"],
        }
        rows.append(
            [
                name.replace("_", " "),
                f"{measures['held_out_loss']:.4f}",
                format_interval(accuracy),
                f"{measures['megabytes']:.2f}",
            ]
        )
        print(" | ".join(rows[-1]))
    header = ["variant", "held-out loss, nats per token", "verified accuracy", "MB, float16"]
    output = Path(config.output)
    write_report(
        output,
        figures=figures,
        markdown=(
            f"# Rank and target modules\n\nAdapter *{config.adapter}*, {config.examples} examples, "
            f"{config.held_out} held out, one seed ({config.seed}); accuracy is lenient, with "
            f"Wilson 95 % intervals.\n\n{markdown_table(header, rows)}"
        ),
        command=provenance(seeds=[config.seed]),
    )
    save_resolved(config, output)


def _train(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    settings: dict[str, Any],
    *,
    folder: Path,
    seed: int,
) -> dict[str, float]:
    """Train a variant, or read what an earlier run measured with the same settings."""
    training = AdapterTrainingConfig(seed=seed, **settings)
    measured = finished_measures(folder, method="sft", config=training, examples=examples)
    if measured is not None:
        return measured
    return train_adapter(examples, held_out, config=training, output=folder)


def _accuracy(adapter: Path, held_out: Sequence[Example]) -> Interval:
    """Let an adapter answer the held-out examples and verify the answers."""
    spec = PoolSpec(EMBEDDED, (AdapterSpec(BASE), AdapterSpec("variant", adapter)))
    queries = [example.query for example in held_out]
    answers = AdapterPool(spec).generate(
        "variant", [q.text for q in queries], forms=[q.form for q in queries]
    )
    right = sum(verify(q, a.text).accuracy for q, a in zip(queries, answers, strict=True))
    return wilson_interval(right, len(queries))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, ablate, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
