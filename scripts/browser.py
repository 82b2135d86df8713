"""A headless Chromium without ties to the outside, and a visit to the server's page with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_REMEDY = "apt-get install chromium chromium-driver, and pip install selenium"


@dataclass(frozen=True)
class Visit:
    """What a visitor saw after asking a question.

    Parameters
    ----------
    adapter
        The adapter that was chosen.
    answer
        The answer.
    bars
        Adapter -> width of its bar, in [0, 1].
    facts
        Confidence, propensity, policy and decision, as they are written.
    scores
        Metric -> written score; empty without an evaluator.
    """

    adapter: str
    answer: str
    bars: dict[str, float]
    facts: dict[str, str]
    scores: dict[str, str]


def find_browser() -> tuple[str, str] | None:
    """Return the paths of Chromium and of its driver, None if one is missing."""
    browser = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def headless_browser(*, width: int = 1280, height: int = 900) -> Iterator[WebDriver]:
    """Start a browser with a profile of its own and end it with the block.

    Parameters
    ----------
    width, height
        Of the page in it, in pixels.

    Raises
    ------
    FileNotFoundError
        If Chromium or its driver is not installed.
    ImportError
        If selenium is not installed.
    """
    found = find_browser()
    if found is None:
        raise FileNotFoundError(f"Chromium or chromedriver is not installed: {_REMEDY}.")
    try:
        from selenium import webdriver
    except ImportError as error:
        raise ImportError(f"selenium is not installed: {_REMEDY}.") from error
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(found[1]))
        try:
            # the page's own size: that of the window would include a frame that nobody sees
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            yield driver
        finally:
            driver.quit()


def ask(
    driver: WebDriver, url: str, question: str, *, scored: bool = False, timeout: float = 60.0
) -> Visit:
    """Open the page, ask a question as a person would, and read what comes.

    Parameters
    ----------
    driver
        The browser.
    url
        Of the page.
    question
        What is typed.
    scored
        Whether to wait for the self-evaluation's scores.
    timeout
        Seconds for each step.

    Returns
    -------
    Visit
        What is on the page.

    Raises
    ------
    TimeoutException
        If the answer does not come.
    """
    driver.get(url)
    wait = _waiting(driver, timeout)
    box = wait.until(lambda _: _one(driver, "#question textarea"))
    box.send_keys(question)
    _one(driver, "#ask").click()
    wait.until(lambda _: _one(driver, "#good").is_enabled())
    if scored:
        wait.until(lambda _: _all(driver, "#scores .router-bar"))
    return read_page(driver)


def read_page(driver: WebDriver) -> Visit:
    """Read what the page shows."""
    bars = {
        meter.get_attribute("aria-label"): meter.find_element("tag name", "span").size["width"]
        / meter.size["width"]
        for meter in _all(driver, "#decision [role=meter]")
    }
    return Visit(
        adapter=_one(driver, "#decision .router-adapter").text,
        answer=_one(driver, "#answer textarea").get_attribute("value") or "",
        bars=bars,
        facts={fact.get_attribute("data-fact"): fact.text for fact in _all(driver, "#decision dd")},
        scores=dict(zip(*(_texts(driver, f"#scores {part}") for part in _SCORE), strict=True)),
    )


def screenshot(driver: WebDriver, file: Path) -> None:
    """Write what the window shows as PNG; the folder is made if it does not exist."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not driver.save_screenshot(str(file)):
        raise OSError(f"{file} could not be written: check the folder.")


_SCORE = (".router-name", ".router-value")


def _waiting(driver: WebDriver, timeout: float) -> Any:
    """Make what waits for the page, which redraws its elements while it loads."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(
        driver,
        timeout,
        poll_frequency=0.05,
        ignored_exceptions=[NoSuchElementException, StaleElementReferenceException],
    )


def _one(driver: WebDriver, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def _all(driver: WebDriver, selector: str) -> list[Any]:
    return driver.find_elements("css selector", selector)


def _texts(driver: WebDriver, selector: str) -> list[str]:
    return [element.text for element in _all(driver, selector)]
