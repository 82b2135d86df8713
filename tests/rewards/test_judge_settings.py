from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from routing_gym.rewards.judge_settings import JudgeSettings

KEY = "sk-proj-very-secret"


@pytest.mark.parametrize(
    ("base_url", "variable", "url"),
    [
        ("", None, "https://api.openai.com/v1"),
        ("", "http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://api.groq.com/openai/v1", "http://other/v1", "https://api.groq.com/openai/v1"),
    ],
)
def test_url(
    base_url: str, variable: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if variable:
        monkeypatch.setenv("OPENAI_BASE_URL", variable)
    assert JudgeSettings(model="m", base_url=base_url).url == url


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:80/v1", True),
        ("http://127.evil.com/v1", False),
        ("http://gpu-box:8000/v1", False),
        ("https://api.anthropic.com/v1", False),
    ],
)
def test_local_servers_need_no_key(url: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = JudgeSettings(model="m", base_url=url)
    assert settings.is_local is local
    if local:
        assert settings.read_key() == ""
    else:
        with pytest.raises(ValueError, match="OPENAI_API_KEY is not set: export the key of http"):
            settings.read_key()
        assert dataclasses.replace(settings, key_variable="").read_key() == ""


def test_the_key_is_read_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = JudgeSettings(model="m", key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert settings.read_key() == KEY
    assert KEY not in repr(settings)
    assert KEY not in repr(dataclasses.asdict(settings))


@pytest.mark.parametrize("key", [f"{KEY}\nX: y", f"{KEY} b", f"{KEY}–", f"{KEY}\x00"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="the key in OPENAI_API_KEY holds blanks") as raised:
        JudgeSettings(model="m").read_key()
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"key_variable": KEY},
        {"key_variable": "gsk_verysecret"},
        {"base_url": f"https://me:{KEY}@host/v1"},
        {"base_url": f"https://{KEY}@host/v1"},
        {"base_url": f"https://host/v1?api-key={KEY}"},
        {"request": {"api_key": KEY}},
        {"request": {"Authorization": KEY}},
        {"request": {"extra_headers": {"Authorization": KEY}}},
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="key") as raised:
        JudgeSettings(model="m", **settings)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model": " "}, "model=' ' is empty"),
        ({"structured": "yaml"}, "structured='yaml'.*auto, json_schema, json_object, none"),
        ({"base_url": "api.openai.com"}, "is not a server's URL"),
        ({"base_url": "ftp://host/v1"}, "is not a server's URL"),
        ({"base_url": "http://host:port/v1"}, "not a valid URL"),
        ({"request": [1]}, "must map field names"),
        ({"request": {"model": "x"}}, "may not hold 'model'"),
        ({"request": {"stream": True}}, "may not hold 'stream'"),
        ({"request": {"x": float("nan")}}, "is not JSON"),
        ({"request": {"x": object()}}, "is not JSON"),
        ({"attempts": 0}, "attempts=0"),
        ({"asks": 1.5}, "asks=1.5"),
        ({"threads": True}, "threads=True"),
        ({"give_up_after": 0}, "give_up_after=0"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"longest_wait": -1}, "longest_wait=-1"),
        ({"prompt_price": -1}, "prompt_price=-1"),
        ({"completion_price": float("nan")}, "completion_price=nan"),
        ({"budget": -1, "prompt_price": 1}, "budget=-1"),
        ({"budget": 1}, "no effect without prices"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        JudgeSettings(**{"model": "m", **settings})


@pytest.mark.parametrize("text", ["model: m\nasks: 2\n", "judge: {model: m, asks: 2}\ntable: t\n"])
def test_settings_of_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(text)
    monkeypatch.setenv("ROUTING_GYM_JUDGE", str(path))
    assert JudgeSettings.from_environment() == JudgeSettings(model="m", asks=2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "does not exist"),
        ("a: [", "not valid YAML"),
        ("- m", "must hold 'name: value' lines"),
        ("judge: 3", "must hold 'name: value' lines"),
        ("asks: 2", "has no model"),
        ("model: m\nmodell: n", "unknown setting 'modell'.*'model'"),
        ("model: m\napi_key: sk-secret", "unknown setting 'api_key'.*environment variable"),
    ],
)
def test_wrong_files(
    text: str | None, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "judge.yaml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("ROUTING_GYM_JUDGE", str(path))
    with pytest.raises(ValueError, match=match) as raised:
        JudgeSettings.from_environment()
    assert "sk-secret" not in str(raised.value)


def test_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTING_GYM_JUDGE", raising=False)
    with pytest.raises(ValueError, match="ROUTING_GYM_JUDGE is not set"):
        JudgeSettings.from_environment()


def test_limit_of_an_answer() -> None:
    assert JudgeSettings(model="m").completion_limit == 512
    request = {"max_completion_tokens": 2000, "max_tokens": 10}
    assert JudgeSettings(model="m", request=request).completion_limit == 2000
    assert JudgeSettings(model="m", request={}).completion_limit == 512
