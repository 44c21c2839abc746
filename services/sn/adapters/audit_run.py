"""An audit over the network: reads one SN's chain whole, and beside it the headers of others."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from services.common.errors import NotFoundError, RemoteError, SwarmError
from services.common.sn_api import RoundRecord
from services.sn.adapters import abi
from services.sn.adapters.audit import Auditor, check_summary
from services.sn.adapters.audit_headers import Json, read_header, take_bytes
from services.sn.adapters.audit_roots import read_block
from services.sn.adapters.audit_source import BLOCKS, Answered, Endpoint
from services.sn.core import ledger
from services.sn.core.training import Training
from services.sn.core.verdict import Violation

Tell = Callable[[int, int], None]
"""Told how many blocks of how many are verified."""

CATCH_UPS = 5
"""How often to go on with the blocks that came while others were verified."""
LOOKS, LOOK_S = 20, 0.5
"""How often, and after which pause, to look for what an SN that lags behind does not have yet."""


async def lookup(sn: Endpoint, registry: str, name: str, tag: str) -> str:
    """Address of the training contract of that name, as the SN says.

    Raises:
        NotFoundError: the SN says that there is none.
    """
    data = f"0x{abi.abi(abi.REGISTRY).call('lookup', name).hex()}"
    answer = await sn.call("eth_call", {"to": registry, "data": data}, tag)
    try:
        kind, at, _ = decode(["uint8", "address", "uint64"], take_bytes({"": answer}, "", 0))
    except (DecodingError, Violation) as exc:
        raise NotFoundError(f"{sn.name} knows no SwarmRegistry at {registry}") from exc
    if kind != ledger.TRAINING_KIND:
        raise NotFoundError(f"{sn.name} knows no training contract named {name!r}")
    return str(at)


@dataclass(frozen=True, slots=True)
class _Span:
    """Some blocks that follow each other, as the SNs gave them."""

    first: int
    blocks: list[Answered]
    headers: dict[str, list[Json | None]]
    """Of the other SNs, by name."""


class Audit:
    """Verifies the chain of the first SN, and that the others hold the same.

    Args:
        sns: one or more.
        auditor: new.
        tell: of the progress.
    """

    def __init__(self, sns: Sequence[Endpoint], auditor: Auditor, tell: Tell) -> None:
        self._first, *self._others = sns
        self._auditor = auditor
        self._tell = tell
        self._behind: dict[str, int] = {}
        """Other SNs that lack the newest blocks, and how many blocks they have."""

    async def run(self, contract: str) -> Training:
        """Verify everything; return the contract as its events tell it.

        Raises:
            Violation: something is not what it claims to be.
            NotFoundError: there is no such contract.
            RemoteError: an SN does not answer, or its chain changed under us.
        """
        await self._stream(0)
        tag = "finalized" if self._auditor.is_embedded else "latest"
        await lookup(self._first, self._auditor.events.registry, contract, tag)
        head = await self._first.head(tag)
        for _ in range(CATCH_UPS):
            await self._up_to(head.number, head.hash)
            known, head = head, await self._first.head(tag)
            if head.number <= known.number:
                break
        training = self._auditor.finish()
        await self._compare_summary(training)
        await self._compare_others(training)
        return training

    # --- blocks

    async def _up_to(self, number: int, block_hash: str) -> None:
        """Verify the chain as far as this block, and that it ends with it."""
        try:
            await self._stream(number)
            self._require_head(number, block_hash)
        except Violation as exc:
            now = await self._first.call("eth_getBlockByNumber", hex(number), False)
            if now is not None and now.get("hash") != block_hash:
                raise RemoteError(
                    f"the chain of {self._first.name} changed while it was read: run it again"
                ) from exc
            raise

    def _require_head(self, number: int, block_hash: str) -> None:
        verdict = self._auditor.verdict
        if verdict.head == number and verdict.head_hash != block_hash:
            raise Violation(
                number, "it is not the block that was named as newest", verdict.head_hash,
                block_hash,
            )  # fmt: skip

    async def _stream(self, last: int) -> None:
        """Verify the blocks up to ``last``; the next ones are fetched meanwhile."""
        fetching: asyncio.Task[_Span] | None = None
        try:
            for first in range(self._auditor.verdict.blocks, last + 1, BLOCKS):
                fetched = await (fetching or self._fetch(first, last))
                following = first + BLOCKS
                fetching = None
                if following <= last:
                    fetching = asyncio.create_task(self._fetch(following, last))
                await asyncio.to_thread(self._verify, fetched)
                self._tell(self._auditor.verdict.blocks, last + 1)
        finally:
            if fetching is not None:
                fetching.cancel()
                with suppress(asyncio.CancelledError, SwarmError):
                    await fetching

    async def _fetch(self, first: int, last: int) -> _Span:
        last = min(first + BLOCKS - 1, last)
        others = [sn for sn in self._others if sn.name not in self._behind]
        blocks, headers = await asyncio.gather(
            self._first.blocks(first, last),
            asyncio.gather(*(self._headers(sn, first, last) for sn in others)),
        )
        return _Span(first, blocks, dict(zip((sn.name for sn in others), headers, strict=True)))

    async def _headers(self, sn: Endpoint, first: int, last: int) -> list[Json | None]:
        """Headers of another SN; waits a little where it lacks the newest ones."""
        found = await sn.headers(first, last)
        for _ in range(LOOKS):
            if None not in found:
                return found
            await asyncio.sleep(LOOK_S)
            found = await sn.headers(first, last)
        return await self._without_newest(sn, first, found)

    async def _without_newest(
        self, sn: Endpoint, first: int, found: list[Json | None]
    ) -> list[Json | None]:
        missing = first + found.index(None)
        head = await sn.head("latest")
        if head.number > missing:
            raise Violation(
                missing,
                f"{sn.name} lacks the block",
                "nothing",
                f"one below its head {head.number}",
            )
        self._behind[sn.name] = missing
        return found[: missing - first]

    def _verify(self, span: _Span) -> None:
        """Runs on a thread, so that the next blocks arrive meanwhile."""
        for place, (view, receipts, certificate) in enumerate(span.blocks):
            number = span.first + place
            self._auditor.add(read_block(number, view, receipts), certificate)
            for name, headers in span.headers.items():
                if place < len(headers):
                    self._compare(name, headers[place], number)

    def _compare(self, name: str, view: Json | None, number: int) -> None:
        try:
            theirs = f"0x{read_header(view, number).hash.hex()}"
        except Violation as exc:
            raise Violation(number, f"of {name}: {exc.what}", exc.found, exc.expected) from exc
        ours = self._auditor.verdict.head_hash
        if theirs != ours:
            raise Violation(
                number, f"{name} holds another block than {self._first.name}", theirs, ours
            )

    # --- what the SNs make of it

    async def _compare_summary(self, training: Training) -> None:
        call = {"to": training.address, "data": f"0x{abi.abi(abi.TRAINING).call('summary').hex()}"}
        number = self._auditor.verdict.head
        answer = await self._first.call("eth_call", call, hex(number))
        check_summary(training, take_bytes({"summary": answer}, "summary", number), number)

    async def _compare_others(self, training: Training) -> None:
        verdict = self._auditor.verdict
        for sn in (self._first, *self._others):
            if sn.name in self._behind:
                verdict.not_checked.append(
                    f"{sn.name} holds only the first {self._behind[sn.name]:,} blocks so far"
                )
                continue
            verdict.same_on.append(sn.name)
            if sn.is_sn and not await self._tells_the_same(sn, training.name):
                verdict.not_checked.append(f"the rounds that {sn.name} tells could not be compared")

    async def _tells_the_same(self, sn: Endpoint, name: str) -> bool:
        """Whether the state API's rounds could be compared; raises where they differ."""
        chronicle = self._auditor.events.chronicle
        assert chronicle is not None, "finish() requires one"
        ours, theirs = chronicle.rounds, list[RoundRecord]()
        for _ in range(LOOKS):
            told = await sn.rounds(name, chronicle.training.generation)
            if told is None:
                return False
            theirs = [item for item in told if item.block <= self._auditor.verdict.head]
            if len(theirs) >= len(ours):
                _compare_rounds(sn.name, theirs, ours)
                return True
            await asyncio.sleep(LOOK_S)
        record = ours[len(theirs)]
        raise Violation(record.block, f"the state API of {sn.name} lacks round {record.round}")


def _compare_rounds(name: str, theirs: list[RoundRecord], ours: list[RoundRecord]) -> None:
    if len(theirs) > len(ours):
        extra = theirs[len(ours)]
        raise Violation(extra.block, f"the state API of {name} tells a round too many", extra.round)
    for found, expected in zip(theirs, ours, strict=True):
        if found != expected:
            fields = [
                k for k in RoundRecord.model_fields if getattr(found, k) != getattr(expected, k)
            ]
            raise Violation(
                expected.block,
                f"the state API of {name} tells round {expected.round} differently "
                f"({', '.join(fields)})",
                getattr(found, fields[0]), getattr(expected, fields[0]),
            )  # fmt: skip
