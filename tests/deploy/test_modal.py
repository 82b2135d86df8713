"""The Modal app: importable without an account, and the same server as the Space's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml

pytest.importorskip("modal")
pytest.importorskip("fastapi")
pytest.importorskip("huggingface_hub")

from routing_gym.adapters.pools import load_pool
from routing_gym.scripts.space import push_space
from tests.deploy.test_image import ROOT
from tests.serving.stand_ins import make_app
from tests.serving.upstream import Upstream

FILE = ROOT / "deploy" / "modal_app.py"
KEY = "chat-key-0123456789abcdef"
QUESTION = "Tom looks east. Then Tom turns left. Which way is Tom facing? One word only."
# What Modal's containers tell an application of a request: the protocol's optional keys are absent.
TOLD = (
    "type", "http_version", "method", "scheme", "path", "query_string", "headers", "client",
    "extensions",
)  # fmt: skip
IMPORT = """
import importlib.util, json, socket, sys
def refuse(*args, **options):
    raise AssertionError("the import speaks to the network")
socket.socket.connect = socket.create_connection = refuse
spec = importlib.util.spec_from_file_location("modal_app", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
heavy = {"torch", "transformers", "fastapi", "gradio", "routing_gym"} & set(sys.modules)
print(json.dumps({"app": module.app.name, "heavy": sorted(heavy)}))
"""


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("modal_app", FILE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def home(real_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as the image has it."""
    folder = tmp_path_factory.mktemp("modal") / "space"
    push_space(real_bundle, load_pool("default"), folder)
    return folder


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(("reasoning", "code", "creative", "analysis")) as running:
        yield running


@pytest.fixture
def relaying(home: Path, upstream: Upstream, tmp_path: Path) -> Path:
    """The same folder, but another server writes the answers; the Space's test has the pool."""
    folder = tmp_path / "router"
    folder.mkdir()
    for name in ("bundle", "pool"):
        (folder / name).symlink_to(home / name, target_is_directory=True)
    settings = yaml.safe_load((home / "serve.yaml").read_text("utf-8"))
    settings |= {"backend": "openai", "upstream_url": upstream.url}
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
    return folder


class ModalTransport(httpx.AsyncBaseTransport):
    """Asks an application in the words of Modal's containers."""

    def __init__(self, app: Any) -> None:
        async def asked(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await app({"extensions": {}, "state": {}, **told(scope)}, receive, send)

        self._inner = httpx.ASGITransport(asked)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


def told(scope: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in scope.items() if key in TOLD}


def play(app: Any, scene: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Start the application as Modal does, play, and stop it."""

    async def run() -> None:
        said: asyncio.Queue[str] = asyncio.Queue()
        heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()

        async def send(message: dict[str, str]) -> None:
            await said.put(message["type"])

        life = asyncio.create_task(app({"type": "lifespan", "state": {}}, heard.get, send))
        await heard.put({"type": "lifespan.startup"})
        assert await said.get() == "lifespan.startup.complete"
        transport = ModalTransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://me.modal.run") as asks:
            await scene(asks)
        await heard.put({"type": "lifespan.shutdown"})
        assert await said.get() == "lifespan.shutdown.complete"
        await life

    asyncio.run(run())


def test_the_import_needs_no_account_and_no_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(FILE)],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"app": "routing-gym", "heavy": []}


def test_the_function_is_bounded_and_ends_when_idle(module: ModuleType) -> None:
    text = FILE.read_text("utf-8")
    assert "min_containers=0" in text
    assert "@modal.asgi_app(" in text
    assert "@modal.concurrent(" in text
    assert module.CONTAINERS == 1
    assert isinstance(module.app, module.modal.App)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"MODELS := {' '.join(module.MODELS)}\n" in makefile


class Recorded:
    """Takes the steps of an image down, which Modal itself looks at only when it builds one."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., Recorded]:
        def step(*arguments: Any, **options: Any) -> Recorded:
            self.steps.append((name, arguments, options))
            return self

        return step


def test_the_image_takes_what_the_folder_has(
    module: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Recorded()
    monkeypatch.setattr(module.modal.Image, "debian_slim", image.debian_slim)
    module.make_image(home)
    (kind, _, options), *steps = image.steps
    dockerfile = (ROOT / "deploy" / "space" / "Dockerfile").read_text("utf-8")
    assert kind == "debian_slim"
    assert f"ARG PYTHON={options['python_version']}\n" in dockerfile
    sent = {}
    for kind, arguments, _ in steps:
        if kind in ("add_local_file", "add_local_dir"):
            source, target = arguments
            assert source.is_file() if kind == "add_local_file" else source.is_dir(), source
            sent[target] = source
    names = ("constraints.txt", "serve.yaml", "package", "pool", "bundle")
    assert sent == {f"{module.HOME}/{name}": home / name for name in names}
    (required,) = [a for kind, a, _ in steps if kind == "pip_install_from_requirements"]
    assert Path(required[0]).is_file()
    assert (home / "package" / "setup.cfg").is_file()
    compile(module._WARM_UP, "warm-up", "exec")


def test_the_settings_are_the_spaces_with_modals_places(
    module: ModuleType, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = module.read_settings(home, tmp_path)
    assert (config.bundle, config.pool) == (home / "bundle", str(home / "pool" / "pool.yaml"))
    assert config.log_url == f"sqlite:///{tmp_path / 'decisions.db'}"
    assert (config.backend, config.demo, config.log_text) == ("local", True, False)
    monkeypatch.setenv(module.LOG_VARIABLE, "postgresql://log@db/decisions")
    assert module.read_settings(home, tmp_path).log_url == "postgresql://log@db/decisions"


def test_containers_tell_no_more_of_a_request() -> None:
    """Holds `TOLD` to the installed version of Modal."""
    from modal._serialization import _deserialize_asgi
    from modal_proto import api_pb2

    message = api_pb2.Asgi(http=api_pb2.Asgi.Http(path="/", client_host="1.2.3.4"))
    assert set(_deserialize_asgi(message)) == set(TOLD)


def test_the_server_needs_no_more_of_a_request(tmp_path: Path) -> None:
    async def scene(asks: httpx.AsyncClient) -> None:
        assert (await asks.get("/healthz")).status_code == 200
        assert (await asks.get("/nowhere")).status_code == 404
        assert (await asks.get(f"/{'x' * 20_000}")).status_code == 431

    play(make_app(tmp_path), scene)


def test_the_function_answers_and_logs_on_the_volume(
    module: ModuleType, relaying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("no gradio")
    monkeypatch.setattr(module, "HOME", str(relaying))
    monkeypatch.setattr(module, "DATA", str(tmp_path))
    monkeypatch.setenv("ROUTING_GYM_KEYS", f"chat {KEY}")
    with pytest.warns(UserWarning, match="executing locally"):
        app = module.web.local()
    body = {"model": "router", "messages": [{"role": "user", "content": QUESTION}]}
    decisions: list[str] = []

    async def scene(asks: httpx.AsyncClient) -> None:
        refused = await asks.post("/v1/chat/completions", json=body)
        assert refused.status_code == 401
        key = {"authorization": f"Bearer {KEY}"}
        answer = await asks.post("/v1/chat/completions", json=body, headers=key, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-adapter-id"] == "reasoning"
        said = answer.json()["choices"][0]["message"]["content"]
        assert said.startswith("reasoning")  # the stand-in says who was asked
        decisions.append(answer.headers["x-decision-id"])
        assert (await asks.get("/demo/")).status_code == 200
        assert (await asks.get("/readyz")).status_code == 200

    play(app, scene)
    with closing(sqlite3.connect(tmp_path / "decisions.db")) as log:
        logged = log.execute("SELECT decision_id FROM decisions").fetchall()
    assert logged == [(decisions[0],)]


def test_a_server_that_cannot_start_fails_the_start(
    module: ModuleType, relaying: Path, tmp_path: Path
) -> None:
    (tmp_path / "decisions.db").mkdir()  # no place for a database
    config = replace(module.read_settings(relaying, tmp_path), demo=False)
    app = module.make_ready_app(config)

    async def run() -> list[str]:
        said: list[str] = []

        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: dict[str, str]) -> None:
            said.append(message["type"])

        with pytest.raises(Exception, match=r"decisions\.db"):
            await app({"type": "lifespan"}, receive, send)
        return said

    assert asyncio.run(run()) == ["lifespan.startup.failed"]
