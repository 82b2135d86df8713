"""Whether the server may be sent requests: every part verified, and no stop under way."""

from __future__ import annotations

from collections.abc import Iterable

from routing_gym.serving.errors import ApiError

STARTING = "not verified yet"


class Readiness:
    """Named checks, each passed or with the reason why not.

    Parameters
    ----------
    checks
        Their names; none has passed at first.
    """

    def __init__(self, checks: Iterable[str]) -> None:
        self._reasons: dict[str, str] = dict.fromkeys(checks, STARTING)
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether every check has passed and the server does not stop."""
        return not self.draining and not any(self._reasons.values())

    @property
    def checks(self) -> dict[str, str]:
        """Name -> "ok" or the reason."""
        return {name: reason or "ok" for name, reason in self._reasons.items()}

    def passed(self, name: str) -> None:
        """Note that a check has passed."""
        self._reasons[name] = ""

    def failed(self, name: str, reason: str) -> None:
        """Note that a check has failed, or fails now."""
        self._reasons[name] = reason or "failed"

    def require(self, *names: str) -> None:
        """Refuse a request that needs parts which are not verified.

        Raises
        ------
        ApiError
            503 with the first reason.
        """
        for name in names:
            if self._reasons[name]:
                raise ApiError(
                    503,
                    f"the server is not ready ({name}: {self._reasons[name]}).",
                    code="not_ready",
                    headers={"retry-after": "1"},
                )
