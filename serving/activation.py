"""The activation probe as a back end reports it; see `routing_gym.adapters.activation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routing_gym.adapters import activation
from routing_gym.adapters.activation import PROBE_TOKENS
from routing_gym.serving.backend import BackendError

__all__ = ["PROBE_TOKENS", "check_activation"]


def check_activation(
    answers: Mapping[str, Sequence[str]],
    *,
    base: str,
    source: str,
    control: Sequence[str] | None = None,
) -> None:
    """Refuse as `routing_gym.adapters.activation.check_activation` does.

    Raises
    ------
    BackendError
        If an adapter changes no answer, or two adapters answer as one; the message names them.
    """
    try:
        activation.check_activation(answers, base=base, source=source, control=control)
    except ValueError as error:
        raise BackendError(str(error)) from error
