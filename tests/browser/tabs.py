"""Pages of a license server in a browser, watched."""

from urllib.parse import urlsplit

from tests.browser import chromium
from tests.browser.server import LicenseServer

NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""Chromium gives up what is under way when an interface of this machine comes or goes, e.g. because
a container starts."""
LOADS = 10
PATIENCE_OF_LOAD_MS = 10_000


class Tabs:
    """Opens pages of a license server and watches them.

    Args:
        browser: Playwright's.
    """

    changes = 0
    """How often the network changed under any of them."""

    def __init__(self, browser) -> None:
        self._browser = browser
        self.contexts = []
        self.failures: list[str] = []
        """What was not loaded because the network changed."""
        self.errors: list[str] = []
        """What the console said, but for calls that the server refused (browsers log those)."""
        self.requests: set[tuple[str, str]] = set()
        """Scheme and host of each request."""

    def open(self, server: LicenseServer, place: str = "", user: str | None = "anna", **options):
        """A page in a profile of its own, signed in as ``user``; None: nobody."""
        context = self._browser.new_context(
            ignore_https_errors=True, **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        context.set_default_timeout(chromium.PATIENCE_MS)
        self.contexts.append(context)
        if user is not None:
            name, value = server.cookie(user)
            context.add_cookies([
                {"name": name, "value": value, "url": server.url, "httpOnly": True, "secure": True,
                 "sameSite": "Strict"}
            ])  # fmt: skip
        page = context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on("request", lambda request: self.requests.add(urlsplit(request.url)[:2]))
        page.on("requestfailed", self._on_failure)
        self.load(page, f"{server.url}/ui/#/{place}")
        return page

    def load(self, page, url: str = "") -> None:
        """Load a page, or the one that is shown again; once more where the network changed."""
        url = url or page.url
        for _ in range(LOADS):
            before = len(self.failures)
            try:
                page.goto("about:blank")  # an address that differs only after "#" loads nothing
                page.goto(url)
                page.locator("main h1").wait_for(timeout=PATIENCE_OF_LOAD_MS)
            except chromium.Error as error:
                if NETWORK_CHANGED in error.message or self.failures[before:]:
                    continue
                raise
            else:
                return
        raise AssertionError(f"the network changed {LOADS} times: {self.failures}")

    def _on_failure(self, request) -> None:
        if NETWORK_CHANGED in (request.failure or ""):
            self.failures.append(request.url)
            Tabs.changes += 1

    def _on_console(self, message) -> None:
        refused = "Failed to load resource: the server responded with a status of 4"
        expected = message.text.startswith(refused) or NETWORK_CHANGED in message.text
        if message.type in ("error", "warning") and not expected:
            self.errors.append(f"{message.type}: {message.text}")

    def close(self) -> None:
        """Close all, and check what was seen."""
        for context in self.contexts:
            context.close()
        assert self.errors == []
        assert {host.rpartition(":")[0] for _, host in self.requests} <= {"127.0.0.1", ""}
        assert {scheme for scheme, _ in self.requests} <= {"https", "data", "blob"}
