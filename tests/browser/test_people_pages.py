"""History, users, settings, one's own account."""

import csv
import re

import pytest

from services.common.license_api import Feature
from tests.browser.chromium import expect
from tests.browser.server import PASSWORD, a_license

pytestmark = pytest.mark.xdist_group("browser-people")

NEW = "a new long password"


def rows(page):
    return page.get_by_role("table").get_by_role("rowheader")


def test_history_is_filtered_by_the_address_and_in_the_file(server, tabs, number):
    feature = f"H-{number}"
    server.install(a_license(f"hist-{number}", {feature: 5}))
    server.release(server.acquire(number, feature))
    server.acquire(number + 1, feature)
    page = tabs.open(server, "history", user="victor")
    page.get_by_label("Feature").select_option(feature)
    page.get_by_role("button", name="Apply").click()
    expect(rows(page)).to_have_count(3)
    events = page.get_by_role("table").locator(".badge")
    expect(events).to_have_text(["Granted", "Released", "Granted"])
    page.get_by_label("Event").select_option("granted")
    page.get_by_label("Order").select_option("asc")
    page.get_by_label("Search").fill(f"{number + 1:032x}")
    page.get_by_role("button", name="Apply").click()
    expect(rows(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(f"feature={feature}&kind=granted&text=.*&order=asc"))
    tabs.load(page)
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_label("Event")).to_have_value("granted")
    with page.expect_download() as got:
        page.get_by_role("link", name="Download CSV").click()
    found = list(csv.DictReader(got.value.path().read_text().splitlines()))
    assert got.value.suggested_filename == "history.csv"
    assert [(row["kind"], row["feature"]) for row in found] == [("granted", feature)]
    page.get_by_label("From").fill("2001-01-01T00:00")
    page.get_by_label("To").fill("2001-01-02T00:00")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("No event matches")).to_be_visible()
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.get_by_label("From")).to_have_value("")
    expect(rows(page).first).to_be_visible()


def test_history_pages(server, tabs, number):
    feature = f"P-{number}"
    server.install(a_license(f"page-{number}", {feature: 100}))
    for uid in range(26):
        server.release(server.acquire(uid, feature))
    page = tabs.open(server, f"history?feature={feature}", user="victor")
    expect(rows(page)).to_have_count(50)
    first = rows(page).all_inner_texts()
    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newest").click()
    expect(rows(page)).to_have_text(first)
    page.go_back()
    expect(rows(page)).to_have_count(2)


def test_what_people_do_is_in_the_history_with_their_name(server, tabs, number):
    server.acquire(number)
    page = tabs.open(server, f"leases?text=box{number}", user="petra")
    page.get_by_role("button", name="Revoke the lease").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke lease").click()
    expect(page.get_by_text("No lease matches")).to_be_visible()
    page.goto(f"{server.url}/ui/#/history?kind=revoked")
    line = page.get_by_role("row").filter(has_text=f"{number:032x}")
    expect(line.get_by_role("cell", name="petra")).to_be_visible()
    expect(line).to_contain_text(Feature.SL)


def dialog_of(page, name):
    return page.get_by_role("dialog", name=name)


def test_a_users_life(server, tabs, number):
    name = f"u{number}"
    page = tabs.open(server, "users")
    expect(page.get_by_role("row").filter(has_text="anna")).to_contain_text("you")
    page.get_by_role("button", name="Add user").click()
    dialog = dialog_of(page, "Add user")
    dialog.get_by_label("User name").fill(name)
    dialog.get_by_label("First password", exact=True).fill(PASSWORD)
    dialog.get_by_label("First password, again").fill(PASSWORD)
    dialog.get_by_role("button", name="Add user").click()
    line = page.get_by_role("row").filter(has_text=name)
    expect(line).to_contain_text("View only")
    expect(line).to_contain_text("never")

    page.get_by_role("button", name=f"Role: {name}").click()
    dialog_of(page, f"Role of {name}").get_by_label("Role").select_option("product-admin")
    page.get_by_role("button", name="Change role").click()
    expect(line).to_contain_text("Product administrator")

    page.get_by_role("button", name=f"Password: {name}").click()
    dialog = dialog_of(page, f"New password of {name}")
    dialog.get_by_label("New password", exact=True).fill(NEW)
    dialog.get_by_label("New password, again").fill(NEW)
    dialog.get_by_role("button", name="Set password").click()
    expect(page.get_by_text(f"The password of {name} is set.")).to_be_visible()
    with server.people() as http:
        assert http.post("/session", json={"user": name, "password": NEW}).is_success

    page.get_by_role("button", name=f"Disable: {name}").click()
    dialog_of(page, f"Disable {name}?").get_by_role("button", name="Disable user").click()
    expect(line).to_contain_text("Disabled")
    with server.people() as http:
        assert http.post("/session", json={"user": name, "password": NEW}).status_code == 401
    page.get_by_role("button", name=f"Enable: {name}").click()
    dialog_of(page, f"Enable {name}?").get_by_role("button", name="Enable user").click()
    expect(line).to_contain_text("Enabled")

    page.get_by_role("button", name=f"Delete: {name}").click()
    expect(dialog_of(page, f"Delete user {name}?")).to_contain_text("stays in the history")
    page.get_by_role("button", name="Delete user").click()
    expect(line).to_have_count(0)


