"""What one operator session knows: its contexts, its folder, its switches."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.common.errors import ConfigError, NotFoundError
from services.common.ids import NodeKind
from services.common.sn_api import NodeInfo
from services.common.sn_client import SnClient
from services.swci.adapters.connection import Connect, Swarm
from services.swci.core.commands import Address
from services.swci.core.reply import printable
from services.swci.settings import SwciSettings

MARK = "#"

Progress = Callable[[str], None]
"""Is told lines while a command still runs (they are not in its reply again), and ``#`` once in a
while, which belongs behind the ``#`` before it."""


@dataclass
class Context:
    """A name for an SN."""

    name: str
    address: Address
    is_service: bool
    swarm: Swarm
    env: dict[str, str] = field(default_factory=dict)


class Talk:
    """What a command says while it runs.

    Args:
        progress: hears it at once; None: it is kept for the reply.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.kept: list[str] = []

    def line(self, text: str) -> None:
        """Say a line."""
        if self._progress is None:
            self.kept.append(printable(text))
        else:
            self._progress(printable(text))

    def mark(self) -> None:
        """Show that time passes."""
        if self._progress is not None:
            self._progress(MARK)


class Session:
    """One operator session.

    Args:
        settings: limits of the WAIT commands, and the folder to start in.
        connect: makes the clients of SNs.
    """

    def __init__(self, settings: SwciSettings, connect: Connect) -> None:
        self.settings = settings
        self.connect = connect
        self.contexts: dict[str, Context] = {}
        self.active = ""
        """Name of the default context; empty before the first SWITCH CONTEXT."""
        self.cwd = settings.swci_usr_dir if settings.swci_usr_dir.is_dir() else Path.cwd()
        self.exit_on_failure = False
        self.finished = False

    def context(self, name: str = "") -> Context:
        """The context of that name; the default one without a name.

        Raises:
            NotFoundError: there is none.
            ConfigError: there is no default context yet.
        """
        wanted = name or self.active
        if not wanted:
            raise ConfigError(
                "no context is active: CREATE CONTEXT <name> WITH IP <ip>, then "
                "SWITCH CONTEXT <name>",
                "no-context",
            )
        if wanted not in self.contexts:
            near = get_close_matches(wanted, self.contexts, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise NotFoundError(f"no context {wanted}: {hint}LIST CONTEXTS shows those there are")
        return self.contexts[wanted]

    @property
    def swarm(self) -> Swarm:
        """The clients of the default context; raises as :meth:`context` does."""
        return self.context().swarm

    @property
    def sn(self) -> SnClient:
        """The client of the default context's SNs."""
        return self.swarm.sn

    async def close(self) -> None:
        """Close the connections."""
        for context in self.contexts.values():
            await context.swarm.sn.close()


def learn_sns(sn: SnClient, nodes: list[NodeInfo]) -> None:
    """Let a client know of the other SNs, so that it goes on with them when its own one dies."""
    sn.sns.extend(
        node.endpoint
        for node in nodes
        if node.kind is NodeKind.SN and node.alive and node.endpoint not in sn.sns
    )


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` whole, also where its operator goes away or presses Ctrl-C in the middle.

    Cancelling it a second time does not wait for its end.
    """
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        if not doing.cancelled():
            doing.exception()  # nobody is there any more to be told
        raise


def new_request() -> str:
    """A request id: sending the same request once more is harmless."""
    return uuid4().hex
