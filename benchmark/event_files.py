"""A comparison in TensorBoard: every run's curve, its settings and what it reached on test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.runs import RunRecord


def write_event_files(records: Sequence[RunRecord], yardstick: Yardstick, *, folder: Path) -> None:
    """Write one folder of TensorBoard events per run.

    Scalars are ``validation/reward`` and ``train/regret`` against outcomes paid for; the HPARAMS
    tab holds the settings with ``test/reward``, ``test/accuracy``, ``test/gap_closed``,
    ``test/regret``, ``test/entropy`` and ``outcomes``.

    Parameters
    ----------
    records
        Judged runs; failed ones are left out.
    yardstick
        The test split.
    folder
        Replaced: it holds nothing but these files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for record in records:
        if record.finished:
            _write_run(record, yardstick, folder)


def run_scalars(record: RunRecord, yardstick: Yardstick) -> dict[str, float]:
    """Measure one run's decisions; the keys are TensorBoard's tags."""
    actions, references = np.array(record.test_actions), yardstick.references
    reward = metrics.value(yardstick.reward, actions)
    return {
        "test/reward": reward,
        "test/accuracy": metrics.value(yardstick.accuracy, actions),
        "test/gap_closed": metrics.gap_closed(
            reward,
            best_single=references["best_single_reward"],
            oracle=references["oracle_reward"],
        ),
        "test/regret": float(metrics.regret(yardstick.reward, actions).mean()),
        "test/entropy": metrics.arm_usage_entropy(actions, len(yardstick.adapters))[1],
        "outcomes": float(record.outcomes),
    }


def _write_run(record: RunRecord, yardstick: Yardstick, folder: Path) -> None:
    """Write one run's events: curve, hyperparameters, results."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    scalars = run_scalars(record, yardstick)
    name = f"{record.agent}-{record.trained_on}-{record.seed}"
    with SummaryWriter(str(folder / name)) as writer:
        for point in record.curve:
            writer.add_scalar("validation/reward", point.reward, point.outcomes)
            if point.regret is not None:
                writer.add_scalar("train/regret", point.regret, point.outcomes)
        for tag, value in scalars.items():
            writer.add_scalar(tag, value, record.outcomes)
        # the summaries themselves, as SummaryWriter.add_hparams would open a folder of its own
        file_writer = writer._get_file_writer()
        for summary in hparams(_settings(record), scalars):
            file_writer.add_summary(summary)


def _settings(record: RunRecord) -> Mapping[str, Any]:
    """Return what TensorBoard can show as hyperparameters: numbers, texts and truth values."""
    shown: dict[str, Any] = {
        "agent": record.agent,
        "trained_on": record.trained_on,
        "seed": record.seed,
        "feedback": record.feedback,
    }
    for option, value in record.options.items():
        plain = isinstance(value, bool | int | float | str)
        shown[option] = value if plain else str(value)
    return shown