def test_mistakes_about_users_are_told_in_the_dialog(server, tabs):
    page = tabs.open(server, "users")
    page.get_by_role("button", name="Add user").click()
    dialog = dialog_of(page, "Add user")
    dialog.get_by_role("button", name="Add user").click()
    expect(dialog.get_by_text("This is needed.")).to_be_visible()
    dialog.get_by_label("User name").fill("petra")
    dialog.get_by_label("First password", exact=True).fill(PASSWORD)
    dialog.get_by_label("First password, again").fill(PASSWORD)
    dialog.get_by_role("button", name="Add user").click()
    expect(dialog.get_by_role("alert")).to_contain_text("petra")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Add user")).to_be_focused()
    page.get_by_role("button", name="Role: anna").click()
    dialog = dialog_of(page, "Role of anna")
    dialog.get_by_label("Role").select_option("view-only")
    dialog.get_by_role("button", name="Change role").click()
    expect(dialog.get_by_role("alert")).to_contain_text("administrator")


def test_changing_ones_password(server, tabs, number):
    user = f"paul{number}"
    server.add_user(user)
    page = tabs.open(server, "account", user=user)
    for old, told in (("a wrong password", "alert"), (PASSWORD, None)):
        page.get_by_label("Password now").fill(old)
        page.get_by_label("New password", exact=True).fill(NEW)
        page.get_by_label("New password, again").fill(NEW)
        page.get_by_role("button", name="Change password").click()
        if told:
            expect(page.get_by_role(told)).to_be_visible()
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    page.get_by_role("link", name="Dashboard").click()  # the session goes on
    expect(page.get_by_role("heading", name="Features")).to_be_visible()
    with server.people() as http:
        assert http.post("/session", json={"user": user, "password": NEW}).is_success


def test_settings_are_kept_and_less_history_is_asked_about(server, tabs):
    page = tabs.open(server, "settings")
    notice, keep = page.get_by_label("Warn before"), page.get_by_label("Keep history")
    notice.fill("400")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("A whole number from 0 to 365.")).to_be_visible()
    notice.fill("45")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The settings are saved.")).to_be_visible()
    keep.fill("400")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_contain_text("Rows older than 400 days are deleted")
    page.get_by_role("button", name="Delete old rows").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    tabs.load(page)
    expect(notice).to_have_value("45")
    expect(keep).to_have_value("400")


def test_warnings_of_the_server_are_on_the_dashboard(server, tabs, number):
    server.install(a_license(f"ends-{number}", {f"W-{number}": 1}, days=3))
    page = tabs.open(server)
    warnings = page.get_by_role("region", name="Warnings")
    expect(warnings.get_by_text(f"ends-{number}")).to_be_visible()
    line = page.get_by_role("row").filter(has_text=f"W-{number}")
    expect(line.get_by_text("Ends in")).to_have_attribute("title", re.compile(r"20\d\d"))


def test_about_names_version_and_id(server, tabs):
    page = tabs.open(server, "about", user="victor")
    expect(page.get_by_text(server.server_id())).to_be_visible()
    expect(page.get_by_text("30 min")).to_be_visible()
    page.get_by_role("link", name="OpenAPI document").click()
    expect(page.locator("body")).to_contain_text('"openapi"')
