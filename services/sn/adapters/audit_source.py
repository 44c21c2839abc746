"""Where an audit reads: JSON-RPC of SNs, in batches. What comes is judged elsewhere."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from services.common.errors import ConfigError, RemoteError, SnUnavailableError
from services.common.nesting import is_too_deep
from services.common.sn_api import RoundRecord, RoundsPage
from services.common.tls import tls_refusal
from services.sn.adapters.audit_headers import Json

BATCH = 50
"""Calls in one request; an SN takes no more."""
BLOCKS = BATCH // 3
"""Blocks in one request: each takes three calls."""
LOG_BLOCKS = 2_000
"""Blocks that one request for events spans at first."""
ROUNDS = 200
"""Rounds in one request."""
LARGEST = 64 << 20
"""Bytes of an answer that are read."""
TRIES = 3
PAUSE_S = 1.0
CONNECT_S, ANSWER_S = 5.0, 60.0
METHOD_NOT_FOUND, TOO_MUCH = -32601, -32005

Call = tuple[str, Sequence[object]]
Answered = tuple[Json | None, Sequence[Json] | None, object]
"""A block, the receipts of its transactions, and the votes that made it final (SNs only)."""


class RpcError(RemoteError):
    """The endpoint answered a call with an error."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block that counts."""

    number: int
    hash: str
    """``0x`` hex."""


