"""Which names stand for secrets, and which runs of characters look like keys; pure."""

from __future__ import annotations

import re

WORDS = frozenset(
    [
        "password", "passwd", "pass", "pwd", "passphrase", "secret", "secrets", "token", "tokens",
        "auth", "authorization", "credential", "credentials", "cookie", "cookies", "apikey", "csrf",
        "setupcode", "sessionid", "privatekey", "accesskey", "passwords", "passwort",
        "kennwort", "pw", "jwt", "bearer",
    ]
)  # fmt: skip
"""A name with one of these words in it names a secret."""
ENDINGS = ("password", "passwd", "passphrase", "passwort", "token", "secret", "apikey", "auth")
"""So end words that are two, as in ``PGPASSWORD`` and ``identitytoken``."""
PAIRS = frozenset(
    [
        ("api", "key"), ("private", "key"), ("access", "key"), ("secret", "key"), ("ssh", "key"),
        ("setup", "code"), ("session", "id"), ("signing", "key"), ("encryption", "key"),
        ("account", "key"), ("storage", "key"), ("master", "key"),
    ]
)  # fmt: skip
"""Two words that name a secret only together."""
PATH = re.compile(r"^/[\w./@-]{1,200}$")
"""What a file's name looks like; a variable such as SWARM_ID_KEY holds one."""
FILE_VARIABLE = re.compile(r"(?:^SWARM_ID_KEY|_FILE|_PATH|_DIR|_SOCK|_SOCKET)$", re.IGNORECASE)
KEY_STARTS = ("MII", "MHc", "MIG", "MC4CAQ", "LS0tLS1CRUdJTi", "b3BlbnNzaC1rZXk", "eyJ")
"""How base64 of keys begins, in DER, PEM and OpenSSH's form, and that of JSON web tokens."""
SHORTEST_BLOB = 40
_RUN = re.compile(rf"[A-Za-z0-9+/_=-]{{{SHORTEST_BLOB},}}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HEX = re.compile(r"(?<![A-Za-z0-9])(?:0x)?[0-9a-fA-F]{8,}(?![A-Za-z0-9])")
_MIX, _MIX_WITHOUT_DIGITS = 0.3, 0.45
"""Changes between capitals, small letters and digits for each character; base64 has 0.6."""


def is_secret_name(name: str, *, variable: bool = False) -> bool:
    """Whether a field, an option or a variable of this name holds a secret.

    Args:
        name: in any spelling, ``apiKey``, ``API_KEY`` or ``api-key``.
        variable: of the environment, where ``..._KEY`` is enough.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if WORDS.intersection(words) or PAIRS.intersection(zip(words, words[1:])):
        return True
    if any(word.endswith(ENDINGS) for word in words):
        return True
    return variable and bool(words) and words[-1] in ("key", "keys")


def is_file_name(name: str, value: str) -> bool:
    """Whether a variable with a suspicious name holds only the name of a file."""
    return bool(FILE_VARIABLE.search(name) and PATH.match(value))


def blobs(text: str) -> list[tuple[int, int]]:
    """Where there is base64 that may be a key; digests and paths are none."""
    return [match.span() for match in _RUN.finditer(text) if _is_blob(match.group())]


def _is_blob(run: str) -> bool:
    if any(start in run for start in KEY_STARTS[3:]) or run.startswith(KEY_STARTS):
        return not _is_plain(run)
    rest = _HEX.sub("", run)
    if len(rest) < SHORTEST_BLOB - 8:
        return False
    kinds = [_kind(letter) for letter in rest if letter.isalnum()]
    if not {"upper", "lower"} <= set(kinds):
        return False
    mix = sum(one != other for one, other in zip(kinds, kinds[1:])) / max(1, len(kinds))
    return mix >= (_MIX if "digit" in kinds else _MIX_WITHOUT_DIGITS)


def _is_plain(run: str) -> bool:
    return not any(letter.isupper() for letter in run)


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "digit"
    return "upper" if letter.isupper() else "lower"
