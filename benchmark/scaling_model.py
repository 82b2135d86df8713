"""From measured rates to a collection that no one here has run: hours, GPU hours, disk, bottleneck.

The model is a sum over the stages of a collection, which run one after the other, and within each
stage a division of answers by answers per second. Nothing in it is fitted. How many answers a GPU
gives per second is never assumed: it is a parameter, shown over a range, that whoever has the GPU
measures with one command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from routing_gym.benchmark.report import markdown_table
from routing_gym.benchmark.scaling_rates import HttpRate, Rates, http_rates, measure_rates

__all__ = [
    "Estimate",
    "HttpRate",
    "Plan",
    "Rates",
    "estimate",
    "http_rates",
    "measure_rates",
    "scaling_figures",
    "scaling_section",
]

GPU_RATES = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Answers per second and GPU that the report shows; which one is yours has to be measured."""
MEASURE_COMMAND = (
    "python scripts/collect_outcomes.py --pool my_vllm.yaml --mix '{\"sorting\": 1000}' "
    "--only '[reasoning]' --workers 4 --flush_rows 250"
)
"""Shows in its progress bar the answers per second of all GPUs together."""
_HOUR = 3600.0
_GIGA = 1e9


@dataclass(frozen=True)
class Plan:
    """A collection and the machines for it.

    Parameters
    ----------
    per_gpu
        Answers per second and GPU, as measured.
    queries, adapters
        Size of the table.
    gpus
        That generate.
    clients
        Processes that ask the server.
    workers
        Processes that score, and cores that verify.

    Raises
    ------
    ValueError
        If a number is not above 0.
    """

    per_gpu: float
    queries: int = 1_000_000
    adapters: int = 100
    gpus: int = 8
    clients: int = 4
    workers: int = 32

    def __post_init__(self) -> None:
        for name in ("per_gpu", "queries", "adapters", "gpus", "clients", "workers"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0.")

    @property
    def cells(self) -> int:
        """Answers in all."""
        return self.queries * self.adapters


@dataclass(frozen=True)
class Estimate:
    """What a plan comes to.

    Parameters
    ----------
    hours
        Stage -> hours; the stages follow one another.
    gpu_hours
        While the GPUs are held for generation.
    disk_gb
        Answers and judgements while they are collected, and the finished table.
    memory_gb
        Of the finished table, opened as one.
    """

    hours: dict[str, float]
    gpu_hours: float
    disk_gb: float
    memory_gb: float

    @property
    def total_hours(self) -> float:
        """Hours from the first question to the table."""
        return sum(self.hours.values())

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(self.hours, key=lambda stage: self.hours[stage])


def estimate(rates: Rates, plan: Plan) -> Estimate:
    """Divide answers by rates, stage by stage.

    Generation takes as long as the slower of the GPUs and the clients needs. Scoring and
    verification are taken to divide evenly among processes, which is what collecting a table in
    parts (``--mix``) and joining them does; one command scores in one process.

    Parameters
    ----------
    rates
        What was measured.
    plan
        What is to be done.

    Returns
    -------
    Estimate
        The first stage is named after what bounds it: ``"generation"`` or ``"client"``.
    """
    cells = plan.cells
    on_gpus = cells / (plan.gpus * plan.per_gpu) / _HOUR
    in_clients = cells / (plan.clients * rates.best_http.per_second) / _HOUR
    hours = {
        "client" if in_clients > on_gpus else "generation": max(on_gpus, in_clients),
        "scoring": cells * rates.scoring_seconds / plan.workers / _HOUR,
        "verification": cells * rates.verification_seconds / plan.workers / _HOUR,
        "table": cells * rates.table_seconds / _HOUR,
    }
    table = cells * rates.cell_bytes + plan.queries * rates.query_bytes
    return Estimate(
        hours=hours,
        gpu_hours=plan.gpus * max(on_gpus, in_clients),
        disk_gb=(cells * rates.work_bytes + table) / _GIGA,
        memory_gb=cells * rates.memory_bytes / _GIGA,
    )


def scaling_figures(rates: Rates) -> dict[str, float]:
    """Name the measured rates for ``summary.json``."""
    best = rates.best_http
    return {
        "http_answers_per_second": best.per_second,
        "http_concurrency": float(best.concurrency),
        "http_cpu_seconds_per_answer": best.cpu_seconds,
        "scoring_seconds_per_answer": rates.scoring_seconds,
        "verification_core_seconds_per_answer": rates.verification_seconds,
        "work_bytes_per_answer": rates.work_bytes,
        "table_bytes_per_answer": rates.cell_bytes,
        "table_bytes_per_query": rates.query_bytes,
        "table_memory_bytes_per_answer": rates.memory_bytes,
        "table_save_microseconds_per_answer": rates.save_seconds * 1e6,
        "table_open_microseconds_per_answer": rates.open_seconds * 1e6,
    }


def scaling_section(
    rates: Rates, *, per_gpu: Sequence[float] = GPU_RATES, plan: Plan | None = None
) -> str:
    """Write the measured rates, what follows for a large collection, and where it jams.

    Parameters
    ----------
    rates
        What was measured.
    per_gpu
        Answers per second and GPU to show.
    plan
        The collection and its machines; its own `per_gpu` is replaced.

    Returns
    -------
    str
        Markdown, without a title.
    """
    plan = plan or Plan(per_gpu=per_gpu[0])
    plans = [replace(plan, per_gpu=rate) for rate in per_gpu]
    found = [estimate(rates, own) for own in plans]
    return "\n\n".join(
        [
            "**Measured here**",
            _http_table(rates),
            _stage_table(rates),
            f"**Extrapolated** to {plan.queries:,} queries × {plan.adapters} adapters on "
            f"{plan.gpus} GPUs, {plan.clients} client processes and {plan.workers} processes "
            "that score and verify. No one has run this. The first column is yours to measure "
            f"(`{MEASURE_COMMAND}` shows that of all GPUs together in its progress bar); all else "
            "follows from the rates above by division. The cost is the GPU hours times your price "
            "of one.",
            _estimate_table(plans, found),
            _where_it_jams(rates, plan),
        ]
    )


def _http_table(rates: Rates) -> str:
    header = ["requests at once", "answers/s of one client process", "its CPU ms per answer"]
    rows = [
        [str(rate.concurrency), f"{rate.per_second:.0f}", f"{1e3 * rate.cpu_seconds:.2f}"]
        for rate in rates.http
    ]
    return markdown_table(header, rows)


def _stage_table(rates: Rates) -> str:
    rows = [
        ["scoring", f"{1e3 * rates.scoring_seconds:.2f} ms of one thread"],
        ["verification", f"{1e3 * rates.verification_seconds:.2f} ms of one core"],
        ["disk while collecting", f"{rates.work_bytes:.0f} bytes"],
        ["disk in the table", f"{rates.cell_bytes:.0f} bytes, and {rates.query_bytes:.0f} a query"],
        [
            "writing and opening the table",
            f"{1e6 * (rates.save_seconds + rates.open_seconds):.1f} µs",
        ],
        ["memory of the open table", f"{rates.memory_bytes:.0f} bytes"],
    ]
    return markdown_table(["stage", "per answer"], rows)


def _estimate_table(plans: Sequence[Plan], found: Sequence[Estimate]) -> str:
    header = [
        "answers/s per GPU",
        "generation h",
        "GPU hours",
        "scoring h",
        "verification h",
        "table h",
        "disk GB",
        "total h",
        "bottleneck",
    ]
    rows = []
    for plan, own in zip(plans, found, strict=True):
        first, *others = own.hours.values()
        numbers = [first, own.gpu_hours, *others, own.disk_gb, own.total_hours]
        rows.append([f"{plan.per_gpu:g}", *(f"{n:,.1f}" for n in numbers), own.bottleneck])
    return markdown_table(header, rows)


def _where_it_jams(rates: Rates, plan: Plan) -> str:
    """Say at which rates the bottleneck moves."""
    client = plan.clients * rates.best_http.per_second
    slow = {"scoring": rates.scoring_seconds, "verification": rates.verification_seconds}
    name = max(slow, key=lambda stage: slow[stage])
    memory = plan.cells * rates.memory_bytes / _GIGA
    limit, driven = plan.workers / slow[name] / plan.gpus, client / plan.gpus
    reached = "" if limit <= driven else ", which so few clients do not reach"
    return (
        f"{plan.clients} client processes drive {client:,.0f} answers/s, that is {driven:,.0f} per "
        "GPU: faster GPUs wait for them, until `--workers` adds more. From "
        f"{limit:,.0f} answers/s per GPU on{reached}, {name} takes longer than generation, until "
        f"it has more than {plan.workers} processes. As one table in memory the answers take "
        f"{memory:,.0f} GB: a table of this size is collected and trained on in parts. With "
        "`judge: server` each answer costs two more requests, each of which reads the question and "
        "the answer and writes one token, and each query one more for all adapters together; the "
        "table above is for `judge: none`."
    )
