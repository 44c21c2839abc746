"""When certificates end, read from their DER form with nothing but the standard library; pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", re.DOTALL
)
_UTC_TIME, _COMMON_NAME = 0x17, bytes.fromhex("0603550403")
SOON = timedelta(days=14)


@dataclass(frozen=True)
class Validity:
    """Who a certificate is for, and from when until when."""

    common_name: str
    not_before: datetime
    not_after: datetime

    def verdict(self, now: datetime) -> str:
        """What to do about it; empty where nothing."""
        if now > self.not_after:
            return f"expired on {self.not_after:%Y-%m-%d %H:%M} UTC: renew it"
        if now < self.not_before:
            return f"not valid before {self.not_before:%Y-%m-%d %H:%M} UTC: is the clock right?"
        left = self.not_after - now
        return f"expires in {left.days} days: renew it" if left < SOON else ""


def certificates(pem: bytes) -> list[Validity]:
    """The certificates of a PEM file; keys and what cannot be read are passed over."""
    found = []
    for match in _PEM.finditer(pem):
        try:
            found.append(_read(base64.b64decode(match[1])))
        except (ValueError, IndexError):
            continue
    return found


def _read(der: bytes) -> Validity:
    body = _inside(_inside(_inside(der)[0][1])[0][1])  # tbsCertificate's parts
    if body[0][0] == 0xA0:  # the version
        body = body[1:]
    validity, subject = body[3][1], body[4][1]
    begin, end = (_time(*each) for each in _inside(validity)[:2])
    return Validity(_name(subject), begin, end)


def _name(subject: bytes) -> str:
    at = subject.find(_COMMON_NAME)
    if at < 0:
        return ""
    return _inside(subject[at + len(_COMMON_NAME) :])[0][1].decode("utf-8", "replace")


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _inside(der: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of what stands side by side."""
    parts, at = [], 0
    while at + 1 < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        parts.append((tag, der[at : at + length]))
        at += length
    return parts
