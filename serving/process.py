"""The server as a process: listening, signals, and a stop that loses nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from routing_gym.serving.connections import patient_protocol
from routing_gym.serving.logs import configure, log
from routing_gym.serving.services import Services
from routing_gym.serving.settings import ServeConfig


class RoutingServer(uvicorn.Server):
    """uvicorn, with our limits and a stop in three steps: unready, drain, flush.

    At the first stop signal ``/readyz`` says 503; after ``unready_seconds`` no new connection is
    taken and requests in flight have ``drain_seconds`` to end; then the log is flushed. A second
    interrupt from the keyboard ends the draining.

    Parameters
    ----------
    app
        From `routing_gym.serving.app.create_app`.
    config
        The settings.
    on_started
        Is called with the URL when the server listens.
    """

    def __init__(
        self,
        app: FastAPI,
        config: ServeConfig,
        *,
        on_started: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(uvicorn_config(app, config))
        self._services: Services = app.state.services
        self._unready_seconds = config.unready_seconds
        self._on_started = on_started
        self._stop_at: float | None = None
        self.interrupted = False

    async def startup(self, sockets: list | None = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets=sockets)
        if self.started and self._on_started is not None:
            self._on_started(self.url)

    @property
    def url(self) -> str:
        """Where the server listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a stop signal."""
        self._services.readiness.draining = True
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._unready_seconds
        elif sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        self.interrupted = self.interrupted or sig == signal.SIGINT

    async def on_tick(self, counter: int) -> bool:
        """Look whether it is time to stop, every tenth of a second."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        if self._services.failure is not None:  # it will never be ready
            self.should_exit = True
        return await super().on_tick(counter)


def uvicorn_config(app: FastAPI, config: ServeConfig) -> uvicorn.Config:
    """Return uvicorn's settings for ours."""
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        loop="auto",  # uvloop where it is installed
        http=patient_protocol(
            seconds=config.header_timeout,
            max_bytes=config.max_header_bytes,
            unread_seconds=config.request_timeout + 1,  # the answer's own limit is first
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=config.backlog,
        timeout_keep_alive=config.keep_alive_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=config.drain_seconds,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=2 * config.max_header_bytes,  # the protocol's own is first
    )


def run(
    app: FastAPI, config: ServeConfig, *, on_started: Callable[[str], None] | None = None
) -> None:
    """Serve until a stop signal, then drain and flush.

    Parameters
    ----------
    app
        From `routing_gym.serving.app.create_app`.
    config
        The settings.
    on_started
        Is called with the URL when the server listens.

    Raises
    ------
    ValueError, OSError
        If a part fails at the start; what it said.
    KeyboardInterrupt
        If the stop came from the keyboard.
    """
    configure(config.log_level)
    server = RoutingServer(app, config, on_started=on_started)
    log("starting", host=config.host, port=config.port, backend=config.backend)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way of saying that it cannot listen
        raise OSError(f"cannot listen on {config.host}:{config.port}: is it taken?") from error
    failure = app.state.services.failure
    if failure is not None:
        raise ValueError(str(failure)) from failure
    if server.interrupted:
        raise KeyboardInterrupt
