"""Measure the served policy: decisions, memory, overload, exploration, the API, faults; one report.

Trains and exports a PPO policy first, unless a bundle is given. Every trial starts servers of its
own by the command that users type. Run it on a quiet machine. A trial that has ended is kept: a
second start goes on with the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing_gym.benchmark.provenance import allowed_cores, provenance, source_hash, version
from routing_gym.benchmark.report import figures_table, write_report
from routing_gym.benchmark.statistics import Interval, figures_from_json, figures_to_json
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.queries.whole_file import write_whole
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.serving.bundle_files import read_manifest
from routing_gym.serving.bundle_manifest import MANIFEST_FILE
from routing_gym.serving.trials import TrialResult, TrialSettings

KNOWN: dict[str, str] = {
    "decision": "routing_gym.serving.trials:decision_trial",
    "memory": "routing_gym.serving.trials:memory_trial",
    "exploration": "routing_gym.serving.log_trials:exploration_trial",
    "faults": "routing_gym.serving.log_trials:fault_trial",
    "overload": "routing_gym.serving.trials:overload_trial",
    "api": "routing_gym.serving.trials:api_trial",
}
"""Trial name -> function that runs it."""
SOURCES = ("adapters", "agents", "benchmark", "envs", "rewards", "serving", "deploy")
PACKAGES = ("onnxruntime", "fastapi", "uvicorn", "sqlalchemy", "schemathesis", "locust")


@dataclass(frozen=True)
class MeasureServingConfig:
    """Settings of the measurement.

    Parameters
    ----------
    trials
        Which trials to run, in the order of the report.
    bundle
        Folder of an exported policy; "" trains PPO on the table and exports it.
    table
        Folder of the outcome table.
    scale
        Share of the full number of requests, in (0, 1].
    seed
        Of everything that is drawn.
    output
        Folder of the report.
    runs
        Folder of the trials that have ended, and of their servers' logs.
    overwrite
        Whether trials that have ended are run again.
    """

    trials: list[str] = field(default_factory=lambda: list(KNOWN))
    bundle: str = ""
    table: Path = Path("results/table")
    scale: float = 1.0
    seed: int = 0
    output: Path = Path("results/serving")
    runs: Path = Path("runs/serving")
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError(f"trials is empty: known are {', '.join(KNOWN)}.")
        for name in self.trials:
            resolve(KNOWN, name, kind="trial")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale={self.scale} must be in (0, 1]: 1 for a report.")


def measure(config: MeasureServingConfig) -> None:
    """Run the trials, write the report and print its figures."""
    bundle = Path(config.bundle) if config.bundle else made_bundle(config)
    settings = TrialSettings(
        bundle=bundle.resolve(),
        table=config.table,
        folder=config.runs.resolve(),
        seed=config.seed,
        scale=config.scale,
    )
    results = [run_trial(name, config, settings) for name in config.trials]
    figures: Mapping[str, float | Interval] = {
        name: figure for result in results for name, figure in result.figures.items()
    }
    write_report(
        config.output,
        figures=figures,
        markdown="\n\n".join([_heading(), *(result.section for result in results)]),
        command=provenance(
            table_hash=OutcomeTable.load(config.table).fingerprint,
            seeds=[config.seed],
            extra=[f"bundle: {_bundle_version(bundle)}", *(f"{p}: {version(p)}" for p in PACKAGES)],
        ),
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


def made_bundle(config: MeasureServingConfig) -> Path:
    """Train PPO with its default settings and export it, unless that was done before."""
    from routing_gym.scripts import export_policy, train_ppo

    run, bundle = config.runs / "run", config.runs / "bundle"
    table = OutcomeTable.load(config.table).fingerprint
    if (bundle / MANIFEST_FILE).is_file() and not config.overwrite:
        if read_manifest(bundle).table == table:
            return bundle
        raise ValueError(f"{bundle} was made from another table: remove it, or --overwrite true.")
    steps: list[tuple[Callable[[Sequence[str]], int], list[str]]] = [
        (train_ppo.main, ["--table", str(config.table), "--output", str(run)]),
        (
            export_policy.main,
            ["--run", str(run), "--table", str(config.table), "--output", str(bundle)],
        ),
    ]
    if (run / "policy").is_dir():
        steps = steps[1:]
    for main_of, arguments in steps:
        if main_of(arguments) != 0:
            raise ValueError(f"the bundle could not be made ({' '.join(arguments)}).")
    return bundle


def run_trial(name: str, config: MeasureServingConfig, settings: TrialSettings) -> TrialResult:
    """Run a trial, or read it if it has ended before."""
    told = {
        "bundle": _bundle_version(settings.bundle),
        "table": OutcomeTable.load(settings.table).fingerprint,
        "seed": settings.seed,
    }
    key = json.dumps([name, told, settings.scale, source_hash(*SOURCES)], sort_keys=True)
    place = config.runs / f"{name}.json"
    if place.is_file() and not config.overwrite:
        content = json.loads(place.read_text("utf-8"))
        if content["key"] == key:
            print(f"{name}: measured before, read from {place}")
            return TrialResult(figures_from_json(content["figures"]), content["section"])
    print(f"{name}: measuring", flush=True)
    trial: Callable[[TrialSettings], TrialResult] = resolve(KNOWN, name, kind="trial")
    result = trial(settings)
    kept = {
        "key": key,
        "figures": figures_to_json(result.figures),
        "section": result.section,
    }
    write_whole(place, json.dumps(kept))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        MeasureServingConfig,
        measure,
        description=__doc__,
        default_config="configs/measure_serving.yaml",
        argv=argv,
    )


def _bundle_version(bundle: Path) -> str:
    """Return the bundle's version."""
    return read_manifest(bundle).version


def _heading() -> str:
    """Name the machine."""
    return (
        "# Serving\n\n"
        "Measured by `scripts/measure_serving.py`, servers and clients on the same "
        f"{allowed_cores()} cores."
    )


if __name__ == "__main__":
    raise SystemExit(main())
