"""A node that its SN knows: registered, heard of every few seconds, registered anew if lost."""

import asyncio
import logging

from services.common import sn_api as api
from services.common.errors import NotFoundError, RemoteError
from services.common.ids import NodeId
from services.common.sn_client import SnClient

VERSION = "0.1.0"
"""Of the services; LIST NODES and the ledger hold it."""


class Presence:
    """A node's registration and heartbeats.

    Args:
        sn: state API.
        uid: the node's.
        me: what it says of itself.
        log: of the node.
        also: behind "registered as ... with the SN" in the log.
        endures: whether the node goes on where an SN is not well for longer than the client tries.
    """

    def __init__(
        self, sn: SnClient, uid: NodeId, me: api.NodeRegistration, log: logging.Logger,
        also: str = "", *, endures: bool = False,
    ) -> None:  # fmt: skip
        self._sn, self._uid, self._log, self._also, self._endures = sn, uid, log, also, endures
        self._registration = me
        self._heartbeat_s = 2.0
        self._generation = sn.generation
        """Of the certificate that the SN knows this node by."""

    async def register(self) -> None:
        """Tell the SN that this node is there.

        Raises:
            RemoteError: it does not answer.
            ProtocolError: it refuses.
        """
        generation = self._sn.generation
        answer = await self._sn.register(self._uid, self._registration)
        self._generation, self._heartbeat_s = generation, answer.heartbeat_s
        self._log.info("registered as %s with the SN%s", self._uid, self._also)

    async def register_again(self) -> None:
        """Register in mid-life. Raises what `register` does; no RemoteError if it endures."""
        try:
            await self.register()
        except RemoteError as exc:
            self._endure("not registered", exc)

    async def heartbeats(self) -> None:
        """Stay registered until cancelled. Raises what `register_again` does."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                if self._sn.generation != self._generation:
                    self._log.info("another certificate: registering again")
                    await self.register_again()
                await self._sn.alive(self._uid)
            except NotFoundError:
                self._log.warning("the SN does not know this node any more: registering again")
                await self.register_again()
            except RemoteError as exc:
                self._endure("no heartbeat", exc)

    def _endure(self, what: str, exc: RemoteError) -> None:
        if not self._endures:
            raise exc
        self._log.warning("%s: %s", what, exc)
