"""Keeps a running node's identity present, and says in time that its certificate ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.spiffe_source import LOOK_AGAIN_S, SpiffeSource, Waiting
from services.common.tls import (
    EXPIRY_NOTICE,
    Identity,
    expiry_notice,
    load_identity,
    notice_span,
    usable,
)

log = logging.getLogger("swarm.tls")

WATCH_S = 5.0
"""Seconds between two looks at the identity while no connection is made."""
LAST_DAY = timedelta(days=1)
SHORTEST_PAUSE = timedelta(minutes=5)
"""Between two warnings of the end of a certificate that lives for hours only."""


@asynccontextmanager
async def kept_identity(settings: NodeSettings, role: NodeKind) -> AsyncIterator[Identity]:
    """A node's identity, kept present while the body runs; warns before its certificate ends.

    Raises:
        ConfigError: what :func:`load_identity` says; RemoteError, too.
    """
    identity = await _opened(settings, role)
    watching = asyncio.create_task(_watch(identity, _remind(identity, None)), name="identity")
    try:
        yield identity
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        identity.close()


async def _opened(settings: NodeSettings, role: NodeKind) -> Identity:
    """The identity; while a Workload API is waited for the process can be stopped."""
    if not settings.swarm_spiffe_workload_api_socket_path:
        return load_identity(settings, role)
    source = SpiffeSource(settings, role)
    try:
        waiting = Waiting(source, settings.swarm_start_patience)
        while (material := waiting.look()) is None:  # noqa: ASYNC110 - it comes from a thread
            await asyncio.sleep(LOOK_AGAIN_S)
    except asyncio.CancelledError:
        source.close()
        raise
    said = material.certificate()
    log.info("identity: %s, valid until %s UTC", said.common_name,
             f"{said.not_after:%Y-%m-%d %H:%M}")  # fmt: skip
    return usable(Identity(material, source))


async def renewals(identity: Identity) -> AsyncIterator[int]:
    """Each new generation of an identity after its first, once it is there."""
    seen = 0
    while True:
        if identity.generation != seen:
            seen = identity.generation
            yield seen
        await asyncio.sleep(WATCH_S / 5)


async def _watch(identity: Identity, said: datetime | None) -> None:
    while True:
        await asyncio.sleep(WATCH_S)
        await asyncio.to_thread(identity.now)
        said = _remind(identity, said)


def _remind(identity: Identity, said: datetime | None) -> datetime | None:
    """Warn of the certificate's end, if that is due; when it was done last."""
    now, end = datetime.now(UTC), identity.certificate.not_after
    notice = expiry_notice(identity, now)
    if notice is None:
        return None
    ended_since = said is not None and said <= end < now
    pause = min(notice_pause(end - now), max(notice_span(identity) / 4, SHORTEST_PAUSE))
    if said is not None and now - said < pause and not ended_since:
        return said
    log.log(logging.ERROR if now > end else logging.WARNING, "%s", notice)
    return now


def notice_pause(left: timedelta) -> timedelta:
    """How long after a warning the next one is due."""
    if left > EXPIRY_NOTICE:
        return timedelta(0)  # the next one is a new certificate's first
    return timedelta(hours=1) if left <= LAST_DAY else timedelta(days=1)
