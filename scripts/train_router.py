"""Train the supervised router on an outcome table and compare its objectives on the test split.

The router sees every adapter's reward on each train query. Beside the chosen objective the other
ones are trained with the same settings (the ablation: Gumbel-Softmax, plain softmax, regression of
the scores), over several seeds, and the quick baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.agents import AGENTS, make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.curve_plot import draw_curves
from routing_gym.agents.curves import CURVES_FILE
from routing_gym.agents.supervised import RouterConfig
from routing_gym.benchmark.runs import Splits
from routing_gym.queries.registry import resolve
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.training_run import (
    judge,
    load_problem,
    new_folder,
    train_and_save,
    train_quietly,
    validation_references,
    write_judgement,
)

OBJECTIVES = ("gumbel", "softmax", "regression")


@dataclass(frozen=True)
class TrainRouterConfig(RouterConfig):
    """Settings of the command; the router's own are those of `RouterConfig`.

    Parameters
    ----------
    table
        Folder of the outcome table.
    output
        Folder of the run; a number is added if it holds a run already.
    reward
        Weights of the scores; empty means the default reward.
    objective
        What the saved router is trained by: gumbel, softmax or regression.
    seed
        Seed of the saved router.
    ablation_seeds
        Further training seeds: every objective is trained on the seed and on these; empty trains
        the chosen objective alone.
    baselines
        Registered agents to compare with; may be empty.
    resamples
        Bootstrap resamples, at least 100.
    progress
        Whether to show progress bars.
    """

    table: Path = Path("results/table")
    output: Path = Path("runs/router")
    reward: dict[str, float] = field(default_factory=dict)
    objective: str = "gumbel"
    seed: int = 0
    ablation_seeds: list[int] = field(default_factory=lambda: [1, 2])
    baselines: list[str] = field(
        default_factory=lambda: ["knn", "task_lookup", "best_single", "random", "oracle"]
    )
    resamples: int = 2000
    progress: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective={self.objective!r} is unknown: choose {', '.join(OBJECTIVES)}."
            )
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        for name in self.baselines:
            resolve(AGENTS, name, kind="agent")
        seeds = [self.seed, *self.ablation_seeds]
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seed={self.seed} and ablation_seeds={self.ablation_seeds} must be different "
                "integers, none negative."
            )

    @property
    def options(self) -> dict[str, Any]:
        """The router's own settings."""
        return {part.name: getattr(self, part.name) for part in fields(RouterConfig)}


def train(config: TrainRouterConfig) -> None:
    """Train, judge, write and print."""
    problem = load_problem(config.table, config.reward)
    splits = problem.splits
    folder = new_folder(config.output)
    save_resolved(config, folder)
    router = make_agent(config.objective, **config.options)
    train_and_save(
        router,
        splits,
        folder=folder,
        seed=config.seed,
        metadata=problem.metadata,
        progress=config.progress,
    )
    draw_curves(
        folder / "tensorboard" / CURVES_FILE,
        path=folder / "learning_curve.png",
        x_label="epoch",
        references=validation_references(splits),
    )
    agents = _ablation(config, splits, router)
    agents |= train_quietly(config.baselines, splits, seeds=[config.seed], progress=config.progress)
    rows = judge(agents, splits, resamples=config.resamples)
    seeds = [config.seed, *config.ablation_seeds]
    text = write_judgement(rows, problem, folder=folder, seeds=seeds, resamples=config.resamples)
    print(f"\n{text}\n")
    print(f"objectives: mean over seeds {seeds}; baselines: seed {config.seed}")
    print(f"run: {folder} (tensorboard --logdir {folder / 'tensorboard'})")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        TrainRouterConfig,
        train,
        description=__doc__,
        default_config="configs/train_router.yaml",
        argv=argv,
    )


def _ablation(config: TrainRouterConfig, splits: Splits, router: Agent) -> dict[str, list[Agent]]:
    """Train every objective on every seed; the saved router counts for its own."""
    trained: dict[str, list[Agent]] = {config.objective: [router]}
    if not config.ablation_seeds:
        return trained
    seeds = [config.seed, *config.ablation_seeds]
    runs = [(name, seed) for name in OBJECTIVES for seed in seeds]
    runs.remove((config.objective, config.seed))
    for name, seed in tqdm(runs, desc="ablation", unit="router", disable=not config.progress):
        agent = make_agent(name, **config.options)
        agent.train(splits.train, validation=splits.validation, seed=seed)
        trained.setdefault(name, []).append(agent)
    return trained


if __name__ == "__main__":
    raise SystemExit(main())
