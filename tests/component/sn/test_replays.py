"""What was valid once, or elsewhere, is refused: at the API and as a transaction (FAULTS S3)."""

import httpx
import pytest
from eth.constants import SECPK1_N
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from services.common import sn_api as api
from services.common.errors import NotFoundError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.sn.adapters import abi
from services.sn.adapters.chain import Call
from services.sn.adapters.embedded_chain import EmbeddedChain

OTHER = "another"
FOREIGN = PrivateKey(b"\x07" * 32)


async def one_round(peer, other):
    """Both enrol, check in and merge; what one of them said, in order."""
    await peer.enrol()
    await other.enrol()
    check_in = {
        "generation": 1, "round": 1, "base": "0" * 64, "digest": "a" * 64, "size": 1000,
        "weightage": 1, "state": api.PeerState.TRAINING,
    }  # fmt: skip
    await peer.write("checkin", api.CheckIn(**check_in))
    state = await other.check_in(digit="b")
    term = api.OfTerm(generation=1, round=1, term=state.view.term)
    leader = peer if state.view.leader == peer.uid else other
    await leader.write("freeze", term)
    publish = api.Publish(
        **term.model_dump(), digest="d" * 64, size=10, contributors=sorted([peer.uid, other.uid])
    )
    await leader.write("publish", publish)
    return [
        (peer, "checkin", api.CheckIn(**check_in)), (leader, "freeze", term),
        (leader, "publish", publish.model_copy(update={"digest": "e" * 64})),
    ]  # fmt: skip


async def test_what_was_said_in_a_round_is_refused_in_the_next_and_after_a_reset(swarm):
    sn = await swarm.sn()
    peer, other = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    said = await one_round(peer, other)
    before = (await peer.state()).view
    assert before.round == 2
    for who, verb, body in said:
        with pytest.raises(ProtocolError):
            await who.write(verb, body)
    after = (await peer.state()).view
    assert (after.round, after.merged, after.phase) == (2, before.merged, before.phase)
    assert all(p.checkin is None for p in after.peers)

    operator = swarm.client(sn, kind=NodeKind.SWCI)
    await operator.reset(DEFAULT_CONTRACT, "anew")
    for each in (peer, other):
        await each.enrol()
    for who, verb, body in said:
        with pytest.raises(ProtocolError):
            await who.write(verb, body)
    fresh = (await peer.state()).view
    assert (fresh.generation, fresh.round, fresh.merged) == (2, 1, None)


async def test_what_was_said_to_one_contract_means_nothing_to_another(swarm):
    sn = await swarm.sn()
    operator = swarm.client(sn, kind=NodeKind.SWCI)
    async with httpx.AsyncClient(verify=swarm.pki.identity(NodeKind.SWCI).client_context()) as http:
        url = f"https://{sn.endpoint}/v1/contracts"
        assert (await http.post(url, json={"name": OTHER})).status_code == 201
    peer, other = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    said = await one_round(peer, other)
    for who, verb, body in said:
        who.contract = OTHER
        with pytest.raises((ProtocolError, NotFoundError)):
            await who.write(verb, body)
    view = (await operator.state(OTHER)).view
    assert (view.phase, view.peers) == (api.Phase.UNINITIALIZED, [])


@pytest.fixture
def engines(monkeypatch):
    """The chains of the SNs that start."""
    made = []
    opened = EmbeddedChain.open

    async def note(*args, **how):
        made.append(await opened(*args, **how))
        return made[-1]

    monkeypatch.setattr(EmbeddedChain, "open", note)
    return made


def signed(engine, to, data, key=None, **changes):
    fields = {
        "nonce": 0, "gasPrice": 0, "gas": 3_000_000, "value": 0, "chainId": engine.chain_id,
        "to": to, "data": data,
    }  # fmt: skip
    key = key or FOREIGN
    return Account.sign_transaction(fields | changes, key.to_bytes()).raw_transaction


