"""Train one QLoRA adapter on the tasks of its domain: on right answers, or on its own (GRPO)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from routing_gym.adapters.base_model import EMBEDDED, load_tokenizer
from routing_gym.adapters.grpo import GRPOSettings, train_grpo
from routing_gym.adapters.lora import ALL_LINEAR
from routing_gym.adapters.training import AdapterTrainingConfig, train_adapter
from routing_gym.queries.dataset import make_examples, make_queries, tasks_of
from routing_gym.scripts.command import run_command, save_resolved


@dataclass(frozen=True)
class Config:
    """Settings of one adapter's training run.

    Parameters
    ----------
    adapter
        Name of the adapter, and the domain whose tasks it is trained on.
    method
        sft shows the adapter right answers; grpo lets it answer each query several times and
        rewards what the task's verifier finds right, which only helps where some answers are.
    tasks
        Tasks to train on, in turn; empty takes all of the adapter's domain, a name that stands
        twice is drawn twice as often.
    examples
        Training examples, each seen once; the schedule runs on them, not on the clock.
    held_out
        Further examples for the loss that is reported at the end.
    output
        Run folder: checkpoints, TensorBoard files, and the finished adapter in adapter/.
    table_mix
        Task -> number of queries of the outcome table; the very same texts are never trained on.
    table_seed
        Seed of those queries.
    seed
        Seed of the training examples, the initialisation and the order.
    start_from
        Folder of an adapter to go on training from, instead of a new one.
    base_model
        smollm2-135m-instruct (embedded), a local folder, or a hub id.
    nf4
        Keep the base in NF4 with double quantisation (QLoRA).
    rank
        LoRA rank.
    alpha
        LoRA alpha; the update is scaled by alpha / rank.
    dropout
        LoRA dropout.
    targets
        Linear layers that get an adapter.
    learning_rate
        Peak learning rate of sft; linear warm-up, then cosine to zero.
    grpo_learning_rate
        The same of grpo.
    warmup_share
        Share of the updates that warm up.
    batch_size
        Examples per pass of sft.
    prompts
        Queries per update of grpo.
    generations
        Answers that grpo draws to each.
    max_tokens
        Tokens of such an answer at most; the form of answer may set a lower bound.
    temperature
        At which they are drawn.
    loss
        How grpo averages over tokens: grpo, bnpo, dr_grpo or dapo.
    form_weight
        Added to grpo's reward of a right answer that is nothing but the asked form.
    accumulation
        Passes per update.
    checkpoint_steps
        Updates between checkpoints; a killed run loses no more and goes on when started again.
    resume
        Go on from the last checkpoint in the output folder.
    threads
        CPU threads; 0 leaves it to torch.
    """

    adapter: str = "reasoning"
    method: Literal["sft", "grpo"] = "sft"
    tasks: list[str] = field(default_factory=list)
    examples: int = 2400
    held_out: int = 160
    output: str = "runs/adapters/{adapter}"
    table_mix: dict[str, int] = field(default_factory=dict)
    table_seed: int = 0
    seed: int = 1
    start_from: Path | None = None
    base_model: str = EMBEDDED
    nf4: bool = True
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: list(ALL_LINEAR))
    learning_rate: float = 1.5e-3
    grpo_learning_rate: float = 5e-4
    warmup_share: float = 0.05
    batch_size: int = 16
    prompts: int = 8
    generations: int = 8
    max_tokens: int = 32
    temperature: float = 1.0
    loss: str = "dapo"
    form_weight: float = 0.0
    accumulation: int = 1
    checkpoint_steps: int = 8
    resume: bool = True
    threads: int = 0


def train(config: Config) -> None:
    """Draw the examples, train, and print what came out."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    load_tokenizer(config.base_model)  # an unavailable model fails before anything is written
    output = Path(config.output.replace("{adapter}", config.adapter))
    tasks = config.tasks or tasks_of(config.adapter)
    forbidden = make_queries(config.table_mix, seed=config.table_seed)
    examples = make_examples(
        tasks, config.examples + config.held_out, seed=config.seed, forbidden=forbidden
    )
    settings = training_settings(config)
    save_resolved(config, output)
    print(f"{config.adapter}: {config.examples} examples of {', '.join(tasks)} -> {output}")
    drawn = (examples[: config.examples], examples[config.examples :])
    if isinstance(settings, GRPOSettings):
        measures = train_grpo(*drawn, config=settings, output=output, resume=config.resume)
    else:
        measures = train_adapter(*drawn, config=settings, output=output, resume=config.resume)
    print(json.dumps(measures, indent=1))


def training_settings(config: Config) -> AdapterTrainingConfig | GRPOSettings:
    """Take the chosen method's settings out of the command's."""
    shared: dict[str, Any] = {
        "base_model": config.base_model,
        "nf4": config.nf4,
        "rank": config.rank,
        "alpha": config.alpha,
        "dropout": config.dropout,
        "targets": tuple(config.targets),
        "warmup_share": config.warmup_share,
        "accumulation": config.accumulation,
        "checkpoint_steps": config.checkpoint_steps,
        "seed": config.seed,
        "start_from": None if config.start_from is None else str(config.start_from),
    }
    if config.method == "sft":
        return AdapterTrainingConfig(
            **shared, learning_rate=config.learning_rate, batch_size=config.batch_size
        )
    return GRPOSettings(
        **shared,
        learning_rate=config.grpo_learning_rate,
        prompts=config.prompts,
        generations=config.generations,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        loss=config.loss,
        form_weight=config.form_weight,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config, train, description=__doc__, default_config="configs/train_adapter.yaml", argv=argv
    )


if __name__ == "__main__":
    sys.exit(main())
