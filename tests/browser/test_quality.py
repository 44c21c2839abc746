"""What every page must be: free of errors, usable by keyboard, readable, whole on a telephone."""

import re
from pathlib import Path

import pytest

from tests.browser.chromium import expect
from tests.browser.server import PASSWORD, a_license

pytestmark = pytest.mark.xdist_group("browser-quality")

PLACES = ["", "leases", "licenses", "install", "history", "users", "settings", "account", "about"]
CHECKS = (Path(__file__).parent / "checks.js").read_text()
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.fixture(scope="module")
def used_server(server):
    """With a row in each table, and each state of a license."""
    server.install(a_license("quality-1", {"Q-1": 2}, days=12))
    server.install(a_license("quality-2", {"Q-1": 3}, days=-0.5))
    for uid in (1, 2):
        server.acquire(uid, "Q-1", host="a-host-with-a-long-name.department.hospital-a.example")
    return server


def shown(page):
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("main .loading")).to_have_count(0)
    return page


@pytest.mark.parametrize("place", PLACES)
def test_names_headings_and_tables(used_server, tabs, place):
    assert shown(tabs.open(used_server, place)).evaluate(CHECKS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_contrast(used_server, tabs, place, scheme):
    seen, found = shown(tabs.open(used_server, place, color_scheme=scheme)).evaluate(CONTRAST)
    assert seen > 15
    assert found == []


@pytest.mark.parametrize("place", [*PLACES, "sign-in"])
def test_a_telephone_shows_all_without_scrolling_sideways(used_server, tabs, place):
    user = None if place == "sign-in" else "anna"
    page = shown(tabs.open(used_server, place, user=user, viewport={"width": 360, "height": 740}))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if user:
        button = page.get_by_role("button", name="Menu")
        expect(button).to_have_attribute("aria-expanded", "false")
        button.click()
        expect(button).to_have_attribute("aria-expanded", "true")
        page.get_by_role("link", name="About").click()
        expect(page.get_by_role("heading", name="About")).to_be_visible()
        expect(button).to_have_attribute("aria-expanded", "false")


def test_dialogs_pass_the_same_checks(used_server, tabs):
    page = shown(tabs.open(used_server, "users", color_scheme="dark"))
    page.get_by_role("button", name="Add user").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    assert page.evaluate(CONTRAST)[1] == []


def test_sign_in_passes_the_same_checks(used_server, tabs):
    page = shown(tabs.open(used_server, user=None))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This is needed.")).to_be_visible()
    assert page.evaluate(CHECKS) == []
    assert page.evaluate(CONTRAST)[1] == []


def test_pages_say_nothing_in_the_console(used_server, tabs):
    """Nothing in the console at all, also no refused call, while one is signed in."""
    page = tabs.open(used_server)
    said = []
    page.on("console", lambda message: said.append(message.text))
    for place in PLACES:
        page.goto(f"{used_server.url}/ui/#/{place}")
        shown(page)
        expect(page).to_have_title(re.compile("License server"))
    assert [text for text in said if "ERR_NETWORK_CHANGED" not in text] == []


def press_until(page, locator, most=40):
    """Press Tab until ``locator`` has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if locator.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("the keyboard does not reach it")


def test_by_keyboard_alone_from_sign_in_to_a_revoked_lease(used_server, tabs, number):
    used_server.acquire(number)
    page = tabs.open(used_server, "leases", user=None)
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("petra")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Active leases")).to_be_focused()
    press_until(page, page.get_by_label("Search"))
    page.keyboard.type(f"box{number}")
    button = page.get_by_role("button", name=f"Revoke the lease of box{number}")
    press_until(page, button)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    press_until(page, dialog.get_by_role("button", name="Revoke lease"))
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"The lease of box{number} is revoked.")).to_be_visible()


def test_the_first_tab_offers_to_skip_the_navigation(used_server, tabs):
    page = shown(tabs.open(used_server, "about"))
    page.locator("body").evaluate("() => document.activeElement.blur()")
    link = page.get_by_role("link", name="Skip to content")
    press_until(page, link)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(page).to_have_url(re.compile(r"#/about$"))


def test_a_file_is_chosen_by_keyboard(used_server, tabs):
    page = shown(tabs.open(used_server, "install"))
    press_until(page, page.get_by_label("Choose file"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    assert not chooser.value.is_multiple()
