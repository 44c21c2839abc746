"""Who may do what: the caller's certificate, the uid it acts for, and refusals on the ledger."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, assert_never

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from services.common.errors import (
    BusyError,
    ChainUnavailableError,
    NotFoundError,
    ProtocolError,
)
from services.common.ids import ContractNameField, NodeId, NodeKind
from services.common.rest import Crowd, caller, while_there
from services.common.tls import PeerCertificate
from services.sn.adapters.admission import Admission
from services.sn.adapters.entry import Network
from services.sn.adapters.membership import Membership
from services.sn.adapters.projection import Projection
from services.sn.adapters.round_history import RoundHistory
from services.sn.adapters.tasks import TaskRunners, Tasks
from services.sn.adapters.trainings import Trainings
from services.sn.adapters.writer import Writer
from services.sn.core.allowance import Allowance
from services.sn.core.refusals import RefusalLimit
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.training import Training

log = logging.getLogger("swarm.api")

MEMBERS = (NodeKind.SN, NodeKind.SL, NodeKind.SWOP, NodeKind.SWCI)
"""Roles that may read what the swarm does."""


def member(who: Annotated[PeerCertificate, Depends(caller)]) -> PeerCertificate:
    """The certificate of a caller that is part of the swarm.

    Raises:
        ForbiddenError: it has none of the roles :data:`MEMBERS`.
    """
    who.require(*MEMBERS)
    return who


Who = Annotated[PeerCertificate, Depends(caller)]
"""The certificate of the caller."""
Member = Annotated[PeerCertificate, Depends(member)]
"""The same, of one that may read."""
NOBODY = "0" * 32
"""Stands for the peer in refusals of callers that are none."""
REFUSAL_EVERY = 10.0
"""Seconds between two entries on the ledger of the same refusal."""
MOST_REFUSALS = 20
"""Entries on the ledger in that time because of one certificate: nobody fills the chain so."""
WRITES_AT_ONCE = 1000
"""Writes of one certificate in a burst, where no contract's rules bound them: registrations, and
what SWOPs report, four times what 250 pairs that end at once make."""
WRITES_PER_SECOND = 1.0
"""The same from then on: about 2 kB of chain a second, whatever a node says."""
MOST_POLLS = 128
"""Long polls of one certificate at the same time; SLs of a host share one."""
LONGEST_WAIT = 60.0
"""Seconds that a long poll may last."""

Subject = Training | TaskRunner | str
"""What a write is about; a text names a task, or a taskrunner that does not exist yet."""
Rpc = Callable[[str, Sequence[Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Sn:
    """The parts of an SN that its API serves."""

    projection: Projection
    writer: Writer
    trainings: Trainings
    tasks: Tasks
    runners: TaskRunners
    membership: Membership
    rpc: Rpc
    """Answers read-only JSON-RPC."""
    status: Callable[[], str]
    """What the chain does or waits for."""
    network: Callable[[], Network]
    """What another SN needs to join."""
    admit: Callable[[Admission, PeerCertificate], Awaitable[None]]
    """Lets another SN's account write."""
    rounds: RoundHistory
    left_s: Callable[[], float] = lambda: math.inf
    """Seconds until this SN's certificate ends."""
    limit: RefusalLimit = field(default_factory=lambda: RefusalLimit(REFUSAL_EVERY, MOST_REFUSALS))
    writes: Allowance = field(default_factory=lambda: Allowance(WRITES_AT_ONCE, WRITES_PER_SECOND))
    polls: Crowd = field(default_factory=lambda: Crowd(MOST_POLLS, "long polls"))

    def as_node(self, kind: NodeKind, uid: NodeId, who: PeerCertificate) -> None:
        """Check that the caller is a node of this kind and acts as itself.

        Raises:
            ForbiddenError: it is not, or the uid is another node's.
            NotFoundError: nobody registered under this uid.
        """
        who.require(kind)
        self.membership.noticed(self.membership.require_owner(uid, who))

    def spend_write(self, who: PeerCertificate) -> None:
        """Count a write that the contracts' own rules do not bound.

        Raises:
            BusyError: its certificate has written too much of late.
        """
        if not self.writes.take(who.fingerprint, asyncio.get_running_loop().time()):
            raise BusyError(
                f"your certificate ({who.common_name}) has written {WRITES_AT_ONCE} times of "
                f"late: go on with {WRITES_PER_SECOND:g} write a second",
                "too-many-writes",
            )

    @asynccontextmanager
    async def recording(
        self, subject: Subject, uid: str, who: PeerCertificate
    ) -> AsyncIterator[None]:
        """Put a refusal of what happens inside on the ledger of its subject, and raise it on."""
        try:
            yield
        except (ProtocolError, NotFoundError, BusyError) as exc:
            now = asyncio.get_running_loop().time()
            key = (getattr(subject, "name", str(subject)), uid, exc.code, who.fingerprint)
            if self.limit.admits(key, who.fingerprint, now):
                await self._record(subject, uid, exc)
            raise

    async def _record(
        self, subject: Subject, uid: str, exc: ProtocolError | NotFoundError | BusyError
    ) -> None:
        told = uid, exc.code, str(exc)[:500]
        try:
            match subject:
                case Training():
                    await self.trainings.refused(subject, *told)
                case TaskRunner():
                    await self.runners.refused(subject, *told)
                case str():
                    await self.tasks.refused(subject, *told)
                case _:
                    assert_never(subject)
        except ChainUnavailableError as unavailable:
            log.warning("refusal not on the ledger: %s", unavailable)


def by(who: PeerCertificate, reason: str) -> str:
    """Who resets something, and why, as the ledger has it."""
    return f"{who.common_name}: {reason}" if reason else who.common_name


def add_events(
    sn: Sn, routes: APIRouter, watch: Callable[[str, str, float], Awaitable[BaseModel]]
) -> None:
    """Add ``GET /{name}/events``, a long poll.

    Args:
        sn: counts the polls of each certificate.
        routes: to add it to.
        watch: answers the state of ``name`` once its cursor is another, or after so many seconds.
    """

    @routes.get("/{name}/events")
    async def events(
        name: ContractNameField,
        who: Member,
        request: Request,
        after: Annotated[str, Query(max_length=100)] = "",
        wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0,
    ) -> Response:
        with sn.polls.one_more(who.fingerprint):
            state = watch(name, after, min(wait, LONGEST_WAIT))
            return as_json(await while_there(request, state))


def as_json(body: BaseModel, status: int = 200) -> Response:
    """A model as the answer, without checking again what is checked already."""
    return Response(body.model_dump_json(), status, media_type="application/json")
