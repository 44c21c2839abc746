"""Several SNs in one process, over real WebSockets with mutual TLS."""

import asyncio
import shutil
import time
from contextlib import suppress

import pytest
from eth_keys.datatypes import PrivateKey
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from services.common.errors import ForbiddenError
from services.common.ids import NodeKind
from services.sn.adapters import p2p_link
from services.sn.adapters.p2p_link import Credentials
from services.sn.adapters.p2p_messages import Hello, Items, Kind, decode, encode
from services.sn.core.turns import STEP_S
from tests.component.sn.engine import DEADLINE_S, bound, swarm
from tests.pki import Pki


@pytest.fixture
async def sns(tmp_path):
    async with swarm(tmp_path) as made:
        yield made


async def trio(sns):
    """Three SNs, all signers, all linked to all, and a counter contract."""
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint])
    await b.until_signers(2)
    c = await sns.start("3", join=[a.endpoint])
    await asyncio.gather(*(sn.until_signers(3) for sn in (a, b, c)))
    await asyncio.gather(*(until_links(sn, 2) for sn in (a, b, c)))
    return a, b, c, counter


async def until_links(sn, count):
    async with asyncio.timeout(DEADLINE_S):
        while len(sn.chain.peers()) != count:
            await sn.chain._p2p._changed.wait()


async def until_status(sn, words, monkeypatch):
    """Wait until the SN says ``words``."""
    said = asyncio.Event()
    say = sn.node._say

    def listen(status):
        say(status)
        if words in status:
            said.set()

    monkeypatch.setattr(sn.node, "_say", listen)
    sn.node.wake()
    async with asyncio.timeout(DEADLINE_S):
        await said.wait()


async def converge(*sns):
    for sn in sns[1:]:
        await sn.until_same_head(sns[0])


async def test_two_sns_converge_and_the_second_becomes_a_signer(sns):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint])
    assert b.chain.chain_id == a.chain.chain_id
    assert b.chain.genesis_signer == a.chain.account.address
    await b.until_signers(2)
    sent = await b.submit(to=counter)
    assert await a.receipt(sent) == await b.receipt(sent)
    await converge(a, b)
    assert [peer.name for peer in a.chain.peers()] == ["SN-2"]
    assert [peer.endpoint for peer in b.chain.peers()] == [a.endpoint]


async def test_three_sns_take_transactions_everywhere_and_converge(sns):
    a, b, c, counter = await trio(sns)
    sent = []
    for sn in (a, b, c):
        first = await sn.nonce()
        more = (sn.submit(to=counter, nonce=first + n) for n in range(4))
        sent += await asyncio.gather(*more)
    for sn in (a, b, c):
        for transaction in sent:
            assert (await sn.receipt(transaction))["status"] == "0x1"
    await converge(a, b, c)
    assert {peer.name for peer in b.chain.peers()} == {"SN-1", "SN-3"}


async def test_a_joiner_gets_a_long_chain_from_its_genesis(sns):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()

    for _ in range(130):  # two BLOCKS messages
        await a.propose()
    await a.send(to=counter)
    b = await sns.start("2", join=[a.endpoint])
    assert int(await b.call("eth_blockNumber"), 16) >= 132
    assert len(await b.call("eth_getLogs", {"fromBlock": "0x0"})) == 1
    await converge(a, b)


async def test_a_dead_signer_in_turn_is_skipped(sns):
    a, b, c, counter = await trio(sns)
    await sns.stop(b)
    await asyncio.gather(until_links(a, 1), until_links(c, 1))
    started = time.monotonic()
    for _ in range(6):  # the dead one is in turn twice
        await a.receipt(await c.submit(to=counter))
    assert time.monotonic() - started < 2 * STEP_S
    await converge(a, c)


async def test_three_survive_the_sentinel_and_it_catches_up_from_its_disk(sns):
    a, b, c, counter = await trio(sns)
    chain_id = a.chain.chain_id
    await sns.stop(a)
    await asyncio.gather(until_links(b, 1), until_links(c, 1))
    for _ in range(4):
        await c.receipt(await b.submit(to=counter))
    again = await sns.start("1", sentinel=True, join=[b.endpoint])
    assert again.chain.chain_id == chain_id
    await converge(b, c, again)
    await until_links(again, 2)
    await b.receipt(await again.submit(to=counter))


