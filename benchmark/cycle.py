"""One improvement cycle: resumable stages, a gate, and one step that promotes or does not.

Everything up to the candidate version is sealed stages (`cycle_stages`); nothing of it changes
which version is current. The entry that is then added to the history decides that in one rename,
and the report is made from what is on disk, so that it can be made again at any time.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from routing_gym.benchmark.cycle_gate import Verdict, judge
from routing_gym.benchmark.cycle_history import (
    FIRST_VERSION,
    HISTORY,
    Entry,
    append_entry,
    current_version,
    entry_of,
    last_cycle,
    read_history,
    signed_version,
    version_before,
    weights_of,
)
from routing_gym.benchmark.cycle_report import cycle_figures, write_details, write_improvement
from routing_gym.benchmark.cycle_seal import WORK, UnsealedError, json_digest
from routing_gym.benchmark.cycle_settings import CycleSettings, changed_settings
from routing_gym.benchmark.cycle_stages import STAGES, CycleStages, Steps
from routing_gym.benchmark.cycle_times import expected_time
from routing_gym.benchmark.cycle_versions import Version, VersionStore
from routing_gym.benchmark.provenance import command_line, commit
from routing_gym.benchmark.statistics import figures_to_json
from routing_gym.envs.collection_files import locked
from routing_gym.queries.whole_file import write_whole

PLAN, REPORTED = "plan.json", "reported.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run of the command ended.

    Parameters
    ----------
    entry
        The cycle's entry; None where a promotion waits for a person.
    verdict
        What the gate says.
    """

    entry: Entry | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Improvement:
    """The improvement of one pool: its store, its history, its cycles.

    Parameters
    ----------
    settings
        Of the cycles.
    steps
        What they have done by others.
    say
        Told what happens.
    """

    settings: CycleSettings
    steps: Steps
    say: Say = print

    @property
    def history_path(self) -> Path:
        """The file that says which version is current."""
        return self.settings.output / HISTORY

    @property
    def versions(self) -> VersionStore:
        """Where the versions lie."""
        settings = self.settings
        folders = (settings.store / "versions", settings.output / "versions")
        return VersionStore(folders, settings.pool, settings.table)

    def run(self, *, cycle: int = 0, restart: bool = False, approve: str = "") -> Outcome:
        """Do a cycle, going on from what is sealed.

        Parameters
        ----------
        cycle
            Its number; 0 is the one that was begun, or else the next. One that is in the history
            already is not done again: only its report is written anew.
        restart
            Begin the cycle again with other settings; stages that they do not touch are kept.
        approve
            Who signs the promotion in place of the gate.

        Raises
        ------
        ValueError
            If the cycle was begun with other settings, is not the next one, or the history is
            broken.
        OSError
            If another process works on the same store.
        """
        with self._held():
            entries = read_history(self.history_path)
            number = cycle or self._unreported(entries) or last_cycle(entries) + 1
            done = entry_of(entries, number)
            if done is not None:
                self._report(done)
                return Outcome(done, None)
            if number != last_cycle(entries) + 1:
                raise ValueError(
                    f"cycle={number}: the history holds {last_cycle(entries)}, so the next one is "
                    f"{last_cycle(entries) + 1}."
                )
            base = self._open(entries, current_version(entries))
            stages = CycleStages(self.settings, self.steps, number, base, self._root(number))
            self._check_plan(stages, restart=restart)
            return self._finish(stages, approve=approve)

    def roll_back(self, to: str = "", *, signed_by: str = "gate") -> Entry:
        """Make an earlier version the current one again; the present one need not be there.

        Parameters
        ----------
        to
            Its name; empty is the version before the last change, so that going back twice
            undoes the going back.
        signed_by
            Who signs.

        Raises
        ------
        ValueError
            If there is nothing to go back to, or the version is the current one or not in the
            history.
        FileNotFoundError
            If the version is not there.
        """
        with self._held():
            entries = read_history(self.history_path)
            target, current = to or version_before(entries), current_version(entries)
            known = {entry.before for entry in entries} | {entry.current for entry in entries}
            if target not in known or target == current:
                raise ValueError(
                    f"rollback_to={target!r}: choose a version that was current once and is not "
                    f"now, of {sorted(known - {current})}."
                )
            new, last = self._open(entries, target), entries[-1]
            side = "after" if last.current == last.candidate else "before"
            weights = weights_of(entries, current, _weights(self.versions.open(FIRST_VERSION)))
            entry = Entry(
                number=0,
                cycle=0,
                verdict="rolled back",
                reasons=(f"Went back from {current} to {target}.",),
                signed_by=signed_by,
                before=current,
                candidate=target,
                current=target,
                time=_now(),
                tables={"before": last.tables[side], "after": new.table().fingerprint},
                pools={"before": last.pools[side], "after": new.pool.fingerprint},
                adapters=_changed(weights, _weights(new)),
                version_sha256=new.sha256,
                commit=commit(),
                command=command_line(sys.argv),
            )
            done = append_entry(self.history_path, entry)
            write_improvement(self.settings.output)
            return done

    def status(self) -> str:
        """Describe the history, the current version and a cycle that was begun."""
        entries = read_history(self.history_path)
        name = current_version(entries)
        try:
            found = self._open(entries, name)
            lines = [f"current: {name}, pool {found.pool_file}, table {found.table_folder}"]
        except FileNotFoundError as error:
            lines = [f"current: {name}, which is not here: {error}"]
        lines += [
            f"{e.number}. {e.time} {f'cycle {e.cycle}' if e.cycle else 'rollback'}: {e.candidate} "
            f"{e.verdict}, signed by {e.signed_by}; {' '.join(e.reasons)}"
            for e in entries
        ]
        number = last_cycle(entries) + 1
        root = self._root(number)
        if (root / PLAN).is_file():
            sealed = sorted(path.parent.name for path in root.glob("*/seal.json"))
            lines.append(f"cycle {number} was begun; sealed: {', '.join(sealed) or 'nothing'}")
        return "\n".join(lines)

    def _finish(self, stages: CycleStages, *, approve: str) -> Outcome:
        """Make what is missing, judge, and sign."""
        self._make(stages)
        verdict = judge(stages.rows, confidence=self.settings.confidence)
        if verdict.promoted and self.settings.needs_approval and not approve:
            self.say(f"{' '.join(verdict.reasons)} Sign it with --approve NAME.")
            return Outcome(None, verdict)
        candidate = stages.version(self.versions.place(f"v{stages.number:04d}"))
        entry = append_entry(
            self.history_path, self._entry(stages, candidate, verdict, approve=approve)
        )
        self._report(entry)
        return Outcome(entry, verdict)

    def _make(self, stages: CycleStages) -> None:
        """Make every stage in turn, saying how long each may take."""
        for place, name in enumerate(STAGES[:-1], 1):
            time = expected_time(name, self.settings, queries=len(stages.old_table))
            self.say(f"[{place}/{len(STAGES)}] {name}: {time} if not there")
            getattr(stages, name)
            self.say(f"[{place}/{len(STAGES)}] {name}: sealed")
            if name == "gaps":
                focus = stages.focus
                self.say(
                    f"      weakest: {focus.label}, gap {focus.gap:.2f} "
                    f"[{focus.gap_low:.2f}, {focus.gap_high:.2f}]; adapter {focus.adapter}, "
                    f"replay of {', '.join(focus.replay) or 'nothing'}"
                )
        self.say(f"[{len(STAGES)}/{len(STAGES)}] version, gate, history and report")

    def _entry(
        self, stages: CycleStages, candidate: Version, verdict: Verdict, *, approve: str
    ) -> Entry:
        """Write what was decided, and on what grounds."""
        base = stages.base
        return Entry(
            number=0,
            cycle=stages.number,
            verdict="promoted" if verdict.promoted else "rejected",
            reasons=verdict.reasons,
            signed_by=approve if approve and verdict.promoted else "gate",
            before=base.name,
            candidate=candidate.name,
            current=candidate.name if verdict.promoted else base.name,
            time=_now(),
            region=stages.focus.label,
            adapter=stages.focus.adapter,
            config_hash=json_digest(self.settings.binding),
            tables={
                "before": stages.old_table.fingerprint,
                "after": stages.new_table.fingerprint,
            },
            pools={"before": base.pool.fingerprint, "after": candidate.pool.fingerprint},
            adapters=_changed(_weights(base), _weights(candidate)),
            version_sha256=candidate.sha256,
            figures=figures_to_json(cycle_figures(stages.rows)),
            seconds=stages.seconds(),
            commit=commit(),
            command=command_line(sys.argv),
        )

    def _report(self, entry: Entry) -> None:
        """Write a cycle's report, and note that it is written."""
        root = self._root(entry.cycle)
        if not (root / PLAN).is_file():
            self.say(f"cycle {entry.cycle} was done elsewhere: its report is left as it is.")
            return
        try:
            self._describe(entry)
        except UnsealedError as error:
            self.say(f"{error}: the details of cycle {entry.cycle} are left as they are.")
        write_improvement(self.settings.output)
        write_whole(root / REPORTED, json.dumps({"entry": entry.sha256}) + "\n")

    def _describe(self, entry: Entry) -> None:
        """Write a judged cycle's details from its sealed stages."""
        if entry.config_hash != json_digest(self.settings.binding):
            raise UnsealedError(f"cycle {entry.cycle} was done with other settings")
        base = self._open(read_history(self.history_path), entry.before)
        root = self._root(entry.cycle)
        stages = CycleStages(self.settings, self.steps, entry.cycle, base, root, sealed_only=True)
        write_details(self.settings.output, stages, self.settings)

    def _unreported(self, entries: list[Entry]) -> int:
        """Return the last cycle if a kill came between its entry and its report, else 0."""
        number = last_cycle(entries)
        root = self._root(number)
        begun = number > 0 and (root / PLAN).is_file()
        return number if begun and not (root / REPORTED).is_file() else 0

    def _check_plan(self, stages: CycleStages, *, restart: bool) -> None:
        """Bind the cycle to its settings and its base, or refuse others."""
        plan = {
            **self.settings.binding,
            "base": stages.base.name,
            "base_table": stages.old_table.fingerprint,
            "base_pool": stages.base.pool.fingerprint,
        }
        path = stages.root / PLAN
        begun = json.loads(path.read_text("utf-8")) if path.is_file() else plan
        changed = changed_settings(begun, plan)
        if changed and (stages.root / REPORTED).is_file():
            raise ValueError(
                f"{self.settings.store} holds cycle {stages.number} of another history, done with "
                f"other settings ({'; '.join(changed)}): give this one another --store."
            )
        if changed and not restart:
            raise ValueError(
                f"cycle {stages.number} was begun with other settings ({'; '.join(changed)}): "
                "restore them, or begin it again with --restart true, which keeps the stages "
                "that they do not touch."
            )
        if restart:
            for leftover in (stages.root / WORK, *stages.root.glob(".*.draft")):
                shutil.rmtree(leftover, ignore_errors=True)
        write_whole(path, json.dumps(plan, indent=1, sort_keys=True) + "\n")

    def _open(self, entries: list[Entry], name: str) -> Version:
        """Open a version, the very one that the history signed."""
        return self.versions.open(name, signed=signed_version(entries, name))

    def _held(self) -> AbstractContextManager[None]:
        """Hold the store for this command alone."""
        store = self.settings.store
        busy = f"another command improves {store}: wait until it ends, or give another --store."
        return locked(store / "cycles", busy=busy)

    def _root(self, number: int) -> Path:
        """Return the folder of a cycle's stages."""
        return self.settings.store / "cycles" / f"c{number:04d}"


def _weights(version: Version) -> dict[str, str]:
    """Hash the weights of a version's adapters, by name."""
    return {adapter.name: adapter.sha256 for adapter in version.pool.adapters}


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """List the adapters whose weights differ, with both hashes."""
    return {n: {"before": old[n], "after": new[n]} for n in new if old[n] != new[n]}


def _now() -> str:
    """Return the time, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
