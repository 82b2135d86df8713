from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from routing_gym.scripts.check_api import main
from routing_gym.serving.api_check import check_api
from tests.serving.stand_ins import LiveServer, StandInBackend, make_app, serving

pytest.importorskip("schemathesis")
KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("api")
    with serving(make_app(folder, backend=StandInBackend(words=1))) as server:
        yield server


def test_the_server_keeps_its_word(server: LiveServer) -> None:
    result = check_api(server.url, cases=50)
    assert result.failures == ()
    assert result.positive > 50 < result.negative
    assert result.cases >= 200
    assert {200, 404, 405, 415, 422} <= result.statuses.keys()


def test_it_keeps_its_word_with_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text(f"chat,feedback,metrics {KEY}\n")
    monkeypatch.setenv("THE_KEY", KEY)
    app = make_app(tmp_path, backend=StandInBackend(words=1), keys_file=tmp_path / "keys")
    with serving(app) as server:
        options = ["--url", server.url, "--cases", "20", "--key_env", "THE_KEY"]
        assert main(options) == 0, capsys.readouterr().out
    assert "0 failures" in capsys.readouterr().out


def test_a_broken_word_is_found(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = server.app.openapi()
    monkeypatch.delitem(document["paths"]["/feedback"]["post"]["responses"], "404")
    assert main(["--url", server.url, "--cases", "20"]) == 1
    output = capsys.readouterr().out
    assert "POST /feedback, status_code_conformance" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cases", "0"], "cases=0"),
        (["--url", "localhost"], "http://"),
        (["--key_env", "NO_SUCH_VARIABLE"], "is not set"),
    ],
)
def test_bad_settings_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert message in capsys.readouterr().err