async def test_a_minority_waits_and_says_so(sns, monkeypatch):
    a, b, c, counter = await trio(sns)
    await sns.stop(a)
    await sns.stop(b)
    await until_status(c, "linked to 1 of 3 signers", monkeypatch)
    head = c.chain.head
    waiting = await c.submit(to=counter)
    b = await sns.start("2", join=[c.endpoint])
    await c.receipt(waiting)
    await b.receipt(waiting)
    assert c.chain.head != head


async def test_of_two_the_sentinel_goes_on_and_the_other_waits(sns, monkeypatch):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint])
    await asyncio.gather(a.until_signers(2), b.until_signers(2))
    await sns.stop(b)
    await until_links(a, 0)
    for _ in range(3):
        await a.send(to=counter)
    b = await sns.start("2", join=[a.endpoint])
    await converge(a, b)
    await sns.stop(a)
    await until_status(b, "linked to 1 of 2 signers", monkeypatch)
    waiting = await b.submit(to=counter)
    port = int(a.endpoint.rpartition(":")[2])
    a = await sns.start("1", sentinel=True, port=port)
    await a.receipt(waiting)
    await converge(a, b)


async def in_turn(sns):
    """Those of ``sns``, the one in turn first."""
    (first,) = [sn for sn in sns if await sn.node.do(sn.node.decisions.open.may_propose_at_once)]
    return [first, *(sn for sn in sns if sn is not first)]


async def test_a_block_without_a_quorum_gives_way_and_its_transactions_come_back(sns):
    a, b, c, counter = await trio(sns)
    await converge(a, b, c)
    alone, *others = await in_turn([a, b, c])
    for sn in others:
        await sns.stop(sn)
    await until_links(alone, 0)
    head = alone.chain.head
    waiting = await alone.submit(to=counter)
    assert (await alone.propose()).changes
    assert alone.chain.head == head  # one of three signers makes nothing final
    assert (await alone.call("eth_getBlockByNumber", "finalized"))["hash"] == "0x" + head.hex()
    replaced = await alone.call("eth_getBlockByNumber", "latest")
    assert replaced["transactions"] == [waiting]
    await sns.stop(alone)

    names = {sn.chain._store.folder.name: sn for sn in (a, b, c)}
    name = next(name for name, sn in names.items() if sn is alone)
    one, two = (n.removeprefix("sn") for n in sorted(names.keys() - {name}))
    first = await sns.start(one, join=["127.0.0.1:1"], ready=False)
    second = await sns.start(two, join=[first.endpoint])
    written = await first.send(to=counter)
    assert written["blockNumber"] == replaced["number"]

    again = await sns.start(name.removeprefix("sn"), join=[first.endpoint])
    back = await first.receipt(waiting)
    assert int(back["blockNumber"], 16) > int(replaced["number"], 16)
    assert back["status"] == "0x1"
    await converge(first, second, again)
    logs = await again.call("eth_getLogs", {"fromBlock": "0x0"})
    assert [log["blockHash"] for log in logs] == [written["blockHash"], back["blockHash"]]


async def test_an_sn_that_lost_its_folder_takes_the_place_of_its_old_account(sns):
    a, b, c, counter = await trio(sns)
    old = c.node.address
    await sns.stop(c)
    shutil.rmtree(sns.folder / "sn3")
    again = await sns.start("3", join=[a.endpoint])

    async def replaced():
        return set(await again.signers()) == {a.node.address, b.node.address, again.node.address}

    await again.until(replaced)
    assert again.node.address != old
    await sns.stop(a)  # the majority of three lives: the old account does not count
    await again.receipt(await b.submit(to=counter))


async def test_the_sentinels_only_companion_can_be_replaced(sns):
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint])
    await a.until_signers(2)
    await sns.stop(b)
    shutil.rmtree(sns.folder / "sn2")
    again = await sns.start("2", join=[a.endpoint])

    async def replaced():
        return set(await a.signers()) == {a.node.address, again.node.address}

    await a.until(replaced)


