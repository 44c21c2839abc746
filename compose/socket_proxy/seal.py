"""The label by which the proxy knows again what was made through it.

Its value is a keyed digest of the thing's kind and name, so that nobody without the key can write
it: a plain label could be put into an image (``LABEL``), and every container that anybody starts
from that image would inherit it and fall into SWOP's hands.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compose.socket_proxy.create_body import LABEL

LABEL_BY = f"{LABEL}.by"
"""Which proxy it was: to list what may be ours. It proves nothing, since images can carry it."""
KEY_BYTES = 32


class Seal:
    """Makes and checks the label.

    Args:
        key: secret; the same after a restart, so that SWOP finds its containers again.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.by = f"{LABEL_BY}={self._digest('proxy')[:16]}"
        """Filter for what may have been made through this proxy."""

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def label(self, kind: str, name: str) -> dict[str, str]:
        """The labels of a container, volume or image of this name."""
        return {LABEL: self._digest(f"{kind}:{name}")[:40], LABEL_BY: self.by.partition("=")[2]}

    def holds(self, kind: str, name: str, labels: Mapping[str, Any] | None) -> bool:
        """Whether these labels show that the thing was made through this proxy."""
        value = str((labels or {}).get(LABEL, ""))
        return hmac.compare_digest(value.encode(), self.label(kind, name)[LABEL].encode())


def read_key(path: Path) -> bytes:
    """Read the key; make it where there is none yet, for its owner only.

    Raises:
        OSError: it can be neither read nor made.
        ValueError: the file holds no key.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        key = path.read_bytes()
    else:
        key = secrets.token_bytes(KEY_BYTES)
        path.write_bytes(key)
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {KEY_BYTES} bytes: remove it")
    return key
