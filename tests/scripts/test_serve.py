"""The command in a process of its own: signals, draining, memory, and what it never imports."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing_gym.scripts.serve import main
from tests.serving.bundles import small_bundle
from tests.serving.stand_ins import chat, wait_for
from tests.serving.upstream import Upstream

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    small_bundle(folder)
    return folder / "bundle"


class Process:
    """``python scripts/serve.py`` with the openai back end."""

    def __init__(self, bundle: Path, upstream: Upstream, folder: Path, *options: str) -> None:
        self.errors = folder / "stderr"
        command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--bundle", str(bundle)]
        command += ["--backend", "openai", "--upstream_url", upstream.url]
        command += ["--upstream_base", "adapter_0", "--port", "0"]
        command += ["--log_url", f"sqlite:///{folder / 'decisions.db'}", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}\n{self.errors.read_text()}"
        self.url = found[0]

    def ready(self) -> Process:
        wait_for(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, seconds=30)
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream([f"adapter_{number}" for number in range(4)]) as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def _well(upstream: Upstream) -> None:
    upstream.mode = "fine"


def test_a_stop_signal_drains_flushes_and_loses_nothing(
    bundle: Path, upstream: Upstream, tmp_path: Path
) -> None:
    with Process(bundle, upstream, tmp_path, "--unready_seconds", "0.5") as server:
        server.ready()
        upstream.mode = "slow"  # 0.3 s for an answer
        answers: list[httpx.Response] = []

        def ask() -> None:
            body = chat("Query number 1 is for adapter 1.")
            answers.append(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=20))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: upstream.at_once == 4)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        for thread in threads:
            thread.join()
        assert server.process.wait(20) == 0
        assert [answer.status_code for answer in answers] == [200] * 4
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/healthz")
    rows = sqlite3.connect(tmp_path / "decisions.db").execute(
        "SELECT decision_id, status FROM decisions"
    )
    logged = dict(rows.fetchall())
    assert logged == {answer.headers["x-decision-id"]: "ok" for answer in answers}


def test_what_does_not_end_in_time_is_cancelled_upstream_too(
    bundle: Path, upstream: Upstream, tmp_path: Path
) -> None:
    with Process(bundle, upstream, tmp_path, "--drain_seconds", "0.5") as server:
        server.ready()
        upstream.mode = "hang"
        upstream.cancelled.clear()
        body = json.dumps(chat("Query number 1 is for adapter 1.")).encode()
        thread = threading.Thread(target=_ask_in_vain, args=(server.url, body))
        thread.start()
        wait_for(lambda: upstream.at_once == 1)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 5
        wait_for(lambda: len(upstream.cancelled) == 1)
        thread.join()
    rows = sqlite3.connect(tmp_path / "decisions.db").execute("SELECT status FROM decisions")
    assert rows.fetchall() == [("cancelled",)]


def _ask_in_vain(url: str, body: bytes) -> None:
    kind = {"content-type": "application/json"}
    with pytest.raises(httpx.HTTPError):
        httpx.post(
            f"{url}/v1/chat/completions", content=body, headers=kind, timeout=20
        ).raise_for_status()


def test_it_is_thin_and_logs_neither_prompts_nor_keys(
    bundle: Path, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("chat,feedback,metrics sk-0123456789abcdef\n")
    with Process(bundle, upstream, tmp_path, "--keys_file", str(tmp_path / "keys")) as server:
        server.ready()
        headers = {"authorization": "Bearer sk-0123456789abcdef"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            for number in range(5):
                body = chat(f"fairytale {number} for adapter 1.", stream=bool(number % 2))
                assert client.post("/v1/chat/completions", json=body).status_code == 200
            assert httpx.get(f"{server.url}/metrics").status_code == 401
        proc = Path(f"/proc/{server.process.pid}")
        mapped = (proc / "maps").read_text()
        assert "/torch/" not in mapped
        assert "/onnxruntime/" in mapped
        (peak,) = [
            line for line in (proc / "status").read_text().splitlines() if line.startswith("VmHWM")
        ]
        assert int(peak.split()[1]) / 1024 < LIMIT_MB
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.errors.read_text().splitlines()]
    assert sum(line["event"] == "request" for line in lines) == 5
    written = server.errors.read_bytes() + b"".join(
        path.read_bytes() for path in tmp_path.glob("decisions.db*")
    )
    for secret in (b"fairytale", b"sk-0123456789abcdef"):
        assert secret not in written


def test_the_openai_back_end_needs_no_torch(bundle: Path, upstream: Upstream) -> None:
    program = f"""
import sys
for name in ("torch", "transformers", "peft", "sklearn", "stable_baselines3"):
    sys.modules[name] = None  # an import of it fails
from pathlib import Path
from routing_gym.scripts.serve import load_bundles, make_backend, make_evaluator
from routing_gym.serving.app import create_app
from routing_gym.serving.decision_log import DecisionStore
from routing_gym.serving.settings import ServeConfig
config = ServeConfig(
    bundle=Path({str(bundle)!r}), backend="openai", upstream_url={upstream.url!r},
    upstream_base="adapter_0",
)
bundles = load_bundles(config)
create_app(
    config, bundles=bundles, backend=make_backend(config, bundles), store=DecisionStore("x.db"),
    evaluator=make_evaluator(config, bundles),
)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_adapter_that_answers_as_the_base_ends_the_start(
    bundle: Path, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.mode = "same"
    with Process(bundle, upstream, tmp_path) as server:
        assert server.process.wait(20) == 1
        last = server.errors.read_text().splitlines()[-1]
    assert re.match(r"error: .*adapter.*base", last), last


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--bundle", "no/such/folder"], 1, "no/such/folder"),
        (["--port", "99999"], 2, "port=99999"),
        (["--backend", "magic"], 2, "backend"),
        (["--pools", "x"], 2, "unknown key 'pools'; the nearest known key is 'pool'"),
        (["--backend", "openai", "--upstream_url", "ftp://x"], 1, "http"),
        (["--backend", "openai", "--upstream_base", "nobody"], 1, "nobody"),
        (["--backend", "openai", "--log_url", "mysql://x"], 1, "mysql"),
        (["--backend", "openai", "--keys_file", "no/keys"], 1, "no/keys"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    base = ["--upstream_base", "adapter_0"] if "--upstream_base" not in options else []
    given: list[Any] = ["--bundle", str(bundle), *base, *options]
    assert main(given) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_policys_name_is_taken_once(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--bundle", str(bundle), "--backend", "openai", "--bundles.ridge", str(bundle)]
    assert main(options) == 1
    assert "'ridge' is the name of the default policy already" in capsys.readouterr().err


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--first_token_timeout" in text
    assert "Seconds that requests in flight have to end" in text
