"""Measure routers on RouteLLM's tables by its own metrics, over many seeds, with intervals.

Finished seeds are kept, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters import embedding, encoder
from routing_gym.adapters.base_model import cache_folder
from routing_gym.adapters.embedding import ENCODERS, JOINT
from routing_gym.agents import AGENTS
from routing_gym.benchmark import (
    cost_quality,
    published_metrics,
    routellm_observations,
    routellm_study,
    routellm_table,
    routing_metrics,
)
from routing_gym.benchmark.provenance import REPOSITORY, provenance
from routing_gym.benchmark.report import csv_text, figures_table, write_report
from routing_gym.benchmark.routellm_observations import Observations
from routing_gym.benchmark.routellm_report import (
    draw_pgr,
    study_figures,
    study_markdown,
    tidy_rows,
)
from routing_gym.benchmark.routellm_study import Outcome, RouterSpec, run_seed
from routing_gym.benchmark.routellm_table import Pair, as_pair, leaks
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.queries.whole_file import write_whole
from routing_gym.scripts.command import run_command, save_resolved


def default_routers() -> dict[str, dict[str, Any]]:
    """Name the simple routers that need no sentence encoder."""
    return {
        "task_lookup": {"agent": "task_lookup", "encoder": "surface"},
        "surface_ridge": {"agent": "ridge", "encoder": "surface"},
        "tfidf_ridge": {"agent": "ridge", "encoder": "tfidf"},
        "stack": {"agent": "ridge", "encoder": "tfidf+surface"},
    }


@dataclass(frozen=True)
class RouteLLMConfig:
    """Settings of the report.

    Parameters
    ----------
    tables
        Folder of the tidy tables ``routellm_<name>.parquet``.
    names
        Tables to report.
    routers
        Label -> its ``agent``, ``encoder``, ``candidates`` (settings to choose from on validation)
        and ``tasks`` (whether it is told the query's task, or guesses it), or the labels that it
        is the ``average`` of.
    headline
        Label of the router whose figures head the summary.
    drawn
        Labels of the routers whose curves are drawn beside the headline's; empty draws all.
    seeds
        Seeds of the halves.
    output
        Folder of the report.
    runs
        Folder of the finished seeds.
    cache
        Folder of the embeddings; "" is ``$ROUTING_GYM_CACHE`` or ``~/.cache/routing-gym``.
    overwrite
        Whether finished seeds are run again.
    """

    tables: Path = Path("../shared/tables")
    names: list[str] = field(default_factory=lambda: ["mmlu", "gsm8k", "mtbench"])
    routers: dict[str, dict[str, Any]] = field(default_factory=default_routers)
    headline: str = "stack"
    drawn: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    output: Path = Path("results/routellm")
    runs: Path = Path("runs/routellm")
    cache: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds} must be different integers, none negative.")
        if not self.names:
            raise ValueError("names is empty: name at least one table, such as mmlu.")
        if self.headline not in self.routers:
            raise ValueError(
                f"headline={self.headline!r} is not among the routers {list(self.routers)}."
            )
        for label in self.drawn:
            if label not in self.routers:
                raise ValueError(
                    f"drawn names {label!r}, which is not among the routers {list(self.routers)}."
                )
        known = [spec.name for spec in dataclasses.fields(RouterSpec)]
        for label, options in self.routers.items():
            for name in options:
                if name not in known:
                    raise ValueError(f"router {label!r} has {name!r}: known are {known}.")


def report_routellm(config: RouteLLMConfig) -> None:
    """Run what is missing, write the report, print its figures."""
    routers = {label: RouterSpec(**options) for label, options in config.routers.items()}
    privileged = _privileged(routers)
    code = _code(routers)
    pairs = {name: _load(config.tables, name) for name in config.names}
    save_resolved(config, config.runs)
    runs: dict[str, list[dict[str, Outcome]]] = {}
    with tqdm(total=len(pairs) * len(config.seeds), unit="seed", disable=None) as bar:
        for name, pair in pairs.items():
            observations = Observations(pair.texts, cache=config.cache or str(cache_folder()))
            runs[name] = []
            for seed in config.seeds:
                bar.set_postfix_str(f"{name}, seed {seed}")
                runs[name].append(_seed(config, pair, routers, observations, seed, code))
                bar.update()
    found = {name: leaks(pair, config.seeds) for name, pair in pairs.items()}
    figures = study_figures(runs, headline=config.headline)
    figures |= {f"texts_{name}": len(np.unique(pair.groups)) for name, pair in pairs.items()}
    figures |= {"leaks": sum(found.values())}
    write_report(
        config.output,
        figures=figures,
        markdown=study_markdown(
            pairs,
            runs,
            headline=config.headline,
            privileged=privileged,
            leaks=sum(found.values()),
        ),
        command=provenance(
            table_hash=", ".join(f"{name} {pair.fingerprint}" for name, pair in pairs.items()),
            seeds=config.seeds,
        ),
        plots={
            f"pgr_{name}.png": partial(
                _draw,
                runs[name],
                privileged=privileged,
                caption=f"{name}: {len(pair.scores)} queries, mean of {len(config.seeds)} halves",
                headline=config.headline,
                drawn=config.drawn,
            )
            for name, pair in pairs.items()
        },
        texts={"runs.csv": csv_text(tidy_rows(runs, config.seeds, privileged=privileged))},
    )
    save_resolved(config, config.output)
    shown = {name: value for name, value in figures.items() if "_over_" not in name}
    print(f"{figures_table(shown)}\n\nreport: {config.output / 'report.md'}")


def _privileged(routers: dict[str, RouterSpec]) -> set[str]:
    """Label the routers that are told the task, themselves or through one that they average."""
    found: set[str] = set()
    for label, spec in routers.items():
        named = spec.agent and resolve(AGENTS, spec.agent, kind="agent").privileged
        if spec.tasks == "told" or named or found & set(spec.average):
            found.add(label)
    return found


def _draw(
    runs: Sequence[dict[str, Outcome]],
    path: Path,
    *,
    caption: str,
    headline: str,
    drawn: Sequence[str],
    privileged: set[str],
) -> None:
    """Draw one table's curves."""
    draw_pgr(
        runs, path=path, caption=caption, headline=headline, drawn=drawn, privileged=privileged
    )


def _load(folder: Path, name: str) -> Pair:
    """Read one published table without its contaminated rows."""
    path = folder / f"routellm_{name}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: pass --tables, the folder of the published tables in tidy "
            "form (scripts/import_table.py describes the columns)."
        )
    return as_pair(OutcomeTable.from_tidy(path), name)


