"""Which files of users' folders are of interest, and which never leave the host; pure."""

from __future__ import annotations

import re

MOST = 256 << 10
"""Bytes of a file; profiles, scripts and task definitions are much smaller."""
_SECRET = re.compile(
    r"(?:\.(?:pem|key|crt|cer|p12|pfx|jks|srl|der|kdbx|gpg|asc|ovpn)|^id_[a-z0-9]+|\.env|setup-code"
    r"|\.netrc|\.pgpass|\.dockercfg|\.docker/config\.json|credentials|known_hosts)$"
)
_FOLDERS = frozenset(
    ["cert", "certs", "identity", ".git", ".ssh", "data", "__pycache__", "node_modules"]
)
_DATA = re.compile(
    r"\.(?:csv|npz|npy|pt|pth|h5|keras|safetensors|png|jpe?g|gz|zip|tar|whl|so|pyc|sqlite3?|db)$"
)


def is_wanted(name: str) -> bool:
    """Whether a file may be looked into, by its name."""
    parts = name.lower().split("/")
    if any(part in _FOLDERS for part in parts[:-1]):
        return False
    return not (
        _SECRET.search(parts[-1]) or _SECRET.search(name.lower()) or _DATA.search(name.lower())
    )


def is_wanted_text(content: bytes) -> bool:
    """Whether it is a text, and not too large."""
    return len(content) <= MOST and b"\0" not in content
