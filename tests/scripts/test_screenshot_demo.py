from __future__ import annotations

import pytest

from routing_gym.scripts import browser
from routing_gym.scripts.screenshot_demo import ScreenshotConfig, main


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--url", "ftp://127.0.0.1/demo"], "give the page's http:// address"),
        (["--question", " "], "is empty"),
        (["--output", "demo.jpg"], "must end in .png"),
        (["--width", "0"], "width=0 must be above 0"),
        (["--timeout", "-1"], "timeout=-1.0 must be above 0"),
    ],
)
def test_bad_settings_are_refused(
    options: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert fault in capsys.readouterr().err


def test_a_server_that_does_not_start_is_reported(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", f"{tmp_path}/none", "--output", f"{tmp_path}/demo.png"]) == 1
    said = capsys.readouterr().err
    assert "the server did not get ready" in said
    assert "none" in said


def test_a_missing_browser_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    assert main(["--url", "http://127.0.0.1:9/demo"]) == 1
    assert "apt-get install chromium chromium-driver" in capsys.readouterr().err


def test_the_defaults_are_those_of_the_report() -> None:
    assert str(ScreenshotConfig().output) == "results/serving/demo.png"