async def test_a_certificate_gives_one_live_signer(sns, caplog):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint])
    await a.until_signers(2)
    twin = await sns.start("twin", join=[a.endpoint], certificate="2")
    c = await sns.start("3", join=[a.endpoint])
    await a.until_signers(3)
    assert set(await a.signers()) == {sn.node.address for sn in (a, b, c)}
    await twin.receipt(await twin.submit(to=counter))  # it serves all the same
    assert "Give each SN a certificate of its own" in caplog.text


async def test_sns_find_each_other_again_without_the_one_they_joined(sns):
    a, b, c, counter = await trio(sns)
    ports = [int(sn.endpoint.rpartition(":")[2]) for sn in (b, c)]
    for sn in (a, b, c):
        await sns.stop(sn)
    b = await sns.start("2", join=[a.endpoint], port=ports[0], ready=False)
    c = await sns.start("3", join=[a.endpoint], port=ports[1], ready=False)
    await asyncio.gather(until_links(b, 1), until_links(c, 1))
    await c.receipt(await b.submit(to=counter))


async def test_an_sn_that_does_not_mine_follows_and_passes_on(sns):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint], mine=False)
    for _ in range(3):
        await b.receipt(await b.submit(to=counter))
    assert len(await a.signers()) == 1
    assert "not sealing" in b.chain.status()


async def test_two_that_dial_each_other_keep_one_link(sns):
    socks = [bound(), bound()]
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    a = await sns.start(
        "1", sentinel=True, join=[f"127.0.0.1:{ports[1]}"], port=ports[0], ready=False
    )
    b = await sns.start("2", join=[f"127.0.0.1:{ports[0]}"], port=ports[1])
    await sns.ready(a)
    await asyncio.gather(a.until_signers(2), b.until_signers(2))
    counter = await a.deploy()
    for _ in range(3):
        await b.receipt(await a.submit(to=counter))
    links = [*a.chain._p2p._links.values(), *b.chain._p2p._links.values()]
    assert len(links) == 2
    assert links[0].dialled != links[1].dialled, "both ends of the same connection"
    await b.receipt(await a.submit(to=counter))
    assert [*a.chain._p2p._links.values(), *b.chain._p2p._links.values()] == links


async def test_a_link_that_takes_nothing_is_cut(sns, monkeypatch):
    monkeypatch.setattr(p2p_link, "QUEUE_BYTES", 1_000)
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint], mine=False)
    (link,) = a.chain._p2p._links.values()
    link.post(Items(Kind.TXS, (bytes(2_000),)))
    link.post(Items(Kind.PEERS, ()))
    async with asyncio.timeout(DEADLINE_S):
        await link.connection.wait_closed()
    assert link.connection.close_code == 1008
    await until_links(b, 1)
    assert a.chain._p2p._links[b.node.address] is not link


async def test_a_joiner_waits_for_the_sn_to_join(sns):
    sock = bound()
    endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
    sock.close()
    b = await sns.start("2", join=[endpoint], ready=False)
    assert b.chain.status() == "waiting for the SN to join"
    a = await sns.start("1", sentinel=True, port=int(endpoint.rpartition(":")[2]))
    await sns.ready(b)
    assert b.chain.chain_id == a.chain.chain_id


async def test_two_sentinels_do_not_mix(sns, caplog):
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", sentinel=True)
    await b.deploy()
    await sns.stop(b)
    refused = asyncio.Event()
    b = await sns.start("2", sentinel=True, join=[a.endpoint], ready=False)
    complain = b.chain._p2p._complain
    b.chain._p2p._complain = lambda where, exc: (complain(where, exc), refused.set())
    async with asyncio.timeout(DEADLINE_S):
        await refused.wait()
    assert "another genesis block" in caplog.text
    assert a.chain.peers() == b.chain.peers() == []
    assert a.chain.chain_id != b.chain.chain_id


async def tells(endpoint, context, *messages):
    """What an SN answers to a client, and whether it cuts the link."""
    heard = []
    async with asyncio.timeout(DEADLINE_S):
        async with connect(f"wss://{endpoint}", ssl=context, proxy=None) as connection:
            heard.append(decode(await connection.recv()))
            for message in messages:
                await connection.send(message)
            with suppress(ConnectionClosed):
                while True:
                    heard.append(decode(await connection.recv()))
            return heard, connection.close_code


