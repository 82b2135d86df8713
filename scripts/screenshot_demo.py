"""Take the picture of the web page: a real server, a real question, a real browser.

Starts ``scripts/serve.py --demo true`` with a bundle and the local pool (or visits a page that
runs already: ``--url``), asks the question in headless Chromium and writes the window as PNG.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from routing_gym.scripts.browser import Visit, ask, headless_browser, screenshot
from routing_gym.scripts.command import REPOSITORY, run_command

_ANNOUNCED = "API at "


@dataclass(frozen=True)
class ScreenshotConfig:
    """What is asked and where the picture goes.

    Parameters
    ----------
    bundle
        Folder of the policy that the started server serves.
    exploration
        How the started server explores; policy shows the policy's own probabilities, where greedy
        would put all on one adapter.
    url
        Of a page that runs already; "" starts a server and ends it afterwards.
    question
        What is typed into the page.
    output
        The PNG file.
    scored
        Whether to wait for the self-evaluation's scores.
    width
        Of the picture, in pixels.
    height
        Of the picture, in pixels.
    timeout
        Seconds that the server's start, and each step on the page, may take.
    """

    bundle: Path = Path("bundles/ppo")
    exploration: str = "policy"
    url: str = ""
    question: str = "Tom looks east. Then Tom turns left. Which way is Tom facing? One word only."
    output: Path = Path("results/serving/demo.png")
    scored: bool = True
    width: int = 1280
    height: int = 760
    timeout: float = 180.0

    def __post_init__(self) -> None:
        if self.url and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"url={self.url!r}: give the page's http:// address, or leave it out.")
        if not self.question.strip():
            raise ValueError(f"question={self.question!r} is empty: give something to ask.")
        if self.output.suffix != ".png":
            raise ValueError(f"output={str(self.output)!r} must end in .png.")
        for name in ("width", "height", "timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")


def take(config: ScreenshotConfig) -> None:
    """Visit the page, take the picture and print what was on it."""
    if config.url:
        visit = _visit(config, config.url)
    else:
        with _server(config) as url:
            visit = _visit(config, f"{url}/demo")
    for adapter, width in visit.bars.items():
        print(f"{adapter}: {width:.3f}")
    print(f"{visit.adapter} answered {visit.answer!r}\npicture: {config.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(ScreenshotConfig, take, description=__doc__, argv=argv)


def _visit(config: ScreenshotConfig, url: str) -> Visit:
    """Ask the question in a browser and take the picture."""
    from selenium.common.exceptions import WebDriverException

    with headless_browser(width=config.width, height=config.height) as driver:
        try:
            visit = ask(driver, url, config.question, scored=config.scored, timeout=config.timeout)
        except WebDriverException as error:
            reason = (error.msg or "no answer came").splitlines()[0]
            raise OSError(f"the page {url} did not answer ({reason}): is it there?") from error
        screenshot(driver, config.output)
    return visit


@contextmanager
def _server(config: ScreenshotConfig) -> Iterator[str]:
    """Run a server with the page on a free port while the block runs; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        command = [
            *(sys.executable, str(REPOSITORY / "scripts" / "serve.py")),
            *("--bundle", str(config.bundle), "--demo", "true", "--port", "0"),
            *("--exploration", config.exploration, "--seed", "0"),
            *("--log_url", f"sqlite:///{folder}/decisions.db"),
        ]
        with log.open("w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                yield _wait_ready(process, log, timeout=config.timeout)
            finally:
                process.terminate()
                process.wait(60)


def _wait_ready(process: subprocess.Popen[str], log: Path, *, timeout: float) -> str:
    """Wait until the server says where it listens and is ready."""
    assert process.stdout is not None
    end = time.monotonic() + timeout
    url = next(
        (line.split(_ANNOUNCED)[1].strip() for line in process.stdout if _ANNOUNCED in line), ""
    )
    while url and process.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{url}/readyz", timeout=5):
                return url
        except OSError:
            time.sleep(0.2)
    said = log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    raise ValueError(f"the server did not get ready: {said[-1].removeprefix('error: ')}")


if __name__ == "__main__":
    raise SystemExit(main())
