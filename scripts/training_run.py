"""What the training commands share: priced splits, a folder of their own, and the judgement."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.embedding import QueryEncoder
from routing_gym.agents import make_agent
from routing_gym.agents.agent import Agent
from routing_gym.benchmark import plots
from routing_gym.benchmark.evaluation import EvaluationRow, Yardstick, measure
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import comparison_table, csv_text
from routing_gym.benchmark.runs import Splits
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

ENCODER_FOLDER = "encoder"
INTERVALS = ("reward", "accuracy", "reward_gap_closed", "tie_set_differ", "tie_set_all")


@dataclass(frozen=True)
class Problem:
    """A table under one reward, with all that a saved policy should remember of it.

    Parameters
    ----------
    table
        The outcome table.
    weights
        The reward's weights.
    splits
        Its three splits, priced.
    folder
        Where the table was read from.
    """

    table: OutcomeTable
    weights: Mapping[str, float]
    splits: Splits
    folder: Path = Path()

    @property
    def metadata(self) -> dict[str, Any]:
        """What binds a policy to its table, pool, encoder and reward."""
        manifest = self.table.manifest
        return {
            "table": self.table.fingerprint,
            "pool_fingerprint": manifest.pool_fingerprint,
            "base_model": manifest.base_model,
            "encoder": manifest.encoder,
            "reward": dict(self.weights),
        }


def load_problem(table: Path, reward: Mapping[str, float]) -> Problem:
    """Load a table and price its splits.

    Parameters
    ----------
    table
        The table's folder.
    reward
        Weights of the scores; empty means the default reward.

    Raises
    ------
    FileNotFoundError, ValueError
        If the table or the weights are not usable.
    """
    loaded = OutcomeTable.load(table)
    weights = dict(reward) or dict(DEFAULT_REWARD.weights)
    splits = [loaded.data(split, weights) for split in ("train", "validation", "test")]
    return Problem(loaded, weights, Splits(*splits), table)


def observed(problem: Problem, encoder: QueryEncoder) -> Splits:
    """Put an encoder's embeddings into a problem's splits.

    Parameters
    ----------
    problem
        The table under one reward.
    encoder
        Fitted, where it learns.
    """
    table = problem.table
    rows = np.asarray(encoder.encode([str(text) for text in table.text]), dtype=np.float32)
    seen = {
        name: replace(getattr(problem.splits, name), observations=rows[table.split == name])
        for name in ("train", "validation", "test")
    }
    widths: tuple[int, ...] = getattr(encoder, "widths", ())
    return Splits(**seen, blocks=widths)


def new_folder(folder: Path) -> Path:
    """Make the run's folder; one that holds a run already is kept, and a number is added."""
    candidate, number = folder, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    candidate.mkdir(parents=True, exist_ok=True)
    return candidate


def train_and_save(
    agent: Agent,
    splits: Splits,
    *,
    folder: Path,
    seed: int,
    metadata: Mapping[str, Any],
    progress: bool,
) -> float:
    """Train an agent and save it as a run's policy, its curves beside it.

    Parameters
    ----------
    agent
        Is trained.
    splits
        What it learns from.
    folder
        Of the run: takes ``tensorboard`` and ``policy``.
    seed
        Training seed.
    metadata
        Kept with the policy.
    progress
        Whether to show a bar on stderr.

    Returns
    -------
    float
        Seconds of the training.
    """
    start = time.perf_counter()
    agent.train(
        splits.train,
        validation=splits.validation,
        seed=seed,
        log_dir=folder / "tensorboard",
        progress=progress,
    )
    seconds = time.perf_counter() - start
    agent.save(folder / "policy", metadata=metadata)
    return seconds