async def receipt(engine, transaction):
    while True:
        head = engine.head
        answer = await engine.rpc("eth_getTransactionReceipt", [transaction])
        if answer["result"] is not None:
            return answer["result"]
        await engine.wait_for_head(head)


async def test_a_call_of_an_account_that_may_not_write_is_reverted(swarm, engines):
    """The contract's calls are public on the chain; without a writer's key they are of no use."""
    sn = await swarm.sn()
    (engine,) = engines
    peer, other = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    await one_round(peer, other)
    before = await peer.state()
    block = int((await engine.rpc("eth_blockNumber", []))["result"], 16)
    calls = []
    for number in range(1, block + 1):
        found = (await engine.rpc("eth_getBlockByNumber", [hex(number), True]))["result"]
        calls += [(tx["to"], tx["input"]) for tx in found["transactions"] if tx["to"]]
    assert len(calls) > 5
    for nonce, (to, data) in enumerate(calls):
        sent = await engine._node.submit(bytes(signed(engine, to, data, nonce=nonce)))
        outcome = await receipt(engine, "0x" + sent.hex())
        assert (outcome["status"], outcome["logs"]) == ("0x0", []), data[:10]
    after = await peer.state()
    assert after.cursor.split("-")[0] == before.cursor.split("-")[0]
    assert after.view.peers == before.view.peers


async def test_a_writers_transaction_is_good_once_and_on_one_chain(swarm, engines):
    sn = await swarm.sn()
    (engine,) = engines
    peer = await swarm.peer(sn)
    await peer.enrol()
    key = engine._node.key
    nonce = int(
        (await engine.rpc("eth_getTransactionCount", [engine.account.address]))["result"], 16
    )
    address = next(iter((await engine.rpc("eth_getLogs", [{"fromBlock": "0x0"}]))["result"]))
    call = Call(abi.TRAINING, address["address"], "perf", (1, b"\0" * 16, 1, (False, 0, 0, 0, 0)))
    for used in range(nonce):
        with pytest.raises(ValidationError, match="nonce too low"):
            await engine._node.submit(bytes(signed(engine, call.at, call.data(), key, nonce=used)))
    for chain_id in (1, engine.chain_id + 1):
        with pytest.raises(ValidationError, match="for chain"):
            await engine._node.submit(
                bytes(signed(engine, call.at, call.data(), key, nonce=nonce, chainId=chain_id))
            )
    unprotected = Account.sign_transaction(
        {"nonce": nonce, "gasPrice": 0, "gas": 90_000, "value": 0, "to": call.at, "data": b""},
        key.to_bytes(),
    ).raw_transaction
    with pytest.raises(ValidationError):
        await engine._node.submit(bytes(unprotected))


async def test_of_a_signature_only_one_form_is_taken(swarm, engines):
    """Else anybody could make a twin of a transaction, whose hash its sender does not wait for."""
    await swarm.sn()
    (engine,) = engines
    decode = engine._node.chain.decode_transaction
    legacy = decode(bytes(signed(engine, "0x" + "11" * 20, b"")))
    # v is 35 or 36 and twice the chain id
    turned = legacy.v + (1 if legacy.v % 2 else -1)
    twin = legacy.copy(v=turned, s=SECPK1_N - legacy.s)
    assert twin.sender == legacy.sender
    with pytest.raises(ValidationError):
        await engine._node.submit(twin.encode())
    typed = decode(
        bytes(
            Account.sign_transaction(
                {
                    "nonce": 0, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "gas": 90_000,
                    "value": 0, "to": "0x" + "11" * 20, "data": b"", "chainId": engine.chain_id,
                    "type": 2,
                },
                FOREIGN.to_bytes(),
            ).raw_transaction
        )
    )  # fmt: skip
    inner = typed._inner
    other = typed.__class__(
        typed.type_id, inner.copy(y_parity=1 - inner.y_parity, s=SECPK1_N - inner.s)
    )
    assert other.sender == typed.sender
    with pytest.raises(ValidationError):
        await engine._node.submit(other.encode())
    await engine._node.submit(typed.encode())
