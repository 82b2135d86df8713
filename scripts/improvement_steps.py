"""What an improvement cycle does with a language model: training, and collecting what changed."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.adapters.embedding import make_encoder
from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.grpo import GRPOSettings, train_grpo
from routing_gym.adapters.likelihood import BaseLikelihood
from routing_gym.adapters.p_true import PTrue
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.token_signals import adapter_signals
from routing_gym.adapters.training import AdapterTrainingConfig, train_adapter
from routing_gym.agents import make_agent
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.benchmark.cycle_stages import Steps, Targets, training_record
from routing_gym.benchmark.gaps import GapReport, GapSettings, find_gaps
from routing_gym.envs.collection_files import Tick
from routing_gym.envs.collection_passes import LIKELIHOODS, P_TRUE
from routing_gym.envs.recollection import changed_adapters, recollect
from routing_gym.envs.scoring import LEARNED
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.leaks import leaks
from routing_gym.queries.query import Example, Query
from routing_gym.queries.samples import read_samples, write_samples
from routing_gym.queries.synthesis import SynthesisSettings, Target, make_samples
from routing_gym.rewards.asked_form import asked_form
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.quality import Quality
from routing_gym.rewards.registry import METRICS

PACKAGES = ("torch", "transformers", "peft", "numpy")


def make_steps(settings: CycleSettings) -> Steps:
    """Make the steps of a cycle on a local pool.

    Parameters
    ----------
    settings
        Of the cycle.

    Raises
    ------
    ValueError
        If the pool is a server's, or a setting is one that a later stage could not use: better said
        now than after an hour.
    """
    if load_pool(settings.pool).server is not None:
        raise ValueError(
            f"pool={settings.pool!r} answers on a server, but a cycle trains and loads adapters "
            "itself: give a pool of local adapters."
        )
    _check_names("training", settings.training, _training_class(settings))
    _check_names("data_options", settings.data_options, SynthesisSettings)
    _check_values(settings)
    return Steps(
        find=_find,
        sample=partial(_sample, settings),
        read=_read,
        train=partial(_train, settings),
        recollect=partial(_recollect, settings),
    )


def _find(table: OutcomeTable, level: str) -> GapReport:
    """Find the gaps of the queries that may be looked at."""
    return find_gaps(table, settings=GapSettings(levels=(level,)))


def _sample(
    settings: CycleSettings,
    targets: Targets,
    count: int,
    evaluation: Sequence[Query],
    seed: int,
    folder: Path,
    work: Path,
) -> None:
    """Make the data and write it."""
    wanted = [Target(task, complexity, weight) for task, complexity, weight in targets]
    encode = make_encoder("minilm", cache=work).encode  # kept, for a resumed run and the check
    chosen = SynthesisSettings(**settings.data_options)
    with tqdm(total=count, desc="samples", unit="sample", smoothing=0.05) as bar:
        made = make_samples(
            wanted,
            count,
            seed=seed,
            evaluation=evaluation,
            settings=chosen,
            encode=encode,
            asked=asked_form,
            folder=work,
            on_samples=bar.update,
        )
    found = leaks(made.samples, evaluation, thresholds=chosen.thresholds, encode=encode)
    if found:
        raise ValueError(
            f"{len(found)} leaks, such as {found[0]}: this is a mistake of the filter; nothing is "
            "trained on such data."
        )
    manifest = {
        "targets": [list(target) for target in targets],
        "seed": seed,
        "leaks": len(found),
        "dropped": {label: dict(counts) for label, counts in made.dropped.items()},
        "contents": {label: asdict(contents) for label, contents in made.contents.items()},
    }
    write_samples(folder, made.samples, manifest=manifest)


def _read(folder: Path) -> list[Example]:
    """Read the data back as what adapters are trained on."""
    return [sample.example for sample in read_samples(folder)]


def _train(
    settings: CycleSettings,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    start: Path,
    work: Path,
) -> Path:
    """Train an adapter further, going on from the last checkpoint; a finished one is kept."""
    if training_record(work / "adapter"):
        return work / "adapter"
    _use_threads(settings)
    train = train_grpo if settings.method == "grpo" else train_adapter
    train(examples, held_out, config=_training_config(settings, _relative(start)), output=work)
    return work / "adapter"


def _training_config(settings: CycleSettings, start: str | None) -> Any:
    """Return a method's settings, for a training that starts from an adapter."""
    options: dict[str, Any] = {
        "base_model": load_pool(settings.pool).base_model,
        **settings.training,
        "start_from": start,
    }
    options |= {name: tuple(v) for name, v in options.items() if isinstance(v, list)}
    return _training_class(settings)(**options)


def _check_values(settings: CycleSettings) -> None:
    """Build what later stages build from the settings, so that they can be refused at once."""
    _training_config(settings, None)
    SynthesisSettings(**settings.data_options)
    make_agent(settings.agent, **settings.agent_options)
    OutcomeTable.load(settings.table).data("train", settings.reward or None)
    for name in ("policy", "quality"):
        folder = getattr(settings, name)
        if folder and not Path(folder).is_dir():
            raise ValueError(f"{name}={folder!r} is no folder: check the path.")


def _training_class(settings: CycleSettings) -> type[Any]:
    """Return the class of a method's settings."""
    return GRPOSettings if settings.method == "grpo" else AdapterTrainingConfig


def _check_names(argument: str, values: Mapping[str, Any], settings_class: type[Any]) -> None:
    """Refuse a field that a class of settings does not have."""
    known = [part.name for part in fields(settings_class) if part.name != "start_from"]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}."
            raise ValueError(f"{argument} has the unknown field {name!r}{hint}")


def _recollect(
    settings: CycleSettings, table: OutcomeTable, spec: PoolSpec, work: Path
) -> OutcomeTable:
    """Collect the cells of the changed adapters, judge and score them."""
    _use_threads(settings)
    changed = changed_adapters(table, spec)
    kept = tuple(a for a in spec.adapters if a.path is None or a.name in changed)
    small = PoolSpec(spec.base_model, kept) if len(kept) > 1 else spec
    pool = AdapterPool(small)
    encoder = Encoder(table.manifest.encoder)
    quality = Quality(encoder, model=settings.quality or None)
    names = [name for name in METRICS if name in table.scores and name not in LEARNED]
    learned = [quality] if "quality" in table.scores else []
    return recollect(
        table,
        spec,
        pool=pool,
        read=lambda name: partial(adapter_signals, pool, name),
        judges={LIKELIHOODS: BaseLikelihood(spec.base_model), P_TRUE: PTrue(spec.base_model)},
        evaluator=SelfEvaluator([*names, *learned], encoder=encoder),
        folder=work,
        batch_size=settings.answer_batch,
        flush_rows=settings.flush_rows,
        note={"versions": {name: importlib.metadata.version(name) for name in PACKAGES}},
        progress=_bar,
    )


def _bar(name: str, rows: int) -> Tick:
    """Show a pass as a bar."""
    bar = tqdm(total=rows, desc=name, unit="row", smoothing=0.05)

    def tick(done: int) -> None:
        bar.update(done)
        if bar.n >= rows:
            bar.close()

    return tick


def _use_threads(settings: CycleSettings) -> None:
    """Limit torch's threads, if asked to."""
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)


def _relative(path: Path) -> str:
    """Write a path relative to the working folder where it lies below it."""
    here = Path(os.getcwd()).resolve()
    found = path.resolve()
    return str(found.relative_to(here)) if found.is_relative_to(here) else str(found)
