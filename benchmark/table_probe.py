"""What opening a table and training on it costs a process of its own: seconds and memory.

Run as ``python -m routing_gym.benchmark.table_probe '<JSON>'``; it prints JSON. A process of its
own, because memory that another table has used is not given back to be counted again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from routing_gym.benchmark.speed import Stopwatch
from routing_gym.envs.mapped import open_mapped
from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.table import OutcomeTable

LANES, STEPS = 2048, 60  # 122,880 queries
INTERVAL = 0.02  # seconds between readings of the memory


def probe(kind: str, folder: Path, **options: Any) -> dict[str, float]:
    """Measure in a process of its own.

    Parameters
    ----------
    kind
        ``"load"``, ``"mapped"`` or ``"train"``.
    folder
        Of the table or the mapped split.
    **options
        For ``"train"``: ``validation`` (folder of a mapped split), ``steps`` and ``seed``.

    Raises
    ------
    RuntimeError
        If the process fails; the message has its last words.
    """
    order = json.dumps({"kind": kind, "folder": str(folder), **options})
    command = [sys.executable, "-m", "routing_gym.benchmark.table_probe", order]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the probe of {folder} failed: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory() -> dict[str, float]:
    """Return this process's memory in MB: ``resident`` and, where the system says, ``anonymous``.

    Pages of mapped files are resident but not anonymous: the system takes them back when it needs
    them.
    """
    names = {"VmRSS:": "resident", "RssAnon:": "anonymous"}
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return {"resident": float("nan"), "anonymous": float("nan")}
    fields = [line.split() for line in lines]
    return {names[f[0]]: int(f[1]) / 1024 for f in fields if f and f[0] in names}


class PeakMemory:
    """Reads the memory many times a second: ``with PeakMemory() as peak: ...``, ``peak.found``."""

    def __init__(self) -> None:
        self.found: dict[str, float] = memory()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._end.set()
        self._thread.join()
        self._read()

    def _watch(self) -> None:
        """Read until the end."""
        while not self._end.wait(INTERVAL):
            self._read()

    def _read(self) -> None:
        """Keep the highest values."""
        now = memory()
        self.found = {name: max(now[name], known) for name, known in self.found.items()}


def open_and_step(kind: str, folder: Path) -> dict[str, float]:
    """Open a table, and step an environment of 2,048 lanes on it 60 times.

    Parameters
    ----------
    kind
        ``"load"`` for an `OutcomeTable`, ``"mapped"`` for a mapped split.
    folder
        Where it lies.

    Returns
    -------
    dict
        ``seconds`` and ``wall_seconds`` to open; ``before``, ``opened`` and ``stepped``: resident
        MB after the imports, with the table open, and after the steps (and ``..._anonymous``).
    """
    before = memory()
    with Stopwatch() as watch:
        table: Any = OutcomeTable.load(folder) if kind == "load" else open_mapped(folder)
    opened = memory()
    data = table.data("train", {"quality": 1.0}) if kind == "load" else table
    env = RoutingVectorEnv(LANES, data=data, info="light")
    env.reset(seed=0)
    actions = env.rows % data.num_adapters
    for _ in range(STEPS):
        env.step(actions)
    stages = {"before": before, "opened": opened, "stepped": memory()}
    found = {"seconds": watch.cpu, "wall_seconds": watch.wall, "queries": float(len(table))}
    for stage, values in stages.items():
        found |= {stage: values["resident"], f"{stage}_anonymous": values["anonymous"]}
    return found


def train(folder: Path, *, validation: Path, steps: int, seed: int) -> dict[str, float]:
    """Train our PPO on a mapped split, and watch the memory from the first import on.

    Parameters
    ----------
    folder
        A mapped split.
    validation
        Another, read into memory.
    steps
        Queries to answer.
    seed
        Of the training.

    Returns
    -------
    dict
        ``seconds`` and ``wall_seconds`` of opening and training; ``resident`` and ``anonymous``:
        the highest memory in MB; ``gap``: the share of the oracle gap that the policy closes.
    """
    with PeakMemory() as peak:
        from routing_gym.agents.ppo import PPOAgent  # its memory counts

        with Stopwatch() as watch:
            data, held_out = open_mapped(folder), open_mapped(validation)
            agent = PPOAgent(total_steps=steps)
            agent.train(data, validation=held_out, seed=seed)
    rewards = held_out.rewards
    chosen = rewards[range(len(held_out)), agent.decide_on(held_out).actions]
    best, oracle = rewards.mean(axis=0).max(), rewards.max(axis=1).mean()
    return {
        "seconds": watch.cpu,
        "wall_seconds": watch.wall,
        **peak.found,
        "gap": float((chosen.mean() - best) / (oracle - best)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the JSON says."""
    order: dict[str, Any] = json.loads((sys.argv[1:] if argv is None else argv)[0])
    kind, folder = order.pop("kind"), Path(order.pop("folder"))
    if kind == "train":
        found = train(folder, validation=Path(order.pop("validation")), **order)
    else:
        found = open_and_step(kind, folder)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
