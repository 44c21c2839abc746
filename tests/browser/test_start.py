"""First set-up, signing in and out, the end of a session, what each role is offered."""

import re

import pytest

from tests.browser.chromium import expect
from tests.browser.server import PASSWORD, USERS

pytestmark = pytest.mark.xdist_group("browser-start")


def sign_in(page, user, password=PASSWORD):
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def fill_set_up(page, code, password=PASSWORD, again=PASSWORD):
    page.get_by_label("Set-up code").fill(code)
    page.get_by_label("Your user name").fill("eva")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Password, again").fill(again)
    page.get_by_role("button", name="Make administrator").click()


def test_the_first_administrator_is_made_with_the_code_only(fresh_server, tabs):
    page = tabs.open(fresh_server, "licenses", user=None)
    expect(page.get_by_role("heading", name="First set-up")).to_be_visible()
    expect(page.get_by_text("docker logs CONTAINER")).to_be_visible()
    fill_set_up(page, "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA")
    expect(page.get_by_role("alert")).to_contain_text("code")
    fill_set_up(page, fresh_server.setup_code, again="another password")
    expect(page.get_by_text("The two passwords differ")).to_be_visible()
    fill_set_up(page, fresh_server.setup_code, "short", "short")
    expect(page.get_by_text("Too short")).to_be_visible()
    fill_set_up(page, fresh_server.setup_code)
    expect(page.get_by_role("heading", name="Dashboard", exact=True)).to_be_visible()
    assert not (fresh_server.folder / "setup-code").exists()
    later = tabs.open(fresh_server, "setup", user=None)
    expect(later.get_by_role("heading", name="Sign in")).to_be_visible()


def test_hpes_address_leads_to_the_page_one_wants_after_signing_in(server, tabs):
    page = tabs.open(server, user=None)
    tabs.load(page, f"{server.url}/autopass")
    expect(page).to_have_url(re.compile(r"/ui/#/sign-in"))
    page.goto(f"{server.url}/ui/#/leases?feature=1100000380&text=ward")
    sign_in(page, "victor", "a wrong password")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Password")).to_have_value("")
    sign_in(page, "victor")
    expect(page.get_by_role("heading", name="Active leases")).to_be_visible()
    expect(page.get_by_label("Feature")).to_have_value("1100000380")
    expect(page.get_by_label("Search")).to_have_value("ward")


def test_only_places_of_ours_come_after_signing_in(server, tabs):
    page = tabs.open(server, "sign-in?next=https%3A%2F%2Fevil.example%2F", user=None)
    sign_in(page, "victor")
    expect(page).to_have_url(f"{server.url}/ui/#/")


def test_signing_out_ends_the_session(server, tabs, number):
    user = f"olga{number}"
    server.add_user(user)
    page = tabs.open(server, "account", user=user)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{server.url}/ui/#/leases")
    tabs.load(page)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_session_that_ends_leads_back_to_the_page_one_was_on(server, tabs, number):
    user = f"ines{number}"
    server.add_user(user)
    page = tabs.open(server, "leases?text=ward", user=user)
    expect(page.get_by_label("Search")).to_have_value("ward")
    with server.people() as http:
        http.auth = ("anna", PASSWORD)
        assert http.put(f"/users/{user}", json={"disabled": True}).is_success
        assert http.put(f"/users/{user}", json={"disabled": False}).is_success
    expect(page.get_by_text("Your session has ended")).to_be_visible()  # the page's own refresh
    sign_in(page, user)
    expect(page.get_by_role("heading", name="Active leases")).to_be_visible()
    expect(page.get_by_label("Search")).to_have_value("ward")


OFFERED = {
    "anna": ["Dashboard", "Active leases", "Licenses", "Install license", "History",
             "Users and roles", "Settings", "My account", "About"],
    "petra": ["Dashboard", "Active leases", "Licenses", "Install license", "History", "My account",
              "About"],
    "victor": ["Dashboard", "Active leases", "Licenses", "History", "My account", "About"],
}  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_a_role_is_offered_what_it_may_do(server, tabs, number, user):
    server.acquire(number)
    page = tabs.open(server, "leases", user=user)
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    expect(links).to_have_text(OFFERED[user])
    expect(page.get_by_text(f"container box{number}")).to_be_visible()
    revoke = page.get_by_role("button", name=f"Revoke the lease of box{number}")
    expect(revoke).to_have_count(0 if user == "victor" else 1)
    page.goto(f"{server.url}/ui/#/licenses")
    expect(page.get_by_role("button", name="Details").first).to_be_visible()
    expect(page.get_by_role("button", name="Archive")).to_have_count(0 if user == "victor" else 1)


@pytest.mark.parametrize("place", ["users", "settings", "install"])
def test_a_page_beyond_ones_role_says_so(server, tabs, place):
    page = tabs.open(server, place, user="victor")
    expect(page.get_by_text("Your role does not allow this")).to_be_visible()


def test_an_address_of_no_page_says_so(server, tabs):
    page = tabs.open(server, "nothing/here")
    page.get_by_role("link", name="To the dashboard").click()
    expect(page.get_by_role("heading", name="Dashboard", exact=True)).to_be_visible()
