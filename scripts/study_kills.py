"""Kill improve.py and collect_outcomes.py at random moments and see whether anything is lost.

Both commands run in a small but real configuration (the embedded model, real training of a few
updates, a few dozen queries). Each trial starts one afresh, kills its whole process group with
SIGKILL at a random moment, starts it again until it ends, and compares what lies on disk with a run
that nobody killed: every answer exactly once and the same, one entry in an intact history, the
current version complete, nothing half promoted, no drafts left behind. Finished trials are kept, so
that a stopped study goes on; the figures go into OUTPUT/summary.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.benchmark.cycle_report import KILLS, write_improvement
from routing_gym.benchmark.kill_subjects import make_inputs, subjects
from routing_gym.benchmark.kill_trials import Subject, Trial, moments, trial_to_json
from routing_gym.benchmark.provenance import allowed_cores, provenance, source_hash
from routing_gym.benchmark.report import markdown_table
from routing_gym.envs.collection_files import append_lines, locked, whole_lines
from routing_gym.queries.whole_file import write_whole
from routing_gym.scripts.command import run_command

TRIALS, REFERENCE = "trials.jsonl", "reference.json"
SOURCES = ("adapters", "agents", "benchmark", "envs", "queries", "rewards", "scripts")


@dataclass(frozen=True)
class Config:
    """Settings of the study.

    Parameters
    ----------
    kills
        Moments in all, half of them for each command; at least 2.
    seed
        Of the moments.
    jobs
        Trials at a time, each on one thread; 0 is one for each core.
    work
        Folder of the trials; those of the same code and settings are not tried again.
    output
        Folder of the improvement's report, which takes the figures.
    """

    kills: int = 20
    seed: int = 0
    jobs: int = 0
    work: Path = Path("runs/kills")
    output: Path = Path("results/improvement")

    def __post_init__(self) -> None:
        if self.kills < 2 or self.seed < 0 or self.jobs < 0:
            raise ValueError(
                f"kills={self.kills}, seed={self.seed} and jobs={self.jobs} must be at least 2, 0 "
                "and 0."
            )


def study(config: Config) -> int:
    """Try what was not tried yet, and report; 1 if anything was lost."""
    busy = f"another study works in {config.work}: wait until it ends, or give another --work."
    with locked(config.work / TRIALS, busy=busy):
        start = time.perf_counter()
        trials = _trials(config)
        minutes = (time.perf_counter() - start) / 60
    survived = sum(trial.survived for trial in trials)
    figures = {"kills_survived": float(survived), "kills": float(len(trials))}
    content = {
        "figures": figures,
        "markdown": _section(trials),
        "trials": [trial_to_json(trial) for trial in trials],
        "command": provenance(extra=[f"seed: {config.seed}"]),
    }
    write_whole(config.output / KILLS, json.dumps(content, indent=1) + "\n")
    write_improvement(config.output)
    for trial in trials:
        if not trial.survived:
            print(f"{trial.command} killed after {trial.moment} s: {'; '.join(trial.faults)}")
    print(f"{survived} of {len(trials)} kills survived ({minutes:.1f} min) -> {config.output}")
    return int(survived < len(trials))


def _trials(config: Config) -> list[Trial]:
    """Return every trial, in the order of commands and moments."""
    inputs = config.work / "inputs"
    both = subjects(inputs.resolve())
    jobs = config.jobs or allowed_cores() or 1
    with ThreadPoolExecutor(jobs) as threads:
        seconds = _references(config, both, threads)
        planned = [
            (subject, number, moment)
            for subject, count in zip(both, (config.kills // 2, -(-config.kills // 2)), strict=True)
            for number, moment in enumerate(
                moments(seconds[subject.name], count, seed=config.seed), 1
            )
        ]
        known = _known(config)
        todo = [plan for plan in planned if (plan[0].name, plan[1]) not in known]
        run = partial(_try, config)
        with tqdm(total=len(planned), initial=len(known), unit="kill", smoothing=0.3) as bar:
            for trial in threads.map(run, todo):
                append_lines(config.work / TRIALS, [trial_to_json(trial)])
                known[trial.command, trial.number] = trial
                bar.update()
                bar.set_postfix_str(f"{trial.command}: {trial.found}")
    return [known[subject.name, number] for subject, number, _ in planned]


def _references(
    config: Config, both: Sequence[Subject], threads: ThreadPoolExecutor
) -> dict[str, float]:
    """Run both commands without a kill, unless that was done with the same code and settings."""
    note = config.work / REFERENCE
    settings = {"code": source_hash(*SOURCES), "kills": config.kills, "seed": config.seed}
    if note.is_file():
        known: dict[str, Any] = json.loads(note.read_text("utf-8"))
        if known["settings"] == settings:
            return dict(known["seconds"])
    for outdated in (note, config.work / TRIALS):  # the note first: it vouches for the trials
        outdated.unlink(missing_ok=True)
    print("a run of each command that nobody kills, about a minute", flush=True)
    make_inputs((config.work / "inputs").resolve())
    places = [config.work.resolve() / f"{subject.name}-0" for subject in both]
    found = threads.map(lambda pair: pair[0].reference(pair[1]), zip(both, places, strict=True))
    seconds = {subject.name: value for subject, value in zip(both, found, strict=True)}
    write_whole(note, json.dumps({"settings": settings, "seconds": seconds}) + "\n")
    return seconds


def _try(config: Config, plan: tuple[Subject, int, float]) -> Trial:
    """Try one moment."""
    subject, number, moment = plan
    place = config.work.resolve()
    return subject.try_kill(
        place / f"{subject.name}-{number}",
        place / f"{subject.name}-0",
        number=number,
        moment=moment,
    )


def _known(config: Config) -> dict[tuple[str, int], Trial]:
    """Read the trials that are done."""
    found = [
        Trial(**{**line, "faults": tuple(line["faults"])})
        for line in whole_lines(config.work / TRIALS)
    ]
    return {(trial.command, trial.number): trial for trial in found}


def _section(trials: Sequence[Trial]) -> str:
    """Describe the trials."""
    header = ["command", "killed after", "what lay there", "afterwards"]
    cells = [
        [
            t.command,
            f"{t.moment:.1f} s",
            t.found,
            "as without a kill" if t.survived else t.faults[0],
        ]
        for t in trials
    ]
    text = (
        "Each line is a run of a small but real configuration, killed with SIGKILL (the whole "
        "process group) at a random moment and started again until it ended. It counts as "
        "survived if every answer is there exactly once and the same as in a run that nobody "
        "killed, no line is damaged, the history is intact with one entry for the cycle, the "
        "current version is complete with the right hashes, right after the kill as well as at "
        "the end, and no draft is left behind. Moments are random within equal parts of the run's "
        "duration."
    )
    return f"## Kill -9 at random moments\n\n{text}\n\n{markdown_table(header, cells)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, study, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
