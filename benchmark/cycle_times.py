"""About how long the stages of a cycle take, so that whoever starts one knows what to expect."""

from __future__ import annotations

from routing_gym.benchmark.cycle_settings import CycleSettings

_SECONDS = {"gaps": 15.0, "routers": 12.0, "comparison": 5.0, "version": 2.0}
_PER_EXAMPLE = {"data": 0.08, "training": 0.5}
_PER_QUERY = {"table": 0.25}


def expected_time(stage: str, settings: CycleSettings, *, queries: int) -> str:
    """Say about how long a stage takes with the embedded pool on two cores.

    Parameters
    ----------
    stage
        One of `routing_gym.benchmark.cycle_stages.STAGES`.
    settings
        Of the cycle.
    queries
        Of its table.
    """
    if stage == "training" and settings.method != "sft":
        return f"a time that is not known for {settings.method}"
    rounds = 2 * len(settings.router_seeds) if stage == "routers" else 1
    seconds = _SECONDS.get(stage, 0.0) * rounds
    seconds += _PER_EXAMPLE.get(stage, 0.0) * settings.examples
    seconds += _PER_QUERY.get(stage, 0.0) * queries
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
