"""SNs that are played back from a recording, so that a test can let them lie in one place."""

import asyncio
import copy
import json
from contextlib import asynccontextmanager

import httpx

from services.common import sn_api as api
from services.common.ids import NodeKind
from services.sn import history
from tests.component.sn.test_rounds import of_term


class Recorder(httpx.AsyncBaseTransport):
    """Passes requests on and keeps the answers."""

    def __init__(self, identity):
        self.inner = httpx.AsyncHTTPTransport(verify=identity.client_context())
        self.answers = {}

    async def handle_async_request(self, request):
        answer = await self.inner.handle_async_request(request)
        body = await answer.aread()
        if request.method == "GET":
            self.answers[request.url.path] = json.loads(body)
            return httpx.Response(answer.status_code, content=body)
        asked, said = json.loads(request.content), json.loads(body)
        pairs = zip(asked, said, strict=True) if isinstance(asked, list) else [(asked, said)]
        for call, result in pairs:
            self.answers[key(call["method"], *call["params"])] = result["result"]
        return httpx.Response(answer.status_code, content=body)

    async def aclose(self):
        await self.inner.aclose()


def key(method, *params):
    return json.dumps([method, *params])


class Tape:
    """What one SN answers; change it to make it lie."""

    def __init__(self, answers):
        self.answers = copy.deepcopy(answers)
        self.unknown = set()
        """Methods that this SN does not have."""

    def block(self, number, *, full=True):
        return self.answers[key("eth_getBlockByNumber", hex(number), full)]

    def receipts(self, number):
        return self.answers[key("eth_getBlockReceipts", hex(number))]

    def certificate(self, number):
        return self.answers[key("swarm_getCertificate", hex(number))]

    @property
    def head(self):
        return int(self.answers[key("eth_getBlockByNumber", "finalized", False)]["number"], 16)

    def answer(self, call):
        if call["method"] in self.unknown:
            error = {"code": -32601, "message": "no such method"}
            return {"jsonrpc": "2.0", "id": call["id"], "error": error}
        asked = key(call["method"], *call["params"])
        if asked not in self.answers and call["params"][1:] == [False]:  # another SN's headers
            asked = key(call["method"], call["params"][0], True)
        return {"jsonrpc": "2.0", "id": call["id"], "result": self.answers.get(asked)}


class Player(httpx.AsyncBaseTransport):
    """Answers from tapes, by host."""

    def __init__(self, tapes):
        self.tapes = tapes

    async def handle_async_request(self, request):
        tape = self.tapes[request.url.host]
        if request.method == "GET":
            return httpx.Response(200, json=tape.answers[request.url.path])
        asked = json.loads(request.content)
        if isinstance(asked, list):
            return httpx.Response(200, json=[tape.answer(call) for call in asked])
        return httpx.Response(200, json=tape.answer(asked))


async def audited(transport, *arguments):
    """What the command finds, without its process."""
    options = history.parse(arguments)
    async with httpx.AsyncClient(transport=transport) as http:
        return await history.audit(options, http)


async def play(tapes, *arguments):
    """An audit of SNs called ``a``, ``b``, ..."""
    named = dict(zip("abc", tapes, strict=False))
    sns = [item for name in named for item in ("--sn", f"{name}:1")]
    return await audited(Player(named), *sns, *arguments)


async def some_rounds(swarm, sn, count):
    """Two peers and this many rounds; the last one with a drop and a failover before it."""
    peers = [await swarm.peer(sn, name) for name in "12"]
    await asyncio.gather(*(peer.enrol(min_peers=1) for peer in peers))
    by_uid = {peer.uid: peer for peer in peers}
    base = "0" * 64
    for number in range(1, count + 1):
        for peer, digit in zip(peers, "ab", strict=True):
            state = await peer.check_in(number, base, digit)
        leader = by_uid[state.view.leader]
        (other,) = [peer for peer in peers if peer is not leader]
        if number == count:
            await leader.write("leave", api.Leave(generation=1, reason="asked to"))
            leader, other = other, leader
            state = await leader.state()
        state = await leader.write("freeze", of_term(state))
        base = f"{number:064x}"
        await leader.write("publish", publish_of(state, base))
    return peers


def publish_of(state, digest):
    contributors = sorted(peer.uid for peer in state.view.peers if peer.participant)
    return api.Publish(
        generation=1, round=state.view.round, term=state.view.term, digest=digest, size=1000,
        contributors=contributors,
    )  # fmt: skip


@asynccontextmanager
async def recording(swarm, sn):
    """A recorder with an operator's certificate, for one SN."""
    recorder = Recorder(swarm.pki.identity(NodeKind.SWCI))
    try:
        yield recorder
    finally:
        await recorder.aclose()
