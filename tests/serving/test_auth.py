from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from routing_gym.serving.auth import Auth, Key
from routing_gym.serving.errors import ApiError

SECRET = "0123456789abcdef-secret"


def test_without_keys_everybody_may_do_everything() -> None:
    auth = Auth()
    auth.require(None, "chat")
    assert not auth.enabled


@pytest.mark.parametrize(
    ("header", "scope", "status"),
    [
        (f"Bearer {SECRET}", "chat", 0),
        (f"bearer {SECRET}", "feedback", 0),
        (f"Bearer  {SECRET} ", "chat", 0),
        (f"Bearer {SECRET}", "metrics", 403),
        (None, "chat", 401),
        ("", "chat", 401),
        ("Bearer", "chat", 401),
        ("Bearer ", "chat", 401),
        (f"Basic {SECRET}", "chat", 401),
        (f"Bearer {SECRET}x", "chat", 401),
        (f"Bearer {SECRET[:-1]}", "chat", 401),
        ("Bearer \udcff\udcfe", "chat", 401),
    ],
)
def test_headers(header: str | None, scope: str, status: int) -> None:
    auth = Auth([Key.parse(f"metrics {'m' * 20}"), Key.parse(f"chat,feedback {SECRET}")])
    if not status:
        auth.require(header, scope)  # type: ignore[arg-type]
        return
    with pytest.raises(ApiError) as caught:
        auth.require(header, scope)  # type: ignore[arg-type]
    assert caught.value.status == status
    assert caught.value.headers["www-authenticate"].startswith("Bearer")
    assert SECRET not in str(caught.value.body())


def test_a_key_may_be_given_by_its_hash() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert Key.parse(f"chat sha256:{digest}") == Key.parse(f"chat {SECRET}")
    assert SECRET not in repr(Key.parse(f"chat {SECRET}"))
    assert digest not in repr(Key.parse(f"chat {SECRET}"))


def test_keys_come_from_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may chat\n\nchat {SECRET}\n")
    monkeypatch.setenv("SOME_KEYS", f"feedback {'f' * 16};metrics {'m' * 16}")
    auth = Auth.read(file=file, variable="SOME_KEYS")
    assert [sorted(key.scopes) for key in auth.keys] == [["chat"], ["feedback"], ["metrics"]]
    assert not Auth.read(variable="NO_SUCH_VARIABLE").enabled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"chat {SECRET}\ntalk {SECRET}\n", "line 2: 1 scope.* unknown: .*chat, feedback, metrics"),
        ("chat short\n", "line 1: a key for chat is shorter than 16"),
        (f"{SECRET}\n", "line 1: 1 scope"),
        (f"chat {SECRET} {SECRET}\n", "holds a space"),
        ("# nothing\n", "holds no key"),
    ],
)
def test_bad_files_are_refused_without_showing_keys(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Auth.read(file=file)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        Auth.read(file=tmp_path / "none")
