"""Who holds the certificate that each SN's account was last seen with; known over restarts."""

import json
from collections import Counter

from services.common.errors import ForbiddenError
from services.common.tls import Identity

MOST_ACCOUNTS = 16
"""Accounts that one holder may come with: a new one each time an SN lost its data folder."""


class Holders:
    """See the module.

    Args:
        identity: of this SN; says which CAs it trusts.
        me: this SN's account.
    """

    def __init__(self, identity: Identity, me: bytes) -> None:
        self._identity, self._me = identity, me
        self._mine = {me: identity.holder_of(identity.der())}
        self.known = dict(self._mine)
        """By account: 64 hex digits, see :meth:`Identity.holder_of`."""

    def renewed(self) -> None:
        """Our own certificate may be another, and of another CA."""
        self._mine = {self._me: self._identity.holder_of(self._identity.der())}
        self.known |= self._mine

    def load(self, text: bytes | None) -> None:
        """Recall what :meth:`as_text` gave."""
        kept: dict[str, str] = json.loads(text) if text else {}
        self.known = {bytes.fromhex(a): holder for a, holder in kept.items()} | self._mine

    def as_text(self) -> bytes:
        """To be kept."""
        return json.dumps({account.hex(): h for account, h in self.known.items()}).encode()

    def remember(self, account: bytes, der: bytes) -> bool:
        """Note whose account this is; whether that was news.

        Args:
            account: proven by the SN that showed the certificate.
            der: the certificate.

        Raises:
            ForbiddenError: this holder came with too many accounts.
        """
        holder = self._identity.holder_of(der)
        if self.known.get(account) == holder:
            return False
        if Counter(self.known.values())[holder] >= MOST_ACCOUNTS:
            raise ForbiddenError(
                f"{MOST_ACCOUNTS} accounts came with a certificate of this subject already: "
                "an SN keeps its account in its data folder (SN_DATA_DIR), which must not be lost"
            )
        self.known[account] = holder
        return True
