"""What a node says when the license server answers no: HPE's three lines, with our numbers.

HPE documents 6002 (no server answers) and no other; 61xx are ours.
"""

import re
from collections.abc import Mapping

from services.common.errors import LicenseRefusedError
from services.common.license_api import MOST_HOLDERS, Code

NUMBERS: Mapping[str, int] = {
    Code.NO_CAPACITY: 6101,
    Code.NOT_INSTALLED: 6102,
    Code.EXPIRED: 6103,
    Code.REVOKED: 6104,
    Code.DENIED: 6105,
}
"""Error code by the server's ``code``."""
OTHER = 6100
"""For any other refusal."""
_MESSAGES: Mapping[str, str] = {
    Code.NO_CAPACITY: "No capacity left. All units of the feature are in use.",
    Code.NOT_INSTALLED: "Feature not installed. No license names it.",
    Code.EXPIRED: "License not in force. It has ended, or has not begun.",
    Code.REVOKED: "License revoked by an administrator.",
    Code.DENIED: "Denied. The certificate does not allow it.",
}
_LONGEST = 2000
_LONGEST_WORD = 160
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def refusal(server: str, code: str, detail: str, holders: object = None) -> LicenseRefusedError:
    """The error for a refusal.

    Args:
        server: its URL.
        code: the server's word for it.
        detail: the server's sentence.
        holders: of ``no-capacity``: who holds the units, as it came.
    """
    message = _MESSAGES.get(code, "The license server refused.")
    return LicenseRefusedError(
        f"Error Code: {NUMBERS.get(code, OTHER)}\n"
        f"Error Message: {message}\n"
        f"Custom Message: License server {server} refused: {one_line(detail)}{_held(holders)}",
        code,
    )


def one_line(text: str) -> str:
    """Text of another party: no control characters, not endless."""
    return _CONTROL.sub("?", text)[:_LONGEST]


def _held(holders: object) -> str:
    if not isinstance(holders, list) or not holders:
        return ""
    return ". Holders: " + "; ".join(_holder(holder) for holder in holders[:MOST_HOLDERS])


def _holder(holder: object) -> str:
    if not isinstance(holder, dict):
        return "?"
    component, container, host, since = (
        one_line(str(holder.get(name, "")))[:_LONGEST_WORD] or "?"
        for name in ("component", "container", "host", "since")
    )
    return f"{component} {container} on {host} since {since}"
