"""An upstream server: where it is, how it calls the adapters, how patient to be with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from routing_gym.adapters.http_server import check_url, read_key, root_of
from routing_gym.adapters.spec import BASE
from routing_gym.serving.backend import BackendError
from routing_gym.serving.timeouts import Timeouts


@dataclass(frozen=True)
class UpstreamSettings:
    """An upstream server and how it calls a pool's adapters.

    Parameters
    ----------
    url
        ``http://host:port``, with or without ``/v1``.
    models
        Adapter -> model name of the server, where they differ. The base's is found in the server's
        list of models if it is the only one there without a parent.
    base
        Which adapter is the base, with which the others are compared.
    key_variable
        Environment variable that holds the API key; empty for none. The key itself is in no
        setting, so that it cannot end up in a file.
    concurrency
        Requests at once.
    timeouts
        Patience.
    probe
        Whether to probe at start that each adapter is active.
    ask_usage
        Whether to ask for the counts of tokens of a stream (``stream_options``), for a server
        that does not refuse the field.

    Raises
    ------
    ValueError
        If the URL has no http or https, or the concurrency is below 1.
    """

    url: str
    models: Mapping[str, str] = field(default_factory=dict)
    base: str = BASE
    key_variable: str = ""
    concurrency: int = 64
    timeouts: Timeouts = field(default_factory=Timeouts)
    probe: bool = True
    ask_usage: bool = True

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.concurrency < 1:
            raise ValueError(f"concurrency={self.concurrency}: give at least 1.")

    @property
    def root(self) -> str:
        """The URL that ends in ``/v1``."""
        return root_of(self.url)

    def read_key(self) -> str:
        """Read the key from its environment variable.

        Raises
        ------
        BackendError
            If a variable is named and is not set.
        """
        try:
            return read_key(self.key_variable)
        except ValueError as error:
            raise BackendError(str(error)) from error
