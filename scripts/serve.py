"""Serve a policy: an OpenAI-compatible API that chooses an adapter for every query.

    python scripts/serve.py --bundle bundles/ppo --backend local
    python scripts/serve.py --bundle bundles/ppo --backend openai --upstream_url http://gpu:8000/v1

Clients speak to http://127.0.0.1:8000/v1 and ask for the model "router"; the response says which
adapter has answered. Every decision is in the log (log_url), from which
scripts/evaluate_offline.py says which policy would have been better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from routing_gym.scripts.command import run_command
from routing_gym.serving.settings import ServeConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

    from routing_gym.serving.backend import Backend
    from routing_gym.serving.bundle import PolicyBundle
    from routing_gym.serving.self_evaluation import RewardEstimator
    from routing_gym.serving.timeouts import Timeouts

_INSTALL = "pip install routing-gym[serve]"


def serve(config: ServeConfig) -> None:
    """Load, wire and run until a stop signal."""
    try:
        from routing_gym.serving.process import run
    except ImportError as error:
        raise _missing(error) from error
    app = make_app(config)
    services, evaluator = app.state.services, app.state.evaluator
    policies = ", ".join(f"{name} {bundle.version}" for name, bundle in services.bundles.items())

    def announce(url: str) -> None:
        page = f", page {url}/demo" if config.demo else ""
        print(f"listening: policies {policies}{page}; API at {url}", flush=True)
        if evaluator is not None:
            evaluator.warn()

    if not (config.host.startswith("127.") or config.host in ("localhost", "::1")):
        if not services.auth.enabled:
            print(
                f"warning: whoever reaches {config.host} may use this server; give keys with "
                f"--keys_file or ${config.keys_env}.",
                flush=True,
            )
    run(app, config, on_started=announce)


def make_app(config: ServeConfig) -> FastAPI:
    """Load the policies and wire the application, without starting anything.

    Parameters
    ----------
    config
        The settings.

    Returns
    -------
    FastAPI
        The application; ``app.state.evaluator`` is what scores answers, or None.

    Raises
    ------
    FileNotFoundError, ValueError
        If a setting, a bundle or the pool does not fit.
    ImportError
        If an extra that is asked for is not installed.
    """
    try:
        from routing_gym.serving.app import create_app
        from routing_gym.serving.decision_log import DecisionStore
    except ImportError as error:
        raise _missing(error) from error
    bundles = load_bundles(config)
    evaluator = make_evaluator(config, bundles)
    app = create_app(
        config,
        bundles=bundles,
        backend=make_backend(config, bundles),
        store=DecisionStore(config.log_url),
        evaluator=evaluator,
    )
    app.state.evaluator = evaluator
    if config.demo:
        from routing_gym.serving.demo import mount_demo

        mount_demo(
            app,
            evaluator=evaluator,
            ask_key=app.state.services.auth.enabled,
            frames=config.demo_frames,
        )
    return app


def load_bundles(config: ServeConfig) -> dict[str, PolicyBundle]:
    """Read and verify the policies; the default one comes first.

    Raises
    ------
    FileNotFoundError, ValueError
        If a bundle is missing, tampered with, or takes the name of another.
    """
    from routing_gym.serving.bundle import PolicyBundle

    default = PolicyBundle.load(config.bundle, threads=config.encoder_threads)
    bundles = {default.name: default}
    for name, folder in config.bundles.items():
        if name in bundles:
            raise ValueError(
                f"bundles: {name!r} is the name of the default policy already: use another."
            )
        bundles[name] = PolicyBundle.load(folder, threads=config.encoder_threads)
    return bundles


def make_backend(config: ServeConfig, bundles: Mapping[str, PolicyBundle]) -> Backend:
    """Make the back end, and refuse a pool that a policy was not trained for.

    Raises
    ------
    ValueError
        If the pool's fingerprint is another than a policy's, or the upstream settings are wrong.
    ImportError
        If what the back end needs is not installed.
    """
    patience = _timeouts(config)
    if config.backend == "openai":
        from routing_gym.serving.openai_backend import OpenAIBackend
        from routing_gym.serving.upstream_settings import UpstreamSettings

        names = [name for bundle in bundles.values() for name in bundle.adapters]
        settings = UpstreamSettings(
            config.upstream_url,
            models=config.upstream_models,
            base=config.upstream_base,
            key_variable=config.upstream_key_env,
            concurrency=config.concurrency,
            timeouts=patience,
            probe=config.upstream_probe,
        )
        return OpenAIBackend(settings, tuple(dict.fromkeys(names)))
    from routing_gym.adapters.pools import load_pool
    from routing_gym.serving.local_backend import LocalBackend
    from routing_gym.serving.local_engine import EngineLimits

    backend = LocalBackend(
        load_pool(config.pool),
        limits=EngineLimits(rows=config.concurrency),
        timeouts=patience,
        threads=config.torch_threads,
        signals=bool(config.evaluated_share or config.demo),
    )
    for bundle in bundles.values():
        bundle.check_pool(backend.adapters, backend.fingerprint)
    return backend


def make_evaluator(
    config: ServeConfig, bundles: Mapping[str, PolicyBundle]
) -> RewardEstimator | None:
    """Make what scores answers in the background and on the page; None if nobody wants scores.

    Raises
    ------
    ValueError
        If the reward cannot be scored while serving.
    """
    if not (config.evaluated_share or config.demo):
        return None
    from routing_gym.serving.self_evaluation import RewardEstimator

    default = next(iter(bundles.values()))
    try:
        local = config.backend == "local"
        return RewardEstimator.of_bundle(default, torch=local, signals=local)
    except ValueError:
        if config.evaluated_share:
            raise
        return None  # the page works without scores, too


def _missing(error: ImportError) -> ImportError:
    """Say what to install."""
    return ImportError(f"{error.name} is not installed: {_INSTALL}.")


def _timeouts(config: ServeConfig) -> Timeouts:
    """Return the patience with a back end; the server itself watches the first token."""
    from routing_gym.serving.timeouts import Timeouts

    return Timeouts(
        first=config.request_timeout,
        between=min(config.first_token_timeout, config.request_timeout),
        total=config.request_timeout,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        ServeConfig,
        serve,
        description=__doc__,
        default_config="configs/serve.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
