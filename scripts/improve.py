"""Improve the pool by one cycle: find where it is weak, make data, retrain, compare, decide.

Finds the weakest region on train and validation, makes training data for it, trains the adapter
concerned further (a new version beside the old one), collects only the changed cells, trains the
router on the old and on the new table, and compares both on the same test split. The new version
becomes the current one only if it is better and no domain is worse. Every decision is an entry of
OUTPUT/history.json; a stopped run goes on where it was. With --status true it only tells which
version is current and the history; with --rollback true it only makes the version before the last
change the current one again, or with --rollback_to NAME that one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routing_gym.benchmark.cycle import Improvement
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.scripts.command import run_command


@dataclass(frozen=True)
class Config(CycleSettings):
    """Settings of the command and of its cycle.

    Parameters
    ----------
    cycle
        Number of the cycle; 0 is the one that was begun, or else the next. A cycle that is in the
        history is not done again, only its report is written.
    restart
        Begin the cycle again with changed settings, keeping the stages that they do not touch.
    approve
        Name of the person who signs the promotion, or the rollback, in place of the gate. Nobody
        can promote what the gate rejected.
    status
        Print which version is current and the history, and stop.
    rollback
        Go back to the version before the last change, and stop; the present one need not be there.
    rollback_to
        With --rollback true: go back to this version instead, such as v0000.

    Raises
    ------
    ValueError
        If settings exclude each other.
    """

    cycle: int = 0
    restart: bool = False
    approve: str = ""
    status: bool = False
    rollback: bool = False
    rollback_to: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycle < 0:
            raise ValueError(f"cycle={self.cycle}: give a number from 1, or 0 for the next one.")
        if self.rollback_to and not self.rollback:
            raise ValueError(f"rollback_to={self.rollback_to!r} needs --rollback true.")
        runs = {"cycle": self.cycle, "restart": self.restart}
        if (self.status or self.rollback) and (given := [n for n, v in runs.items() if v]):
            raise ValueError(
                f"--{given[0]} is of a cycle, but --status and --rollback run none: leave one out."
            )


def improve(config: Config) -> None:
    """Do what was asked and print what came of it."""
    if config.status or config.rollback:
        improvement = Improvement(_settings(config), steps=_no_steps(), say=_say)
        if config.rollback:
            entry = improvement.roll_back(config.rollback_to, signed_by=config.approve or "gate")
            print(f"{' '.join(entry.reasons)} Signed by {entry.signed_by}.")
        print(improvement.status())
        return
    from routing_gym.scripts.improvement_steps import make_steps

    settings = _settings(config)
    improvement = Improvement(settings, steps=make_steps(settings), say=_say)
    outcome = improvement.run(cycle=config.cycle, restart=config.restart, approve=config.approve)
    if outcome.entry is not None:
        entry = outcome.entry
        print(f"\ncycle {entry.cycle}: {entry.candidate} {entry.verdict}, signed by ", end="")
        print(f"{entry.signed_by}. {' '.join(entry.reasons)}")
        print(f"current: {entry.current}; report and history -> {config.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config, improve, description=__doc__, default_config="configs/improve.yaml", argv=argv
    )


def _settings(config: Config) -> CycleSettings:
    """Take the cycle's own settings out of the command's."""
    names = [part.name for part in dataclasses.fields(CycleSettings)]
    return CycleSettings(**{name: getattr(config, name) for name in names})


def _no_steps() -> Any:
    """Stand for the steps where no cycle is run, so that no model is needed."""
    return None


def _say(text: str) -> None:
    """Print at once, so that a log shows where a run is."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