def train_quietly(
    names: Sequence[str], splits: Splits, *, seeds: Sequence[int], progress: bool
) -> dict[str, list[Agent]]:
    """Train agents with their default settings, one of each per seed.

    Parameters
    ----------
    names
        Registered agents.
    splits
        What they learn from.
    seeds
        Training seeds.
    progress
        Whether to show a bar on stderr.
    """
    trained: dict[str, list[Agent]] = {name: [] for name in names}
    runs = [(name, seed) for name in names for seed in seeds]
    for name, seed in tqdm(runs, desc="other agents", unit="agent", disable=not progress):
        agent = make_agent(name)
        agent.train(splits.train, validation=splits.validation, seed=seed)
        trained[name].append(agent)
    return trained


def judge(
    agents: Mapping[str, Sequence[Agent]], splits: Splits, *, resamples: int, seed: int = 0
) -> list[EvaluationRow]:
    """Measure trained agents on the test split, all on the same bootstrap resamples.

    Parameters
    ----------
    agents
        Label -> the agent's training runs.
    splits
        The best single adapter is chosen on train, the rest happens on test.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    list[EvaluationRow]
        One per label, highest reward first.
    """
    yardstick = Yardstick.from_splits(splits.test, train=splits.train)
    bootstrap = yardstick.bootstrap(resamples=resamples, seed=seed)
    rows = [
        measure(
            np.stack([agent.decide_on(splits.test).actions for agent in runs]),
            yardstick,
            bootstrap=bootstrap,
            agent=label,
            feedback=runs[0].feedback,
            privileged=runs[0].privileged,
        )
        for label, runs in agents.items()
    ]
    return sorted(rows, key=lambda row: -row.reward.value)


def write_judgement(
    rows: Sequence[EvaluationRow],
    problem: Problem,
    *,
    folder: Path,
    seeds: Sequence[int],
    resamples: int,
) -> str:
    """Write ``evaluation.csv``, ``comparison.md``, ``comparison.png`` and ``command.txt``.

    Returns
    -------
    str
        The table, for the terminal.
    """
    table = comparison_table(rows)
    splits = problem.splits
    notes = (
        f"{len(splits.test)} test queries, {splits.test.num_adapters} adapters. Gap closed: 0 is "
        "the best single adapter (chosen on train), 1 the oracle; paired bootstrap 95 % interval. "
        "Tie-set: share of choices that are among the adapters of the best verified accuracy, "
        "where the adapters differ / on all queries. Entropy: of the arm usage, over ln K. "
        "*: privileged, it sees what a deployed router cannot."
    )
    (folder / "comparison.md").write_text(f"{table}\n\n{notes}\n", encoding="utf-8")
    (folder / "evaluation.csv").write_text(csv_text([_flat(r) for r in rows]), encoding="utf-8")
    yardstick = Yardstick.from_splits(splits.test, train=splits.train)
    caption = f"test split, seeds {', '.join(map(str, seeds))}; paired bootstrap 95 % intervals"
    plots.comparison(rows, yardstick.references, path=folder / "comparison.png", caption=caption)
    command = provenance(
        table_hash=problem.table.fingerprint, seeds=seeds, extra=[f"resamples: {resamples}"]
    )
    (folder / "command.txt").write_text(command, encoding="utf-8")
    return f"{table}\n\n{notes}"


def validation_references(splits: Splits) -> dict[str, float]:
    """Return the reward on validation of the best single adapter (of train) and of the oracle."""
    best = int(splits.train.rewards.mean(axis=0).argmax())
    return {
        "best single": float(splits.validation.rewards[:, best].mean()),
        "oracle": float(splits.validation.rewards.max(axis=1).mean()),
    }


def _flat(row: EvaluationRow) -> dict[str, object]:
    """Turn a measured row into one line of a CSV."""
    flat: dict[str, object] = {
        "agent": row.agent,
        "feedback": row.feedback,
        "privileged": row.privileged,
        "seeds": row.seeds,
        "regret": f"{row.regret:.6g}",
        "entropy": f"{row.entropy:.6g}",
    }
    for name in INTERVALS:
        interval = getattr(row, name)
        for part in ("value", "low", "high"):
            flat[f"{name}_{part}"] = f"{getattr(interval, part):.6g}"
    return flat
