"""The trials of a served policy: what each one starts, measures and says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark.report import markdown_table
from routing_gym.benchmark.speed import median_interval
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.serving.api_check import check_api
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.memory import memory_report
from routing_gym.serving.trial_latency import batch_rates, decision_times, overheads
from routing_gym.serving.trial_load import Offered, offer
from routing_gym.serving.trial_matrix import upstream_names
from routing_gym.serving.trial_process import ServerProcess
from routing_gym.serving.trial_upstream import Upstream

Figures = Mapping[str, float | Interval]
BATCH = 32
OFFERED, CAPACITY = 240, 16  # requests a second


@dataclass(frozen=True)
class TrialSettings:
    """What every trial is told.

    Parameters
    ----------
    bundle
        Folder of the served policy.
    table
        Folder of the outcome table, whose test split supplies the queries.
    folder
        For logs; one folder per trial.
    seed
        Of what is drawn.
    scale
        Share of the full number of requests, in (0, 1]; 1 for a report.
    """

    bundle: Path
    table: Path
    folder: Path
    seed: int = 0
    scale: float = 1.0

    def size(self, full: int, *, least: int = 8) -> int:
        """Return the scaled number of something."""
        return max(round(full * self.scale), least)

    def texts(self) -> list[str]:
        """Return the test split's queries in a drawn order."""
        table = OutcomeTable.load(self.table)
        rows = np.flatnonzero(table.split == "test")
        return [str(table.text[row]) for row in np.random.default_rng(self.seed).permutation(rows)]


@dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Parameters
    ----------
    figures
        For ``summary.json``.
    section
        For ``report.md``.
    """

    figures: Figures
    section: str


@dataclass
class Served:
    """A server on an upstream server that answers at once, or after a delay."""

    settings: TrialSettings
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0

    def __enter__(self) -> Served:
        self.folder = self.settings.folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "decisions.db"
        for old in self.folder.glob("decisions.db*"):
            old.unlink()
        base, *others = upstream_names(self.settings.bundle)
        self.upstream = Upstream(others, delay=self.delay)
        self.upstream.__enter__()
        values = {
            "bundle": self.settings.bundle,
            "backend": "openai",
            "upstream_url": self.upstream.url,
            "upstream_base": base,
            "log_url": f"sqlite:///{self.log}",
            "seed": self.settings.seed,
            "log_level": "error",
            **self.options,
        }
        command = [text for key, value in values.items() for text in (f"--{key}", str(value))]
        self.server = ServerProcess(command, log=self.folder / "server.log")
        try:
            self.server.start()
        except BaseException:
            self.upstream.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.upstream.__exit__()


def decision_trial(settings: TrialSettings) -> TrialResult:
    """Time decisions in the library, over HTTP and in batches."""
    texts = settings.texts()
    bundle = PolicyBundle.load(settings.bundle)
    times = decision_times(bundle, texts[: settings.size(400)], repeats=3)
    ratios = times.decision / times.forward
    with Served(settings, "decision") as served:
        extra = 1e3 * overheads(served.server.url, texts[: settings.size(600)], log=served.log)
        count = settings.size(256) // BATCH * BATCH or BATCH
        rates = batch_rates(served.server.url, texts[:count], batch=BATCH, repeats=5)
    over = _median_ratio(times.decision, times.forward)
    figures: dict[str, float | Interval] = {
        "decision_over_encoder": over,
        "decision_ms_p50": median_interval(1e3 * times.decision),
        "encoder_ms_p50": median_interval(1e3 * times.forward),
        "overhead_ms_p50": median_interval(extra),
        "overhead_ms_p99": float(np.quantile(extra, 0.99)),
        "batch32_over_batch1": median_interval(rates[:, 1] / rates[:, 0]),
        "texts_per_second_batch1": median_interval(rates[:, 0]),
        "texts_per_second_batch32": median_interval(rates[:, 1]),
    }
    section = (
        "## A decision\n\n"
        f"`PolicyBundle.decide` on {len(times.forward)} test queries, one at a time, in one "
        "thread, beside the encoder's forward pass on the same tokens, in turns, the fastest of "
        f"three each: `decision_over_encoder` is the ratio of the medians (the median of the "
        f"ratios is {np.median(ratios):.3f}; tokenizer, policy, checks and draw are the rest). "
        f"Over HTTP, `overhead_ms_p50` is what a client waits for `POST /route` beyond the "
        f"encoder's time, over {len(extra)} requests one after the other: policy, log and HTTP "
        f"on both sides. Batches of {BATCH} against single texts: one client, the "
        "same texts, default settings; two threads share the texts of a batch."
    )
    return TrialResult(figures, section)


def memory_trial(settings: TrialSettings) -> TrialResult:
    """Measure the server's memory with both back ends, and what the thin one has loaded."""
    texts = settings.texts()[: settings.size(64)]
    with Served(settings, "memory") as served:
        for text in texts:
            _chat(served.server.url, text)
        thin = served.server.memory_mb("VmHWM")
        found = served.server.modules("torch")
    with Served(settings, "memory-local", {"backend": "local"}) as served:
        _chats(served.server.url, texts[:16])
        local = served.server.memory_mb()
    report = memory_report(load_pool("default"))
    figures: dict[str, float | Interval] = {
        "openai_peak_mb": thin,
        "openai_loads_torch": float("torch" in found),
        "local_server_mb": local,
        "local_base_mb": report["base"],
        "local_server_over_base": local / report["base"],
        "local_pool_over_base": report["pool"] / report["base"],
        "separate_models_mb": report["separate"],
        "separate_models_over_base": report["separate"] / report["base"],
    }
    section = (
        "## Memory\n\n"
        f"Peak resident memory of the server with the `openai` back end after {len(texts)} chats "
        f"(torch's libraries are {'' if found else 'not '}mapped), and resident memory of the "
        "server with the `local` back end, which holds the base and four adapters, the bundle and "
        "the self-evaluator, after 16 chats. Beside it processes that have just answered eight "
        "questions: with the base alone (`local_base_mb`), with base and adapters but without the "
        "server (`local_pool_over_base`), and with four separate models, one per adapter "
        f"({report['imports']:.0f} MB are the libraries without any model). MB are 10^6 bytes."
    )
    return TrialResult(figures, section)


