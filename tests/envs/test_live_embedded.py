"""Live-v0 with the embedded pool: the shipped table's cells, written again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.live import LiveVectorEnv
from routing_gym.envs.routing import RoutingEnv
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable

WEIGHTS = Path(__file__).resolve().parents[2] / "adapters" / "weights"
LIVE_TOLERANCE = 1e-4  # of generating in another batch than the table's


def test_no_language_model_is_imported_to_make_it() -> None:
    code = (
        "import sys, routing_gym.envs.live as live; "
        "live.LiveEnv(split='test') if live else 0; "
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    if not (DEFAULT_TABLE.is_dir() and WEIGHTS.is_dir()):
        code = code.replace("live.LiveEnv(split='test') if live else 0; ", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the trained adapters are not here")
@pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="the outcome table is not here")
def test_the_real_pool_gives_the_tables_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """Two queries by three adapters: the table's responses and scores."""
    pytest.importorskip("peft")
    table = OutcomeTable.load(DEFAULT_TABLE)
    test = np.flatnonzero(table.split == "test")
    few = table.subset(test[[40, 500]])
    price = {"quality": 9.0, "tokens": 0.5}  # time is measured anew
    env = LiveVectorEnv(6, few, split="test", reward=price)
    known = RoutingEnv(few, split="test", reward=price)
    actions, seen = np.array([0, 1, 2, 0, 1, 2]), []
    lanes_of = {name: lane for lane, name in enumerate(few.query_id.tolist())}
    seeds = {few.query_id[i]: _seed_of(known, few.query_id[i]) for i in range(2)}
    names = [few.query_id[i] for i in (0, 0, 0, 1, 1, 1)]
    started = time.perf_counter()
    env.reset(seed=[seeds[name] for name in names])
    _, rewards, *_, info = env.step(actions)
    elapsed = time.perf_counter() - started
    final = info["final_info"]
    for lane, (name, action) in enumerate(zip(names, actions, strict=True)):
        known.reset(seed=seeds[name])
        _, expected, *_, outcome = known.step(int(action))
        assert final["query_id"][lane] == name
        assert final["response"][lane] == few.responses[lanes_of[name], action]
        assert rewards[lane] == pytest.approx(expected, abs=LIVE_TOLERANCE)
        assert final["accuracy"][lane] == outcome["accuracy"]
        for score, values in final["scores"].items():
            if score != "seconds" and not score.startswith("_"):
                seen.append(abs(values[lane] - outcome["scores"][score]))
                assert seen[-1] < LIVE_TOLERANCE, score
        for cost in ("prompt_tokens", "completion_tokens"):
            assert final["cost"][cost][lane] == outcome["cost"][cost]
    with capsys.disabled():
        print(f"\n6 live cells in {elapsed:.1f} s with loading, largest difference {max(seen):.1e}")


def _seed_of(env: RoutingEnv, query_id: str) -> int:
    """Find a seed that meets a query first."""
    return next(seed for seed in range(100) if env.reset(seed=seed)[1]["query_id"] == query_id)
