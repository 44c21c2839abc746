"""Installing a license, and what is done with installed ones."""

import json
import re

import pytest

from services.common.license_api import Feature
from tests.browser.chromium import expect
from tests.browser.server import a_license

pytestmark = pytest.mark.xdist_group("browser-licenses")

DAY = re.compile(r"\d{1,2} \w{3} \d{4}")


def choose(page, text, name="license.json"):
    page.get_by_label("Choose file").set_input_files(
        {"name": name, "mimeType": "application/json", "buffer": text.encode()}
    )


def row(page, serial):
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader").filter(has_text=serial))


def test_a_good_license_is_previewed_and_installed(server, tabs, number):
    serial, feature = f"good-{number}", f"F-{number}"
    server.install(a_license(f"before-{number}", {feature: 4}))
    page = tabs.open(server, "install", user="petra")
    server_id = server.server_id()
    expect(page.get_by_text(server_id)).to_be_visible()
    choose(page, a_license(serial, {feature: 7, f"G-{number}": 2}, lock=server_id))
    expect(page.get_by_text("The signature is good")).to_be_visible()
    expect(page.get_by_text("This server", exact=True).last).to_be_visible()
    cells = page.get_by_role("row").filter(has_text=feature).get_by_role("cell")
    expect(cells).to_have_text(["4", "11", "+7"])
    assert server.features()[feature]["capacity"] == 4  # looking changes nothing
    page.get_by_role("button", name="Install this license").click()
    expect(page.get_by_text(f"Installed: license {serial}.")).to_be_visible()
    expect(row(page, serial).get_by_text("Active", exact=True)).to_be_visible()
    assert server.features()[feature]["capacity"] == 11


def test_the_preview_tells_what_the_server_then_says(server, tabs, number):
    """Also where the community license stops counting because another names its feature."""
    page = tabs.open(server, "install")
    choose(page, a_license(f"swci-{number}", {Feature.SWCI: 3}))
    cells = page.get_by_role("row").filter(has_text=Feature.SWCI).get_by_role("cell")
    expect(cells).to_have_text(["1,000", "3", "−997"])  # noqa: RUF001 - a minus
    assert server.features()[Feature.SWCI]["capacity"] == 1000
    page.get_by_role("button", name="Install this license").click()
    expect(page.get_by_text("Installed: license")).to_be_visible()
    assert server.features()[Feature.SWCI]["capacity"] == 3


def test_several_licenses_in_a_file(server, tabs, number):
    one, two = (a_license(f"{name}-{number}", {f"M-{number}": 1}) for name in ("one", "two"))
    page = tabs.open(server, "install")
    choose(page, json.dumps([json.loads(one), json.loads(two)]))
    cells = page.get_by_role("row").filter(has_text=f"M-{number}").get_by_role("cell")
    expect(cells).to_have_text(["0", "2", "+2"])
    page.get_by_role("button", name="Install this license").click()
    expect(page.get_by_text(f"one-{number}, two-{number}")).to_be_visible()


def tampered(number):
    document = json.loads(a_license(f"tampered-{number}", {Feature.SL: 1}))
    document["features"][0]["capacity"] = 1000
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lambda n: "PK\x03\x04 not a license", "Choose the license document"),
        (lambda n: '{"serial": "x"}', "Choose the license document"),
        (tampered, "Ask the issuer for the document again"),
        (lambda n: a_license(f"lock-{n}", {"F": 1}, lock="0" * 32), "names the server id"),
    ],
    ids=["no-document", "half-a-document", "tampered", "other-server"],
)
def test_a_bad_license_is_refused_with_what_to_do(server, tabs, number, text, said):
    page = tabs.open(server, "install")
    choose(page, text(number))
    expect(page.get_by_role("alert")).to_contain_text("This license cannot be installed")
    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.get_by_role("button", name="Install this license")).to_have_count(0)
    choose(page, a_license(f"then-{number}", {f"T-{number}": 1}))  # and then a good one
    expect(page.get_by_role("button", name="Install this license")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_installed_license_is_not_installed_again(server, tabs, number):
    text = a_license(f"twice-{number}", {f"T-{number}": 1})
    server.install(text)
    page = tabs.open(server, "install")
    choose(page, text)
    expect(page.get_by_text("This license is installed already")).to_be_visible()
    expect(page.get_by_role("button", name="Install this license")).to_have_count(0)
    page.get_by_role("link", name="Show licenses").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"License twice-{number}")