def overload_trial(settings: TrialSettings) -> TrialResult:
    """Offer far more than the server can take, after a load that it takes easily."""
    with Served(settings, "overload", delay=1.0) as served:
        folder, memory = served.folder, served.server.memory_mb
        calm = offer(
            served.server.url, rate=5, seconds=settings.size(30), folder=folder, memory_mb=memory
        )
        storm = offer(
            served.server.url,
            rate=OFFERED,
            seconds=settings.size(60),
            folder=folder,
            memory_mb=memory,
        )
        crashed = not served.server.alive
        after = _chat(served.server.url, "Is anybody there?")
    figures: dict[str, float | Interval] = {
        "overload_crashes": float(crashed) + float(after != 200),
        "overload_other_failures": float(storm.failed + calm.failed),
        "overload_offered_per_second": storm.rate,
        "overload_beyond_capacity_per_second": storm.rate - CAPACITY,
        "overload_answered_per_second": len(storm.answered) / max(float(np.ptp(storm.starts)), 1),
        "overload_refused_share": storm.refused / len(storm.statuses),
        "overload_p99_ratio": storm.p99() / calm.p99(),
        "overload_memory_growth": storm.memory_growth,
    }
    rows = [_load_row("5 a second", calm), _load_row(f"{OFFERED} a second", storm)]
    table = markdown_table(
        ["load", "offered", "answered", "refused (429)", "other", "p50 ms", "p99 ms", "MB"], rows
    )
    section = (
        "## Overload\n\n"
        "Locust's clients ask chats at a fixed rate (`deploy/load/locustfile.py`) of a server with "
        "its default limits, 16 answers at once and 16 requests that wait; the upstream server "
        "takes a second for each, so that 16 a second can be answered. The requests offered beyond "
        f"that are to be refused at once.\n\n{table}"
    )
    return TrialResult(figures, section)


def api_trial(settings: TrialSettings) -> TrialResult:
    """Let schemathesis try the live API with valid and invalid requests."""
    with Served(settings, "api") as served:
        found = check_api(served.server.url, cases=settings.size(2000), seed=settings.seed)
    figures: dict[str, float | Interval] = {
        "schemathesis_cases": float(found.cases),
        "schemathesis_failures": float(len(found.failures)),
    }
    failures = "".join(f"\n\n```\n{failure}\n```" for failure in found.failures)
    section = (
        "## The API\n\n"
        f"Schemathesis on the live server's own OpenAPI document: {found.cases} cases, "
        f"{found.positive} of them valid and {found.negative} invalid, with "
        f"{len(found.failures)} failures.{failures}"
    )
    return TrialResult(figures, section)


def _median_ratio(top: np.ndarray, bottom: np.ndarray) -> Interval:
    """Return the ratio of two medians with a paired bootstrap 95 % interval."""
    picks = np.random.default_rng(0).integers(len(top), size=(2000, len(top)))
    draws = np.median(top[picks], axis=1) / np.median(bottom[picks], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(np.median(top) / np.median(bottom)), float(low), float(high))


def _load_row(name: str, load: Offered) -> list[str]:
    """Describe one load."""
    answered = load.answered
    p50 = float(np.median(answered)) if len(answered) else float("nan")
    counts = [str(n) for n in (len(load.statuses), len(answered), load.refused, load.failed)]
    times = [f"{1e3 * p50:.0f}", f"{1e3 * load.p99():.0f}"]
    return [name, *counts, *times, f"{np.median(load.memory):.0f}"]


def _chat(url: str, text: str) -> int:
    """Ask one chat; return the status."""
    body = {"model": "router", "messages": [{"role": "user", "content": text}], "max_tokens": 16}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60.0).status_code


def _chats(url: str, texts: Sequence[str]) -> None:
    """Ask several chats at once."""
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda text: _chat(url, text), texts))
    if set(statuses) != {200}:
        raise RuntimeError(f"chats were answered with {statuses}.")
