"""A training's folder: the settings it belongs to, its checkpoints, its clock, what it leaves."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from routing_gym.adapters.lora import LoraSettings, save_half_precision, trainable_parameters
from routing_gym.adapters.spec import WEIGHTS_FILE
from routing_gym.queries.query import Example
from routing_gym.queries.whole_file import write_whole

RECORD_FILE = "training.json"


def begin_run(
    output: Path,
    *,
    method: str,
    config: LoraSettings,
    examples: Sequence[Example],
    resume: bool,
) -> str | None:
    """Open a run's folder and find the checkpoint to go on from, if there is one.

    Parameters
    ----------
    output
        The run's folder.
    method
        ``"sft"`` or ``"grpo"``.
    config, examples
        What the run trains with and on; a checkpoint of other ones is refused.
    resume
        Whether to go on; False removes the checkpoints.

    Raises
    ------
    ValueError
        If a checkpoint belongs to other settings or examples.
    """
    if not resume:
        drop_checkpoints(output)
    checkpoint = last_checkpoint(output)
    settings = _settings(method, config, examples)
    note = output / "settings.json"
    if checkpoint and note.is_file() and json.loads(note.read_text()) != settings:
        raise ValueError(
            f"{checkpoint} belongs to a run with other settings or examples: give another output, "
            "or do not resume (--resume false)."
        )
    output.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(settings, indent=1) + "\n")
    return checkpoint


def finish_run(
    trainer: Any,
    output: Path,
    *,
    method: str,
    config: LoraSettings,
    examples: Sequence[Example],
    measures: Mapping[str, float],
    history: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Save the adapter with its record, remove the checkpoints, and complete the measures.

    Parameters
    ----------
    trainer
        A trainer of trl that has finished, with a `training_clock`.
    output, method, config, examples
        As in `begin_run`.
    measures
        What the method measured.
    history
        Name -> value at every update, kept in the record.

    Returns
    -------
    dict
        `measures` and ``updates``, their ``seconds`` and ``cpu_seconds`` (work that a kill lost
        left out), ``cpu_seconds_per_update`` (the median), ``trainable_parameters``, and
        ``megabytes`` of the weights.
    """
    clock = next(c for c in trainer.callback_handler.callbacks if type(c).__name__ == "Clock")
    complete = {
        **measures,
        "updates": float(trainer.state.global_step),
        "seconds": sum(clock.seconds),
        "cpu_seconds": sum(clock.cpu_seconds),
        "cpu_seconds_per_update": statistics.median(clock.cpu_seconds or [0.0]),
        "trainable_parameters": float(trainable_parameters(trainer.model)),
    }
    weights = save_half_precision(trainer.model, output / "adapter")
    complete["megabytes"] = weights.stat().st_size / 1e6
    record = {
        "method": method,
        "config": asdict(config),
        "examples": len(examples),
        "examples_sha256": _fingerprint(examples),
        "measures": complete,
        "history": {name: list(values) for name, values in (history or {}).items()},
    }
    write_whole(output / "adapter" / RECORD_FILE, json.dumps(record, indent=1) + "\n")
    drop_checkpoints(output)
    return complete


def finished_measures(
    output: Path, *, method: str, config: LoraSettings, examples: Sequence[Example]
) -> dict[str, float] | None:
    """Read what an earlier run measured, if it finished with these very settings and examples."""
    record = output / "adapter" / RECORD_FILE
    if not record.is_file():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    asked = {
        "method": method,
        "config": json.loads(json.dumps(asdict(config))),
        "examples_sha256": _fingerprint(examples),
    }
    same = all(content.get(name) == value for name, value in asked.items())
    return dict(content["measures"]) if same else None


def read_history(output: Path) -> dict[str, list[float]]:
    """Read what a finished run noted at every update, by name."""
    record = json.loads((output / "adapter" / RECORD_FILE).read_text(encoding="utf-8"))
    return dict(record["history"])


def training_clock() -> Any:
    """Make a callback that times every update, also across a kill and its resumption."""
    from transformers.trainer_callback import ExportableState, TrainerCallback

    class Clock(TrainerCallback, ExportableState):
        """Wall and CPU seconds of each update."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.cpu_seconds: list[float] = []
            self._since = (time.perf_counter(), time.process_time())

        def on_train_begin(self, *arguments: Any, **_: Any) -> None:
            self._since = (time.perf_counter(), time.process_time())

        def on_step_end(self, *arguments: Any, **_: Any) -> None:
            now = (time.perf_counter(), time.process_time())
            self.seconds.append(now[0] - self._since[0])
            self.cpu_seconds.append(now[1] - self._since[1])
            self._since = now

        def state(self) -> dict[str, Any]:
            spent = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
            return {"args": {}, "attributes": copy.deepcopy(spent)}

    return Clock()


def quiet_bar() -> Any:
    """Make a progress bar that does not print every update's log; TensorBoard's files hold it."""
    from transformers.trainer_callback import ProgressCallback

    class QuietBar(ProgressCallback):
        """The bar alone."""

        def on_log(self, *arguments: Any, **_: Any) -> None:
            pass

    return QuietBar()


def drop_checkpoints(output: Path) -> None:
    """Remove a run's checkpoints."""
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def last_checkpoint(output: Path) -> str | None:
    """Find the newest complete checkpoint of a run folder."""
    complete = [
        (int(folder.name.split("-")[1]), folder)
        for folder in output.glob("checkpoint-*")
        if _is_json(folder / "trainer_state.json") and (folder / WEIGHTS_FILE).is_file()
    ]
    return str(max(complete)[1]) if complete else None


def _is_json(path: Path) -> bool:
    """Tell whether a file is there and whole: the state is the last that a checkpoint writes."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return True


def _settings(method: str, config: LoraSettings, examples: Sequence[Example]) -> dict[str, Any]:
    """Say what a checkpoint has to have in common with the run that goes on from it."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    settings |= {"method": method, "examples": _fingerprint(examples)}
    settings.pop("checkpoint_steps")
    return settings


def _fingerprint(examples: Sequence[Example]) -> str:
    """Hash the texts and targets of examples, in order."""
    texts = "\n".join(f"{e.query.text}\t{e.target}" for e in examples)
    return hashlib.sha256(texts.encode()).hexdigest()
