"""Does the server do what its OpenAPI document says? Schemathesis tries valid and invalid data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routing_gym.serving.openapi import BEARER

if TYPE_CHECKING:
    from schemathesis.engine.events import ScenarioFinished

FIRST_PHASES = ("examples", "coverage", "fuzzing")
ROUND = 100  # generated cases an operation in one round
_LONGEST_FAILURE, _LONGEST_ANSWER = 4000, 500


@dataclass(frozen=True)
class ApiCheck:
    """What came out.

    Parameters
    ----------
    positive, negative
        Cases that fit the document, and cases that do not.
    statuses
        How often each HTTP status came.
    failures
        A text for each different failure; none if the server keeps its word.
    """

    positive: int
    negative: int
    statuses: dict[int, int]
    failures: tuple[str, ...]

    @property
    def cases(self) -> int:
        """All cases."""
        return self.positive + self.negative


def check_api(url: str, *, cases: int = 2000, seed: int = 0, key: str = "") -> ApiCheck:
    """Try the API of a running server with generated requests, in rounds until there are enough.

    Every check of Schemathesis is on: no undocumented status, content type, header or schema, no
    server error, invalid data refused, valid data accepted, keys asked for where the document says
    so, other methods refused.

    Parameters
    ----------
    url
        Of the server, without a path.
    cases
        At least so many.
    seed
        Of the generated data.
    key
        Bearer key with all scopes; "" sends none.

    Returns
    -------
    ApiCheck
        Counts and failures.

    Raises
    ------
    ImportError
        If Schemathesis is not installed.
    ValueError
        If `cases` is not positive, or the server gives no more cases.
    """
    if cases < 1:
        raise ValueError(f"cases={cases} must be at least 1.")
    count = _Count()
    phases: tuple[str, ...] = FIRST_PHASES
    rounds = 0
    while count.total < cases:
        before = count.total
        _one_round(
            url, count, phases=phases, seed=seed + rounds, key=key, examples=min(ROUND, cases)
        )
        if count.total == before:
            raise ValueError(f"{url} gave no cases to try: is it the server's address?")
        phases, rounds = ("fuzzing",), rounds + 1
    return ApiCheck(
        count.modes["positive"],
        count.modes["negative"],
        dict(sorted(count.statuses.items())),
        tuple(dict.fromkeys(count.failures)),
    )


class _Count:
    """Adds up what the engine reports."""

    def __init__(self) -> None:
        self.modes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []

    @property
    def total(self) -> int:
        """Cases so far."""
        return self.modes.total()

    def scenario(self, event: ScenarioFinished) -> None:
        """Count a scenario's cases and keep its failures."""
        recorder = event.recorder
        for name, node in recorder.cases.items():
            meta = node.value.meta
            negative = meta is not None and meta.generation.mode.is_negative
            self.modes["negative" if negative else "positive"] += 1
            interaction = recorder.interactions.get(name)
            if interaction is not None and interaction.response is not None:
                self.statuses[interaction.response.status_code] += 1
        for name, checks in recorder.checks.items():
            response = getattr(recorder.interactions.get(name), "response", None)
            said = response.content[:_LONGEST_ANSWER] if response is not None else b"nothing"
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    self.failures.append(
                        f"{event.label}, {check.name}: {failure.title}: {failure.message}\n"
                        f"The server said {said!r} to\n"
                        f"{check.failure_info.code_sample}"[:_LONGEST_FAILURE]
                    )


def _one_round(
    url: str, count: _Count, *, phases: tuple[str, ...], seed: int, key: str, examples: int
) -> None:
    """Let the engine try every operation."""
    try:
        import schemathesis
        from schemathesis.engine import events, from_schema
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install schemathesis.") from error
    settings: dict[str, Any] = {
        "seed": seed,
        "base-url": url,
        "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
        "phases": {name: {"enabled": name in phases} for name in (*FIRST_PHASES, "stateful")},
    }
    if key:  # for the scheme that the document names, so that it is left out as well
        settings["auth"] = {"openapi": {BEARER: {"bearer": key}}}
    config = schemathesis.Config.from_dict(settings)
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            count.scenario(event)
        elif isinstance(event, events.NonFatalError):
            count.failures.append(f"{event.label}: {event.value!r}"[:_LONGEST_FAILURE])
        elif isinstance(event, events.FatalError):
            raise event.exception
