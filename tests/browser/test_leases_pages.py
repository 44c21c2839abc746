"""Dashboard and active leases: they follow what nodes do, and hostile names stay text."""

import os
import re
import subprocess
import sys

import pytest

from services.common.ids import NodeKind
from services.common.license_api import Feature
from tests.browser.chromium import expect
from tests.browser.server import ROOT, a_license
from tests.component.license.test_license_process import named

pytestmark = pytest.mark.xdist_group("browser-leases")

NODE = """
import asyncio
from services.common import logs, process
from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.settings import NodeSettings, load
from services.common.tls import load_identity

async def main():
    settings = load(NodeSettings)
    identity = load_identity(settings, NodeKind.SN)
    async with held_license(settings, identity, Feature.SN, "7" * 32, "SN"):
        await asyncio.Event().wait()

logs.configure()
process.run("SN", main)
"""
HOSTILE = '<img src=x onerror="document.title=1">'


def bar(page, feature):
    return page.get_by_role("row").filter(has_text=f"{feature}:1").get_by_role("meter")


def test_the_bar_follows_a_real_node(server, pki, tabs):
    """A node's own client, as SN runs it: started, it takes a unit; stopped, it gives it back."""
    page = tabs.open(server)
    expect(bar(page, Feature.SN)).to_have_attribute("aria-valuetext", "0 of 1,000 in use")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    node = subprocess.Popen(
        [sys.executable, "-c", NODE], cwd=ROOT, stdout=subprocess.DEVNULL,
        env={**kept, **pki.files(NodeKind.SN), **named(server.port)},
    )  # fmt: skip
    try:
        expect(bar(page, Feature.SN)).to_have_attribute("aria-valuetext", "1 of 1,000 in use")
        page.get_by_role("link", name="1 holder").click()
        expect(page).to_have_url(re.compile(f"feature={Feature.SN}"))
        expect(page.get_by_role("cell", name="SN-1")).to_be_visible()
    finally:
        node.terminate()
        assert node.wait(30) == 0
    expect(page.get_by_text("No lease matches")).to_be_visible()


def test_a_full_feature_shows(server, tabs, number):
    feature = f"C-{number}"
    server.install(a_license(f"cap-{number}", {feature: 2}))
    page = tabs.open(server, user="victor")
    expect(bar(page, feature)).to_have_attribute("aria-valuetext", "0 of 2 in use")
    server.acquire(number, feature)
    expect(bar(page, feature)).to_have_attribute("aria-valuetext", "1 of 2 in use")
    server.acquire(number + 1, feature)
    expect(bar(page, feature)).to_have_attribute("aria-valuetext", "2 of 2 in use")
    line = page.get_by_role("row").filter(has_text=f"{feature}:1")
    expect(line.get_by_text("None free")).to_be_visible()
    expect(line.locator(".bar")).to_have_attribute("data-level", "full")


def test_revoking_names_the_holder_and_frees_the_unit(server, tabs, number):
    feature = f"R-{number}"
    server.install(a_license(f"revoke-{number}", {feature: 1}))
    lease = server.acquire(number, feature)
    page = tabs.open(server, f"leases?feature={feature}", user="petra")
    page.get_by_role("button", name=f"Revoke the lease of box{number}").click()
    dialog = page.get_by_role("dialog", name="Revoke this lease?")
    expect(dialog).to_contain_text(f"box{number} (certificate SL-1) loses its unit")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name=f"Revoke the lease of box{number}").click()
    dialog.get_by_role("button", name="Revoke lease").click()
    expect(page.get_by_text(f"The lease of box{number} is revoked.")).to_be_visible()
    expect(page.get_by_text("No lease matches")).to_be_visible()
    with server.node() as http:
        assert http.put(f"/leases/{lease}").json()["code"] == "lease-revoked"
    assert server.features()[feature]["free"] == 1


def test_a_lease_that_ended_meanwhile_is_told_in_the_dialog(server, tabs, number):
    lease = server.acquire(number)
    page = tabs.open(server, f"leases?text=box{number}")
    page.get_by_role("button", name=f"Revoke the lease of box{number}").click()
    server.release(lease)
    page.get_by_role("dialog").get_by_role("button", name="Revoke lease").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("no lease")


def test_filters_are_in_the_address_and_in_the_file(server, tabs, number):
    feature = f"X-{number}"
    server.install(a_license(f"filter-{number}", {feature: 5}))
    for uid in (number, number + 1):
        server.acquire(uid, feature, host=f"Ward-{uid}")
    server.acquire(number + 2)
    page = tabs.open(server, "leases")
    page.get_by_label("Feature").select_option(feature)
    expect(page.get_by_text("2 of")).to_be_visible()
    page.get_by_label("Search").fill(f"ward-{number + 1}")
    rows = page.get_by_role("rowheader")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(f"feature={feature}&text=ward-{number + 1}"))
    tabs.load(page)
    expect(rows).to_have_count(1)
    expect(page.get_by_role("cell", name=f"Ward-{number + 1}")).to_be_visible()
    with page.expect_download() as got:
        page.get_by_role("link", name="Download CSV").click()
    lines = got.value.path().read_text().splitlines()
    assert got.value.suggested_filename == "leases.csv"
    assert "host" in lines[0]
    assert any(f"Ward-{number + 1}" in line for line in lines[1:])
    assert not any(f"box{number + 2}" in line for line in lines[1:])
    page.get_by_label("Search").fill("nowhere")
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_label("Search")).to_have_value("")
    expect(page.get_by_text(f"box{number + 2}").first).to_be_visible()


def test_the_focus_stays_while_the_page_follows(server, tabs, number):
    server.acquire(number)
    page = tabs.open(server, "leases")
    button = page.get_by_role("button", name=f"Revoke the lease of box{number}")
    button.focus()
    server.acquire(number + 1)
    expect(page.get_by_text(f"box{number + 1}").first).to_be_visible()  # drawn anew
    expect(button).to_be_focused()


@pytest.mark.parametrize("place", ["", "leases", "history", "licenses"])
def test_hostile_names_stay_text(server, pki, tabs, number, place):
    text = f"<script>document.title=1</script>{HOSTILE}"
    common_name = f"SL-<b onmouseover=x()>{number}"
    server.install(a_license(f"evil-{number}", {f"E-{number}": 3}, issuer=text, licensee=HOSTILE))
    identity = pki.bad_identity(NodeKind.SL, common_name=common_name)
    server.acquire(number, f"E-{number}", identity, host=HOSTILE, container=text, component=HOSTILE)
    page = tabs.open(server, place)
    shown = {"": f"E-{number}", "leases": common_name, "history": common_name, "licenses": text}
    expect(page.get_by_text(shown[place]).first).to_be_visible()
    assert page.locator("main img, main script, main b").count() == 0
    assert page.title() != "1"
    if place == "leases":
        page.get_by_role("button", name="Revoke the lease of").first.click()
        expect(page.get_by_role("dialog")).to_contain_text("certificate")
        assert page.locator("dialog img, dialog script, dialog b").count() == 0


def test_a_server_that_is_away_is_told_and_comes_back(fresh_server, tabs):
    fresh_server.set_up()
    page = tabs.open(fresh_server)
    expect(page.get_by_role("meter").first).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("The license server does not answer")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("The license server does not answer")).to_have_count(0)
    expect(page.get_by_role("meter").first).to_be_visible()
    tabs.errors[:] = [error for error in tabs.errors if "ERR_INTERNET_DISCONNECTED" not in error]
