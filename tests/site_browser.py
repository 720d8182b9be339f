"""A headless Chromium, and what it asked the network for."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Whatever it would ask for all the same ends here and not at a name server.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def chromium() -> tuple[str, str]:
    """Return the browser and its driver; skip the test where one is missing."""
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in found:
        say = (
            "Chromium or its driver is missing: "
            "`apt-get install --no-install-recommends chromium chromium-driver`"
        )
        # A suite that quietly skips its proofs proves nothing.
        if os.environ.get("CI"):
            pytest.fail(say)
        pytest.skip(say)
    return str(found[0]), str(found[1])


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium with a profile of its own in ``profile``; end it after."""
    binary, driver = chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}", "--window-size=1360,900"):
        options.add_argument(flag)
    options.set_capability(
        "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
    )
    service = webdriver.ChromeService(executable_path=driver)
    chrome = webdriver.Chrome(options=options, service=service)
    try:
        yield chrome
    finally:
        chrome.quit()


def requests_of(chrome: webdriver.Chrome) -> list[str]:
    """Return the address of every request since this was asked last."""
    events = [json.loads(row["message"]) for row in _log(chrome, "performance")]
    return [
        event["message"]["params"]["request"]["url"]
        for event in events
        if event["message"]["method"] == "Network.requestWillBeSent"
    ]


def console_of(chrome: webdriver.Chrome) -> list[dict[str, Any]]:
    """Return what the pages complained of since this was asked last."""
    return _log(chrome, "browser")


def _log(chrome: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chrome.get_log(kind)  # type: ignore[no-untyped-call]
    return found