def test_a_document_may_be_dropped(server, tabs, number):
    page = tabs.open(server, "install")
    expect(page.get_by_text("or drop it here")).to_be_visible()
    data = page.evaluate_handle(
        """text => { const data = new DataTransfer();
        data.items.add(new File([text], "license.json")); return data; }""",
        a_license(f"drop-{number}", {f"D-{number}": 5}),
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": data})
    expect(page.get_by_text(f"drop-{number}")).to_be_visible()
    expect(page.get_by_role("button", name="Install this license")).to_be_visible()


def test_the_server_id_is_copied(server, tabs):
    page = tabs.open(server, "install", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy server id").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    server_id = server.server_id()
    assert page.evaluate("navigator.clipboard.readText()") == server_id


def test_archive_restore_and_delete_name_what_happens(server, tabs, number):
    serial, feature = f"life-{number}", f"L-{number}"
    server.install(a_license(serial, {feature: 6}))
    page = tabs.open(server, "licenses")
    page.get_by_role("button", name=f"Archive {serial}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Its 6 units do not count any more")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name=f"Archive {serial}")).to_be_focused()
    assert server.features()[feature]["capacity"] == 6
    page.get_by_role("button", name=f"Archive {serial}").click()
    dialog.get_by_role("button", name="Archive license").click()
    expect(row(page, serial).get_by_text("Archived")).to_be_visible()
    assert server.features().get(feature, {"capacity": 0})["capacity"] == 0
    page.get_by_role("link", name="Archived (").click()
    expect(page).to_have_url(re.compile("state=archived"))
    tabs.load(page)
    page.get_by_role("button", name=f"Restore {serial}").click()
    dialog.get_by_role("button", name="Restore license").click()
    expect(row(page, serial)).to_have_count(0)
    page.get_by_role("link", name="Active (").click()
    assert server.features()[feature]["capacity"] == 6
    page.get_by_role("button", name=f"Delete {serial}").click()
    expect(dialog).to_contain_text("its document must be installed again")
    dialog.get_by_role("button", name="Delete license").click()
    expect(page.get_by_text(f"License {serial} is deleted.")).to_be_visible()
    expect(row(page, serial)).to_have_count(0)
    assert feature not in server.features()


def test_a_license_that_nodes_need_is_not_deleted_and_the_page_says_why(server, tabs, number):
    serial, feature = f"need-{number}", f"N-{number}"
    server.install(a_license(serial, {feature: 1}))
    server.acquire(number, feature)
    page = tabs.open(server, "licenses")
    page.get_by_role("button", name=f"Delete {serial}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete license").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("is in use")
    page.keyboard.press("Escape")
    expect(row(page, serial)).to_be_visible()


def test_states_and_details_of_licenses(server, tabs, number):
    server.install(a_license(f"soon-{number}", {"A": 1}, days=9.5))
    page = tabs.open(server, "licenses")
    expect(row(page, f"soon-{number}")).to_contain_text("Ends in 9 days")
    page.get_by_role("button", name=f"Details of soon-{number}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Swarm consortium")).to_be_visible()
    expect(dialog.get_by_text(DAY).first).to_be_visible()
    expect(page).to_have_url(re.compile(f"serial=soon-{number}"))
    tabs.load(page)
    expect(dialog.get_by_text("Swarm consortium")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page).not_to_have_url(re.compile("serial="))
