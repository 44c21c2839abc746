"""Pictures of the license server's pages for the documentation, from a real server in use.

``python -m tests.browser.screenshots`` writes ``docs/images/license-*.png``; with ``--all FOLDER``
every page goes to a folder instead: light, dark and narrow, to look at after a change.
"""

import argparse
import tempfile
from pathlib import Path

from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.license.core.license_file import NAMES
from tests.browser import chromium
from tests.browser.server import ROOT, LicenseServer, a_license, running
from tests.browser.tabs import Tabs
from tests.pki import Pki

MOST_BYTES = 150_000
PLACES = {
    "dashboard": "", "leases": "leases", "licenses": "licenses", "install": "install",
    "history": "history", "users": "users", "settings": "settings", "account": "account",
    "about": "about",
}  # fmt: skip
VIEWS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1240, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1240, "height": 800}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
CAPACITY = {Feature.SL: 12, Feature.SN: 5, Feature.SWCI: 2, Feature.SWOP: 6}
HELD = [
    (NodeKind.SL, Feature.SL, 7), (NodeKind.SN, Feature.SN, 4), (NodeKind.SWCI, Feature.SWCI, 2),
    (NodeKind.SWOP, Feature.SWOP, 1),
]  # fmt: skip


def use(server: LicenseServer) -> None:
    """Install licenses and let nodes hold leases."""
    server.set_up()
    names = {str(feature): NAMES[feature] for feature in CAPACITY}
    server.install(a_license("uha-2026", CAPACITY, days=26.5, names=names))
    server.install(a_license("uha-2025", CAPACITY, days=-0.5, names=names))
    for role, feature, count in HELD:
        for number in range(1, count + 1):
            short = role.lower()
            server.acquire(
                number, feature, server.pki.identity(role, str(number)), role,
                host=f"{short}-{number}.hospital-{'abc'[number % 3]}.example",
                container=f"{short}-{number}", product_version="0.1.0",
            )  # fmt: skip


def opened(tabs: Tabs, server: LicenseServer, place: str, **view):
    """A page, loaded."""
    page = tabs.open(server, place, **view)
    chromium.expect(page.locator("main .loading")).to_have_count(0)
    return page


def preview(page) -> None:
    """Choose a license on the install page."""
    names = {str(feature): NAMES[feature] for feature in CAPACITY}
    text = a_license("uha-2027", dict.fromkeys(CAPACITY, 20), names=names)
    page.get_by_label("Choose file").set_input_files(
        {"name": "uha-2027.json", "mimeType": "application/json", "buffer": text.encode()}
    )
    chromium.expect(page.get_by_role("button", name="Install this license")).to_be_visible()


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page, in every view")
    folder = parser.parse_args().all
    if reason := chromium.why_not():
        raise SystemExit(f"no pictures: {reason}")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with running(root / "data", Pki(root)) as server, chromium.started() as browser:
            tabs = Tabs(browser)
            if folder is not None:
                _at_the_gate(tabs, server, folder, "setup")
            use(server)
            if folder is None:
                _for_documents(tabs, server)
            else:
                _every(tabs, server, folder)
                _at_the_gate(tabs, server, folder, "sign-in")
            tabs.close()


def _for_documents(tabs: Tabs, server: LicenseServer) -> None:
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    page = opened(tabs, server, "", **VIEWS["light"])
    _write(page, images / "license-dashboard.png")
    tall = {**VIEWS["light"], "viewport": {"width": 1240, "height": 1240}}
    page = opened(tabs, server, "install", **tall)
    preview(page)
    _write(page, images / "license-install.png")


def _write(page, file: Path) -> None:
    page.screenshot(path=file)
    assert file.stat().st_size < MOST_BYTES, f"{file} is too large"


def _at_the_gate(tabs: Tabs, server: LicenseServer, folder: Path, name: str) -> None:
    """What somebody sees who has not signed in."""
    folder.mkdir(parents=True, exist_ok=True)
    for view, options in VIEWS.items():
        page = tabs.open(server, name, user=None, **options)
        chromium.expect(page.locator("form button")).to_be_visible()
        page.screenshot(path=folder / f"{name}-{view}.png", full_page=True)


def _every(tabs: Tabs, server: LicenseServer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for view, options in VIEWS.items():
        for name, place in PLACES.items():
            page = opened(tabs, server, place, **options)
            if name == "install":
                preview(page)
            page.screenshot(path=folder / f"{name}-{view}.png", full_page=True)


if __name__ == "__main__":
    main()
