"""Names that exist, for completion; an SN that does not answer soon is not waited for."""

import asyncio
import os
from collections.abc import Iterable

from services.common.errors import SwarmError
from services.common.ids import NodeKind
from services.swci.adapters.session import Session
from services.swci.core.arguments import Source

ASK_SECONDS = 1.0
MOST_NAMES = 500


async def known_names(session: Session, sources: Iterable[Source]) -> dict[Source, list[str]]:
    """Names of these kinds, as far as they are to be had."""
    found = {}
    for source in sources:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                found[source] = (await _names(session, source))[:MOST_NAMES]
        except (SwarmError, OSError, TimeoutError):
            found[source] = []
    return found


async def _names(session: Session, source: Source) -> list[str]:
    match source:
        case Source.CONTEXTS:
            return list(session.contexts)
        case Source.CONTRACTS:
            return [row.name for row in await session.sn.contracts()]
        case Source.TASKS:
            return [row.name for row in await session.swarm.tasks.tasks()]
        case Source.TASKRUNNERS:
            return [row.name for row in await session.swarm.tasks.runners()]
        case Source.SWOPS:
            nodes = await session.sn.nodes()
            return [node.uid for node in nodes if node.kind is NodeKind.SWOP and node.alive]
        case Source.FILES:
            return await asyncio.to_thread(os.listdir, session.cwd)
