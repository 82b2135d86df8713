"""Train a PPO router on an outcome table and compare it on the test split.

PPO sees one adapter's reward per query. Beside it the supervised router, kNN on scores, the task
look-up, the best single adapter, random and the oracle are trained on the same table. The run's
folder gets TensorBoard files, the learning curves, the policy, and the comparison as a table and a
plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from routing_gym.agents import AGENTS
from routing_gym.agents.curve_plot import draw_curves
from routing_gym.agents.curves import CURVES_FILE
from routing_gym.agents.ppo import PPOAgent, PPOConfig
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


@dataclass(frozen=True)
class TrainPPOConfig(PPOConfig):
    """Settings of the command; PPO's own are those of `PPOConfig`.

    Parameters
    ----------
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

    table: Path = Path("results/table")
    output: Path = Path("runs/ppo")
    reward: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    baselines: list[str] = field(
        default_factory=lambda: ["gumbel", "knn", "task_lookup", "best_single", "random", "oracle"]
    )
    resamples: int = 2000
    progress: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        for name in self.baselines:
            resolve(AGENTS, name, kind="agent")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative: give 0 or more.")

    @property
    def ppo(self) -> PPOConfig:
        """PPO's own settings."""
        return PPOConfig(**{part.name: getattr(self, part.name) for part in fields(PPOConfig)})


def train(config: TrainPPOConfig) -> None:
    """Train, judge, write and print."""
    problem = load_problem(config.table, config.reward)
    splits = problem.splits
    folder = new_folder(config.output)
    save_resolved(config, folder)
    agent = PPOAgent(config.ppo)
    seconds = train_and_save(
        agent,
        splits,
        folder=folder,
        seed=config.seed,
        metadata=problem.metadata,
        progress=config.progress,
    )
    draw_curves(
        folder / "tensorboard" / CURVES_FILE,
        path=folder / "learning_curve.png",
        x_label="queries answered",
        references=validation_references(splits),
    )
    others = train_quietly(config.baselines, splits, seeds=[config.seed], progress=config.progress)
    rows = judge({"ppo": [agent], **others}, splits, resamples=config.resamples)
    text = write_judgement(
        rows, problem, folder=folder, seeds=[config.seed], resamples=config.resamples
    )
    print(f"\n{text}\n")
    print(f"PPO: {config.total_steps} queries answered in {seconds:.1f} s")
    print(f"run: {folder} (tensorboard --logdir {folder / 'tensorboard'})")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        TrainPPOConfig,
        train,
        description=__doc__,
        default_config="configs/train_ppo.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
