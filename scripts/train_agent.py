"""Train any registered agent, through any encoder, and compare it on the test split.

The run's folder gets the policy, the encoder with all that it has learned, the comparison as a
table and a plot, and curves where the agent draws them; scripts/export_policy.py takes it from
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routing_gym.adapters.base_model import cache_folder
from routing_gym.adapters.embedding import make_encoder
from routing_gym.adapters.encoder_folder import encoder_parts, save_encoder
from routing_gym.agents import AGENTS
from routing_gym.benchmark.runs import AgentSpec
from routing_gym.queries.registry import resolve
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.training_run import (
    ENCODER_FOLDER,
    judge,
    load_problem,
    new_folder,
    observed,
    train_and_save,
    train_quietly,
    write_judgement,
)


@dataclass(frozen=True)
class TrainAgentConfig:
    """Settings of the command.

    Parameters
    ----------
    agent
        A registered agent.
    options
        Fields of its configuration; empty takes its defaults.
    encoder
        What it observes: a name of the encoders (minilm, tfidf, surface, surface_kernel, position),
        a sentence-transformers id or folder, or several joined by "+". Encoders that learn do so
        from the train split's texts. Empty takes the embeddings that the table holds.
    cache
        Folder that keeps sentence embeddings between runs; empty is the project's cache.
    table
        Folder of the outcome table.
    output
        Folder of the run; a number is added if it holds a run already.
    reward
        Weights of the scores; empty means the default reward.
    seed
        Determines the whole run.
    baselines
        Registered agents to compare with; may be empty.
    resamples
        Bootstrap resamples, at least 100.
    progress
        Whether to show progress bars.
    """

    agent: str = "knn"
    options: dict[str, Any] = field(default_factory=dict)
    encoder: str = ""
    cache: str = ""
    table: Path = Path("results/table")
    output: Path = Path("runs/agent")
    reward: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    baselines: list[str] = field(default_factory=lambda: ["best_single", "random", "oracle"])
    resamples: int = 2000
    progress: bool = True

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        for name in (self.agent, *self.baselines):
            resolve(AGENTS, name, kind="agent")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative: give 0 or more.")


def train(config: TrainAgentConfig) -> None:
    """Train, judge, write and print."""
    problem = load_problem(config.table, config.reward)
    metadata, encoder = problem.metadata, None
    if config.encoder:
        encoder = make_encoder(config.encoder, cache=config.cache or cache_folder())
        encoder_parts(encoder)  # refuse before anything is computed
        table = problem.table
        encoder.fit([str(text) for text in table.text[table.split == "train"]])
        problem = replace(problem, splits=observed(problem, encoder))
        metadata |= {"encoder": encoder.name}
    splits = problem.splits
    agent = AgentSpec(config.agent, config.options, label="agent").build(blocks=splits.blocks)
    folder = new_folder(config.output)
    save_resolved(config, folder)
    seconds = train_and_save(
        agent,
        splits,
        folder=folder,
        seed=config.seed,
        metadata=metadata,
        progress=config.progress,
    )
    if encoder is not None:
        save_encoder(encoder, folder / ENCODER_FOLDER)
    others = [name for name in config.baselines if name != config.agent]
    trained = train_quietly(others, splits, seeds=[config.seed], progress=config.progress)
    rows = judge({agent.name: [agent], **trained}, splits, resamples=config.resamples)
    text = write_judgement(
        rows, problem, folder=folder, seeds=[config.seed], resamples=config.resamples
    )
    print(f"\n{text}\n")
    print(f"{agent.name}: trained in {seconds:.1f} s on embeddings of {metadata['encoder']}")
    print(f"run: {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        TrainAgentConfig,
        train,
        description=__doc__,
        default_config="configs/train_agent.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
