"""A license server, a browser, and tabs that must stay free of errors and foreign requests."""

import itertools

import pytest
from _pytest.runner import runtestprotocol

from tests.browser import chromium
from tests.browser.server import running
from tests.browser.tabs import Tabs
from tests.pki import Pki

TRIES = 3

_numbers = itertools.count(1000, 10)


def pytest_runtest_protocol(item, nextitem):
    """Run a test; once more where it failed while the network changed, and only there.

    Chromium gives up calls whenever an interface of the machine comes or goes, and a call that
    changes something is not sent again by the pages. Other tests start containers.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = []
    for _ in range(TRIES):
        before = Tabs.changes
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if Tabs.changes == before or not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
def number():
    """A number that, with the nine after it, no other test of this process has."""
    return next(_numbers)


@pytest.fixture(scope="module")
def browser():
    # one for each module, not longer: its event loop would be in the way of asyncio's tests
    if reason := chromium.why_not():
        pytest.skip(f"BROWSER TESTS DID NOT RUN: {reason}")
    with chromium.started() as found:
        yield found


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(browser, pki, tmp_path_factory):
    """A license server with a user of each role."""
    with running(tmp_path_factory.mktemp("license") / "data", pki) as found:
        found.set_up()
        yield found


@pytest.fixture
def fresh_server(browser, pki, tmp_path):
    """A license server that nobody has set up."""
    with running(tmp_path / "data", pki) as found:
        yield found


@pytest.fixture
def tabs(browser):
    found = Tabs(browser)
    yield found
    found.close()