class Endpoint:
    """One SN, or any Ethereum client.

    Args:
        name: ``host:port`` of an SN's API, or the URL of a client's JSON-RPC.
        http: carries the requests.
    """

    def __init__(self, name: str, http: httpx.AsyncClient) -> None:
        self.name = name
        self.is_sn = "://" not in name
        self._http = http
        self._url = f"https://{name}/eth" if self.is_sn else name
        self._whole_receipts = True

    # --- blocks

    async def head(self, tag: str) -> Head:
        """The newest block, ``latest`` or ``finalized``."""
        found = await self.call("eth_getBlockByNumber", tag, False)
        try:
            return Head(int(found["number"], 16), str(found["hash"]).lower())
        except (TypeError, KeyError, ValueError) as exc:
            raise RemoteError(f"{self.name} has no {tag} block") from exc

    async def headers(self, first: int, last: int) -> list[Json | None]:
        """The blocks ``first`` to ``last``, without their bodies; None where there is none."""
        calls = [("eth_getBlockByNumber", (hex(n), False)) for n in range(first, last + 1)]
        return await self.batch(calls)

    async def blocks(self, first: int, last: int) -> list[Answered]:
        """The blocks ``first`` to ``last``."""
        numbers = range(first, last + 1)
        if self.is_sn:
            calls: list[Call] = [("eth_getBlockByNumber", (hex(n), True)) for n in numbers]
            calls += [("eth_getBlockReceipts", (hex(n),)) for n in numbers]
            calls += [("swarm_getCertificate", (hex(n),)) for n in numbers]
            found, many = await self.batch(calls), len(numbers)
            parts = found[:many], found[many : 2 * many], found[2 * many :]
            return list(zip(*parts, strict=True))
        return [(view, receipts, None) for view, receipts in await self._foreign(numbers)]

    async def _foreign(self, numbers: range) -> list[tuple[Json | None, Sequence[Json] | None]]:
        """Blocks and receipts of another client, which may not give receipts by block."""
        if self._whole_receipts:
            calls: list[Call] = [("eth_getBlockByNumber", (hex(n), True)) for n in numbers]
            calls += [("eth_getBlockReceipts", (hex(n),)) for n in numbers]
            try:
                found = await self.batch(calls)
            except RpcError as exc:
                if exc.number != METHOD_NOT_FOUND:
                    raise
                self._whole_receipts = False
            else:
                return list(zip(found[: len(numbers)], found[len(numbers) :], strict=True))
        views = await self.batch([("eth_getBlockByNumber", (hex(n), True)) for n in numbers])
        return [(view, await self._receipts(view)) for view in views]

    async def _receipts(self, view: Json | None) -> list[Json] | None:
        sent = view.get("transactions") if isinstance(view, dict) else None
        if not isinstance(sent, list):
            return None
        hashes = [item.get("hash") for item in sent if isinstance(item, dict)]
        return await self.batch([("eth_getTransactionReceipt", (item,)) for item in hashes])

    async def logs(self, first: int, last: int, addresses: Sequence[str]) -> list[Json]:
        """Events of these contracts; asks for fewer blocks where the endpoint wants that."""
        found: list[Json] = []
        for start in range(first, last + 1, LOG_BLOCKS):
            found += await self._logs(start, min(start + LOG_BLOCKS - 1, last), addresses)
        return found

    async def _logs(self, first: int, last: int, addresses: Sequence[str]) -> list[Json]:
        asked = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses)}
        try:
            found: list[Json] = await self.call("eth_getLogs", asked)
        except RpcError:
            if first == last:
                raise
            middle = (first + last) // 2
            return [
                *await self._logs(first, middle, addresses),
                *await self._logs(middle + 1, last, addresses),
            ]
        return found

    # --- calls

    async def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """The result of one call.

        Raises:
            SnUnavailableError: nobody answers.
            ConfigError: our certificate may not ask.
            RpcError: the answer is an error.
        """
        return (await self.batch([(method, params)]))[0]

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results of some calls, in their order; raises as :meth:`call` does."""
        results: list[Any] = []
        for start in range(0, len(calls), BATCH):
            results += await self._some(calls[start : start + BATCH])
        return results

    async def _some(self, calls: Sequence[Call]) -> list[Any]:
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
            for number, (method, params) in enumerate(calls)
        ]
        answers = await self._post(asked if len(asked) > 1 else asked[0])
        listed = answers if isinstance(answers, list) else [answers]
        by_id = {str(item.get("id")): item for item in listed if isinstance(item, dict)}
        return [
            await self._result(calls, number, by_id.get(str(number)))
            for number in range(len(calls))
        ]

    async def _result(self, calls: Sequence[Call], number: int, answer: Json | None) -> Any:  # noqa: ANN401
        method, params = calls[number]
        error = {"message": "no answer"} if answer is None else answer.get("error")
        if error is None:
            return (answer or {}).get("result")
        code = error.get("code") if isinstance(error, dict) else None
        if code == TOO_MUCH and len(calls) > 1:
            return await self.call(method, *params)
        words = error.get("message") if isinstance(error, dict) else error
        raise RpcError(f"{self.name} answers {method} with {words!r}", code or 0)

    async def _post(self, body: object) -> object:
        content = json.dumps(body).encode()
        for left in reversed(range(TRIES)):
            try:
                return self._parsed(await self._send("POST", self._url, content))
            except SnUnavailableError:
                if not left:
                    raise
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    async def _send(self, method: str, url: str, content: bytes | None = None) -> bytes:
        headers = {"content-type": "application/json"} if content else {}
        body = bytearray()
        try:
            async with self._http.stream(method, url, content=content, headers=headers) as answer:
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > LARGEST:
                        raise RemoteError(f"{self.name} answers with over {LARGEST >> 20} MiB")
        except (httpx.HTTPError, OSError) as exc:
            why = tls_refusal(exc) or str(exc) or type(exc).__name__
            raise SnUnavailableError(f"{self.name} does not answer: {why}") from exc
        if answer.status_code == 403:
            raise ConfigError(f"{self.name} refuses our certificate: {_detail(bytes(body))}")
        if not answer.is_success:
            raise SnUnavailableError(
                f"{self.name} answers {answer.status_code}: {_detail(bytes(body))}"
            )
        return bytes(body)

    def _parsed(self, body: bytes) -> object:
        try:
            if not is_too_deep(body):
                found: object = json.loads(body)
                return found
        except ValueError:
            pass
        raise RemoteError(f"{self.name} answers with something else than JSON-RPC")

    # --- the state API

    async def rounds(self, contract: str, generation: int) -> list[RoundRecord] | None:
        """The rounds that the SN's state API tells of a generation; None where it tells nothing."""
        path = f"/v1/contracts/{quote(contract, safe='')}/rounds"
        found: list[RoundRecord] = []
        after: int | None = 0
        try:
            while after is not None:
                asked = f"?after={after}&limit={ROUNDS}&generation={generation}"
                body = await self._send("GET", f"https://{self.name}{path}{asked}")
                page = RoundsPage.model_validate_json(body)
                found += page.rounds
                after = page.more_after if (page.more_after or 0) > after else None
        except (RemoteError, ConfigError, ValidationError):
            return None
        return found


def _detail(body: bytes) -> str:
    """What an error answer says."""
    try:
        return str(json.loads(body)["detail"]) if not is_too_deep(body) else ""
    except (ValueError, KeyError, TypeError):
        return body[:80].decode("utf-8", "replace")