def _seed(
    config: RouteLLMConfig,
    pair: Pair,
    routers: dict[str, RouterSpec],
    observations: Observations,
    seed: int,
    code: str,
) -> dict[str, Outcome]:
    """Run one seed, or read it if it was run with the same settings and code."""
    specs = {label: dataclasses.asdict(spec) for label, spec in routers.items()}
    settings = [pair.fingerprint, specs, seed, code]
    key = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:16]
    path = config.runs / f"{pair.name}-{seed}-{key}.json"
    if path.is_file() and not config.overwrite:
        content = json.loads(path.read_text("utf-8"))
        return {label: _read(outcome) for label, outcome in content.items()}
    outcomes = run_seed(pair, routers, observations=observations, seed=seed)
    plain = {label: dataclasses.asdict(outcome) for label, outcome in outcomes.items()}
    write_whole(path, json.dumps(plain, default=np.ndarray.tolist))
    return outcomes


def _code(routers: dict[str, RouterSpec]) -> str:
    """Hash the source that decides a seed's outcome."""
    digest = hashlib.sha256()
    for path in source_files(routers):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\x00")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_files(routers: dict[str, RouterSpec]) -> list[Path]:
    """List the modules that decide a seed's outcome; finished seeds are kept while they stay equal.

    These are the study's own, the classes of the routers' agents with their bases and settings,
    and the encoders. Outside code is not followed, nor what only hands vectors on: the registry of
    encoders, their cache.

    Parameters
    ----------
    routers
        Label -> router.
    """
    modules = {routellm_study, routellm_table, routellm_observations}
    modules |= {cost_quality, published_metrics, routing_metrics, encoder}
    for spec in routers.values():
        names = {part: ENCODERS[part] for part in spec.encoder.split(JOINT) if part in ENCODERS}
        modules |= {_module_of(resolve(ENCODERS, name, kind="encoder")) for name in names}
        modules.discard(embedding)
        if spec.agent:
            agent = resolve(AGENTS, spec.agent, kind="agent")
            bases = {*agent.__mro__, *agent.config_class.__mro__}
            modules |= {_module_of(base) for base in bases}
    files = {Path(str(getattr(module, "__file__", None))) for module in modules}
    return sorted(path for path in files if path.is_relative_to(REPOSITORY))


def _module_of(thing: Any) -> ModuleType:
    """Return the module that defines a class or a function."""
    return sys.modules[thing.__module__]


def _read(content: dict[str, Any]) -> Outcome:
    """Make an outcome of what was written; JSON has made texts of the levels."""
    for name in ("cpt", "cpt_published"):
        content[name] = {float(level): value for level, value in content[name].items()}
    return Outcome(**content | {"pgr": np.array(content["pgr"])})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        RouteLLMConfig,
        report_routellm,
        description=__doc__,
        default_config="configs/report_routellm.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
