"""The browser of the tests: Debian's Chromium, driven by Playwright.

Playwright's own browsers are not used: they come from a place that a test should not need. Nor is
its pytest plugin: it keeps an event loop in the tests' thread, which tests of asyncio do not bear.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

try:
    from playwright.sync_api import Error, expect, sync_playwright
except ImportError:  # `why_not` says so
    Error, expect, sync_playwright = Exception, None, None

EXECUTABLE = os.environ.get("SWARM_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PATIENCE_MS = 20_000
"""Longest that Playwright waits for something on a page; a loaded machine is slow."""


def why_not() -> str | None:
    """Why there can be no such tests here; None where there can."""
    if sync_playwright is None:
        return "the package playwright is missing: pip install --group dev"
    if shutil.which(EXECUTABLE) is None:
        return (
            f"there is no {EXECUTABLE}: on Debian `apt-get install chromium`, or name another in "
            "SWARM_CHROMIUM"
        )
    return None


@contextmanager
def started() -> Iterator[object]:
    """A browser with an empty profile; ends with the block, and so does its event loop."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE, args=FLAGS, headless=True, timeout=60_000
        )
        try:
            yield browser
        finally:
            browser.close()