@pytest.mark.parametrize("role", [NodeKind.SL, NodeKind.SWCI])
async def test_only_sns_may_link(sns, role):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(role).client_context()
    async with connect(f"wss://{a.endpoint}", ssl=context, proxy=None) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4003
    assert "SN" in connection.close_reason


async def test_another_ca_is_refused(sns, tmp_path):
    a = await sns.start("1", sentinel=True)
    context = Pki(tmp_path / "other").identity(NodeKind.SN).client_context()
    context.load_verify_locations(sns.pki.ca_cert)
    with pytest.raises((OSError, InvalidMessage, ConnectionClosed)):
        async with connect(f"wss://{a.endpoint}", ssl=context, proxy=None) as connection:
            await connection.recv()
    assert a.chain.peers() == []


async def hello_for(sns, a, theirs, **changes):
    """A good HELLO of SN-9 with its own key, but for ``changes``."""
    identity = sns.pki.identity(NodeKind.SN, "9")
    key = PrivateKey(b"\x09" * 32)
    credentials = Credentials(key, identity.certificate.fingerprint, "", False)
    other = sns.pki.identity(NodeKind.SN, "1").certificate
    made = credentials.hello(theirs.genesis, 0, other)
    fields = {name: getattr(made, name) for name in Hello.__slots__} | changes
    return Hello(**fields)


@pytest.mark.parametrize(
    "changes",
    [{"address": b"\x01" * 20}, {"proof": b"\x01" * 65}, {"genesis": b"\xc0"}],
    ids=["another's account", "no proof", "another chain"],
)
async def test_a_false_hello_is_refused(sns, changes):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    (theirs,), _ = await tells(a.endpoint, context, b"")
    false = await hello_for(sns, a, theirs, **changes)
    _, code = await tells(a.endpoint, context, encode(false))
    assert code == 4003


@pytest.mark.parametrize(
    "message", [b"", b"\xc0", b"\xc1\x09", "text", encode(Items(Kind.BLOCK, ()))[:-1], b"\xff" * 99]
)
async def test_garbage_cuts_the_link_and_nothing_else(sns, message):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    (theirs,), _ = await tells(a.endpoint, context, b"")
    good = encode(await hello_for(sns, a, theirs))
    heard, code = await tells(a.endpoint, context, good, message)
    assert code == 1002
    assert Items(Kind.PEERS, ()) in heard
    await a.deploy()


async def test_bad_blocks_and_transactions_are_ignored(sns, caplog):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    (theirs,), _ = await tells(a.endpoint, context, b"")
    good = encode(await hello_for(sns, a, theirs))
    bad = [
        Items(Kind.BLOCK, (b"\xc0", b"", b"")),
        Items(Kind.TXS, (b"\xc0", b"")),
        Items(Kind.BLOCKS, ()),
    ]
    ask = Items(Kind.SYNC, (b"\x01" * 32, b"short"))
    async with connect(f"wss://{a.endpoint}", ssl=context, proxy=None) as connection:
        await connection.send(good)
        for message in (*bad, ask):
            await connection.send(encode(message))
        async with asyncio.timeout(DEADLINE_S):
            while decode(await connection.recv()) != Items(Kind.BLOCKS, ()):
                pass
    assert "block from SN-9" in caplog.text


def test_a_proof_is_good_for_one_pair_of_certificates_only(tmp_path):
    pki = Pki(tmp_path)
    one, two, three = (
        Credentials(
            PrivateKey(bytes([n]) * 32),
            pki.identity(NodeKind.SN, str(n)).certificate.fingerprint,
            "sn:1",
            True,
        )
        for n in (1, 2, 3)
    )
    certificates = [pki.identity(NodeKind.SN, str(n)).certificate for n in (1, 2, 3)]
    hello = one.hello(b"genesis", 5, certificates[1])
    assert decode(encode(hello)) == hello
    two.check(hello, certificates[0])
    for checker, shown in [(three, certificates[0]), (two, certificates[2])]:
        with pytest.raises(ForbiddenError):
            checker.check(hello, shown)
