"""What secrets look like in any text, whatever field they stand in; pure."""

from __future__ import annotations

import re
from typing import Callable, Match, NamedTuple

from compose.operate.collect_names import is_secret_name

MARK = "<removed>"
_WORD = r"(?:password|passphrase|passwort|secret|token|api[ _-]?key)"


class Rule(NamedTuple):
    """A kind of secret."""

    kind: str
    """What the summary calls it."""
    pattern: re.Pattern[str]
    instead: str | Callable[[Match[str]], str]


def _if_secret(found: Match[str]) -> str:
    """Removes the value of a name that names a secret."""
    if not is_secret_name(found["name"], variable=found["name"].isupper()):
        return found[0]
    return found["before"] + MARK + found["after"]


def _if_password(found: Match[str]) -> str:
    """Removes the password of ``--user NAME:PASSWORD``; numbers of a user and a group stay."""
    if (found["user"] + found["password"]).isdigit():
        return found[0]
    return found["before"] + found["user"] + ":" + MARK


RULES: tuple[Rule, ...] = (
    Rule("credentials in a URL",
         re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,20}:/{2})[^\s\"'<>`]*@"), rf"\1{MARK}@"),
    Rule("cookie, header or setup code",
         re.compile(r"((?:set-)?cookie|authorization|setup[ _-]?code|x-csrf-token)\b"
                    r"(?=[\"':= ]|\s).*", re.IGNORECASE), rf"\1: {MARK}"),
    Rule("credentials of a header",
         re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE), rf"\1 {MARK}"),
    Rule("cookie, header or setup code",
         re.compile(r"(swarm_license=)[^\s;\"']+"), rf"\1{MARK}"),
    Rule("private key in hexadecimal",  # PKCS#8, PKCS#1 and SEC 1, whose version comes first
         re.compile(r"30(?:[0-7][0-9a-f]|81[0-9a-f]{2}|82[0-9a-f]{4})02010[01](?:30|04|028)"
                    r"[0-9a-f]{24,}|6f70656e7373682d6b6579[0-9a-f]+", re.IGNORECASE), MARK),
    Rule("field", re.compile(
        r"(?P<before><(?P<name>[A-Za-z_][\w:.-]{0,80})>)[^<]{1,4000}(?P<after></(?P=name)>)"),
         _if_secret),
    Rule("field", re.compile(  # as compositions and Kubernetes have them
        r"(?P<before>\bname[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?P<name>[A-Za-z_][\w.-]{0,80})[\"']?"
        r",?\s{1,40}[\"']?value[\"']?\s{0,8}[:=]\s{0,8})[^\n]+(?P<after>)", re.IGNORECASE),
         _if_secret),
    Rule("option", re.compile(
        r"(?P<before>(?<!\S)(?:-u|--user|--proxy-user)[ =]{0,4}[\"']?)(?P<user>[^\s:\"'=]{1,80}):"
        r"(?P<password>[^\s\"']+)"), _if_password),
    Rule("option", re.compile(r"(\b(?:mysql|mariadb)\w*\b[^\n]{0,200}?\s-p)[^\s\"'-][^\s\"']*"),
         rf"\1{MARK}"),
    Rule("password in a sentence", re.compile(
        rf"(\b{_WORD}\s{{1,4}}(?:(?:is|was)\s{{1,4}})?)"
        r"(?:\"[^\"\n]{1,400}\"|'[^'\n]{1,400}'|`[^`\n]{1,400}`)", re.IGNORECASE), rf"\1{MARK}"),
    Rule("password in a sentence", re.compile(
        rf"(\b{_WORD}\s{{1,4}}(?:is|was)\s{{1,4}})(?=\S*\d)\S{{6,}}", re.IGNORECASE), rf"\1{MARK}"),
    Rule("password in a sentence", re.compile(  # .netrc
        r"(\blogin\s{1,40}\S{1,200}\s{1,40}password\s{1,40})\S+"), rf"\1{MARK}"),
)  # fmt: skip
