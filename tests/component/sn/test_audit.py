"""An audit finds every single lie of an SN, and names it."""

import asyncio
import json
import re

import httpx
import pytest
import rlp
from eth.consensus.clique._utils import sign_block_header
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_keys.datatypes import PrivateKey

from services.common.errors import NotFoundError, RemoteError, SnUnavailableError
from services.common.ids import DEFAULT_CONTRACT
from services.sn.adapters import audit_run, audit_source
from services.sn.adapters.audit import Auditor
from services.sn.adapters.audit_headers import read_header
from services.sn.adapters.audit_roots import read_block
from services.sn.adapters.audit_seals import Seals
from services.sn.core.verdict import Violation
from tests.component.sn import tape
from tests.component.sn.conftest import Swarm
from tests.component.sn.engine import swarm as engines

ROUNDS = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """All that an honest SN answered to an honest audit."""

    async def record():
        swarm = Swarm(tmp_path_factory.mktemp("audit"), {})
        try:
            sn = await swarm.sn()
            await tape.some_rounds(swarm, sn, ROUNDS)
            async with tape.recording(swarm, sn) as recorder:
                found = await tape.audited(recorder, "--sn", sn.endpoint)
                assert found.verdict.not_checked == []
            return recorder.answers
        finally:
            await swarm.close()

    return asyncio.run(record())


@pytest.fixture
def sn(recorded):
    return tape.Tape(recorded)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(audit_run, "LOOK_S", 0.0)
    monkeypatch.setattr(audit_source, "PAUSE_S", 0.0)


def published(sn):
    """Number of a block of the last round: one with transactions and events, not the head."""
    return max(n for n in range(sn.head) if sn.receipts(n) and sn.receipts(n)[0]["logs"])


def hexed(value):
    return "0x" + value.hex()


def resealed(view, key=None, **changes):
    """The block's view with other header fields, its hash (and seal) made anew."""
    view = {**view, **changes}
    header = rlp.decode(rlp.encode(_fields(view)), PragueBlockHeader)
    if key is not None:
        header = sign_block_header(header, key)
    return {**view, "extraData": hexed(header.extra_data), "hash": hexed(header.hash)}


def _fields(view):
    for offered in (view, {**view, "hash": "0x" + "00" * 32}):
        try:
            return read_header(offered, int(view["number"], 16)).fields
        except Violation as exc:
            made = re.search("found (0x[0-9a-f]{64})", str(exc))
            if made is not None:
                return read_header({**view, "hash": made[1]}, int(view["number"], 16)).fields
    raise AssertionError("no header")


async def test_an_honest_sn(sn):
    found = await tape.play([sn])
    verdict, rounds = found.verdict, found.events.chronicle.rounds
    assert (verdict.head, verdict.blocks) == (sn.head, sn.head + 1)
    assert verdict.transactions == sum(len(sn.receipts(n)) for n in range(sn.head + 1))
    assert (verdict.engine, len(verdict.signers), verdict.same_on) == ("embedded", 1, ["a:1"])
    assert verdict.not_checked == []
    assert [record.round for record in rounds] == list(range(1, ROUNDS + 1))
    assert [leader.reason for leader in rounds[-1].leaders] == [
        "quorum",
        "leader left",
    ]


# --- one lie at a time

LIES = {}


def lie(words):
    """Registers a lie, told about the block that it returns; the words are what names it."""

    def register(tell):
        LIES[tell.__name__] = (tell, words)
        return tell

    return register


@lie("its receipts do not make the receipts root of its header: found 0x")
def a_logs_data(sn):
    number = published(sn)
    log = sn.receipts(number)[0]["logs"][0]
    log["data"] = log["data"][:-2] + "77"
    return number


@lie("transaction 0: the events of its receipt do not make its bloom filter")
def a_log_removed(sn):
    number = published(sn)
    del sn.receipts(number)[0]["logs"][0]
    return number


@lie("its receipts do not make the receipts root")
def a_log_and_the_bloom_removed(sn):
    number = published(sn)
    receipt = sn.receipts(number)[0]
    receipt["logs"], receipt["logsBloom"] = [], "0x" + "00" * 256
    return number


@lie("its receipts do not make the receipts root")
def a_receipts_status(sn):
    number = published(sn)
    sn.receipts(number)[0]["status"] = "0x0"
    return number


@lie("it has not one receipt per transaction: found 0 receipts, expected 1")
def a_receipt_removed(sn):
    number = published(sn)
    sn.receipts(number).clear()
    return number


@lie("transaction 0: its fields do not make its hash")
def a_transactions_input(sn):
    number = published(sn)
    transaction = sn.block(number)["transactions"][0]
    transaction["input"] = transaction["input"][:-2] + "77"
    return number


@lie("transaction 0: its sender did not sign it")
def a_transactions_sender(sn):
    number = published(sn)
    sn.block(number)["transactions"][0]["from"] = "0x" + "44" * 20
    return number


@lie("its transactions do not make the transactions root")
def a_transaction_removed_with_its_receipt(sn):
    number = published(sn)
    sn.block(number)["transactions"].pop()
    sn.receipts(number).pop()
    return number


@lie("the header's fields do not make its hash")
def a_headers_timestamp(sn):
    number = published(sn)
    view = sn.block(number)
    view["timestamp"] = hex(int(view["timestamp"], 16) + 1)
    return number


@lie("an account that was no signer then sealed it: found 0x")
def a_headers_timestamp_and_hash(sn):
    number = published(sn)
    view = sn.block(number)
    later = hex(int(view["timestamp"], 16) + 1)
    view.update(resealed(view, timestamp=later))
    return number


@lie("an account that was no signer then sealed it: found 0x")
def a_seal_by_a_non_signer(sn):
    number = published(sn)
    view = sn.block(number)
    view.update(resealed(view, PrivateKey(b"\x42" * 32)))
    return number


@lie("the block is missing: found nothing, expected a block")
def a_dropped_block(sn):
    number = published(sn)
    del sn.answers[tape.key("eth_getBlockByNumber", hex(number), True)]
    return number


@lie("another block was given for it: found")
def a_block_left_out(sn):
    number = published(sn)
    sn.block(number).clear()
    sn.block(number).update(sn.block(number + 1))
    return number


@lie("its parent is another block")
def another_history_before(sn):
    """The signer itself rewrites the past: only the links tell."""
    number = published(sn)
    parent = "0x" + "77" * 32
    sn.block(number).update(resealed(sn.block(number), parentHash=parent))
    return number


@lie("it is not the block that was named as newest")
def another_head(sn):
    """It names one block as the newest and gives another one of that number."""
    view = {**sn.block(sn.head), "hash": "0x" + "66" * 32}
    for tag in ("finalized", hex(sn.head)):
        sn.answers[tape.key("eth_getBlockByNumber", tag, False)] = view
    return sn.head


@lie("summary() of the contract gives another merged digest than its events")
def the_contracts_own_view(sn):
    (asked,) = [k for k in sn.answers if "eth_call" in k and json.loads(k)[2] != "finalized"]
    sn.answers[asked] = sn.answers[asked].replace(f"{ROUNDS:064x}", f"{99:064x}")
    return sn.head


@lie("the state API of a:1 tells round 2 differently (digest): found 777")
def the_state_apis_rounds(sn):
    rounds = sn.answers[f"/v1/contracts/{DEFAULT_CONTRACT}/rounds"]["rounds"]
    rounds[1]["digest"] = "7" * 64
    return rounds[1]["block"]


@lie(f"the state API of a:1 lacks round {ROUNDS}")
def a_round_that_the_state_api_keeps_quiet(sn):
    last = sn.answers[f"/v1/contracts/{DEFAULT_CONTRACT}/rounds"]["rounds"].pop()
    return last["block"]


@lie("no votes are shown that make it final")
def a_block_without_votes(sn):
    number = published(sn)
    sn.answers[tape.key("swarm_getCertificate", hex(number))] = None
    return number


@lie("the votes shown do not make it final: found 1 votes, expected a quorum of 0x")
def votes_for_another_block(sn):
    number = published(sn)
    sn.certificate(number).update(sn.certificate(number - 1))
    return number


@lie("the votes shown for it are none: a vote for block")
def votes_that_are_no_signatures(sn):
    number = published(sn)
    sn.certificate(number)["votes"][0]["signature"] = "0x" + "00" * 65
    return number


@pytest.mark.parametrize("name", LIES)
async def test_a_lie(sn, name):
    tell, words = LIES[name]
    number = tell(sn)
    with pytest.raises(Violation) as found:
        await tape.play([sn])
    assert found.value.block == number
    assert str(found.value).startswith(f"block {number}: {words}"), str(found.value)
    assert found.value.exit_code == 4


async def test_a_chain_that_changes_while_it_is_read_is_no_lie(sn):
    """The newest block gave way to another one."""
    view = sn.block(sn.head)
    sn.answers[tape.key("eth_getBlockByNumber", hex(sn.head), False)] = {**view, "hash": "0x66"}
    view["timestamp"] = "0x1"
    with pytest.raises(RemoteError, match="changed while it was read") as found:
        await tape.play([sn])
    assert found.value.exit_code == 3


# --- several SNs


async def test_several_sns_hold_the_same(sn, recorded):
    found = await tape.play([sn, tape.Tape(recorded), tape.Tape(recorded)])
    assert found.verdict.same_on == ["a:1", "b:1", "c:1"]
    assert found.verdict.line().endswith("the same on 3 SNs")


async def test_a_forked_sn(sn, recorded):
    forked = tape.Tape(recorded)
    number = published(sn)
    view = forked.block(number)
    view.update(resealed(view, timestamp=hex(int(view["timestamp"], 16) + 1)))
    with pytest.raises(Violation) as found:
        await tape.play([sn, tape.Tape(recorded), forked])
    assert str(found.value).startswith(
        f"block {number}: c:1 holds another block than a:1: found 0x"
    )


async def test_another_sn_whose_header_is_none(sn, recorded):
    other = tape.Tape(recorded)
    other.block(3)["gasUsed"] = "0x7"
    with pytest.raises(Violation, match="block 3: of b:1: the header's fields do not make"):
        await tape.play([sn, other])


async def test_another_sn_with_a_hole(sn, recorded):
    other = tape.Tape(recorded)
    number = published(sn)
    other.answers[tape.key("eth_getBlockByNumber", "latest", False)] = dict(sn.block(sn.head))
    del other.answers[tape.key("eth_getBlockByNumber", hex(number), True)]
    with pytest.raises(Violation, match=f"block {number}: b:1 lacks the block"):
        await tape.play([sn, other])


async def test_another_sn_that_is_behind_is_said_to_be(sn, recorded):
    other = tape.Tape(recorded)
    there = sn.head - 2
    other.answers[tape.key("eth_getBlockByNumber", "latest", False)] = dict(sn.block(there))
    for number in range(there + 1, sn.head + 1):
        del other.answers[tape.key("eth_getBlockByNumber", hex(number), True)]
    verdict = (await tape.play([sn, other])).verdict
    assert verdict.same_on == ["a:1"]
    assert verdict.not_checked == [f"b:1 holds only the first {there + 1} blocks so far"]


# --- who wrote, what was deployed, other contracts


@pytest.mark.parametrize("garbage", [None, 7, [], {}, "0x", {"number": []}, [[]]])
async def test_garbage_is_no_crash(sn, garbage):
    for number in range(3, sn.head):
        sn.answers[tape.key("eth_getBlockByNumber", hex(number), True)] = garbage
    with pytest.raises(Violation, match="block 3: "):
        await tape.play([sn])


@pytest.mark.parametrize("garbage", [7, [], {}, "0x", [{}], [[]], [None]])
@pytest.mark.parametrize("name", ["transactions", "receipts", "logs", "topics"])
async def test_garbage_inside_a_block(sn, name, garbage):
    number = published(sn)
    receipt = sn.receipts(number)[0]
    if name == "transactions":
        sn.block(number)["transactions"] = garbage
    elif name == "receipts":
        sn.answers[tape.key("eth_getBlockReceipts", hex(number))] = garbage
    elif name == "logs":
        receipt["logs"] = garbage
    else:
        receipt["logs"][0]["topics"] = garbage
    with pytest.raises(Violation, match=f"block {number}: "):
        await tape.play([sn])


def blocks(sn):
    return [
        (read_block(n, sn.block(n), sn.receipts(n)), sn.certificate(n)) for n in range(sn.head + 1)
    ]


def test_an_event_by_an_account_that_is_no_writer(sn):
    auditor = Auditor(DEFAULT_CONTRACT)
    whole = blocks(sn)
    for each in whole[:3]:
        auditor.add(*each)
    auditor.events.directory.writers.clear()
    with pytest.raises(Violation, match="caused by an account that was no writer then: found 0x"):
        for each in whole[3:]:
            auditor.add(*each)


def test_code_that_this_version_did_not_deploy_is_said(sn):
    auditor = Auditor(DEFAULT_CONTRACT)
    for each in blocks(sn):
        auditor.add(*each)
    events = auditor.events
    events._deployed[events.registry] += b"\x00"
    auditor.finish()
    (words,) = auditor.verdict.not_checked
    assert words.startswith(f"SwarmRegistry at {events.registry} was not deployed from")


async def test_a_client_without_receipts_by_block(sn):
    for number in range(sn.head + 1):
        for receipt in sn.receipts(number):
            asked = tape.key("eth_getTransactionReceipt", receipt["transactionHash"])
            sn.answers[asked] = receipt
    sn.unknown.add("eth_getBlockReceipts")
    async with httpx.AsyncClient(transport=tape.Player({"a": sn})) as http:
        found = await audit_source.Endpoint("http://a", http).blocks(0, sn.head)
    assert found == [(sn.block(n), sn.receipts(n), None) for n in range(sn.head + 1)]


async def test_events_are_asked_for_in_as_few_blocks_as_the_client_wants():
    asked = []

    def answer(request):
        (query,) = json.loads(request.content)["params"]
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        asked.append((first, last))
        if last - first > 700:
            error = {"code": -32000, "message": "too many"}
            return httpx.Response(200, json={"id": 0, "error": error})
        return httpx.Response(200, json={"id": 0, "result": list(range(first, last + 1))})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        found = await audit_source.Endpoint("a:1", http).logs(0, 4500, ["0x1"])
    assert found == list(range(4501))
    assert asked[:4] == [(0, 1999), (0, 999), (0, 499), (500, 999)]


async def test_an_unknown_contract(sn):
    lookups = [k for k in sn.answers if "eth_call" in k and json.loads(k)[2] == "finalized"]
    assert len(lookups) == 1
    call = json.loads(lookups[0])[1]
    call["data"] = hexed(audit_run.abi.abi("SwarmRegistry").call("lookup", "nope"))
    sn.answers[tape.key("eth_call", call, "finalized")] = "0x" + "00" * 96
    with pytest.raises(NotFoundError, match="a:1 knows no training contract named 'nope'") as found:
        await tape.play([sn], "--contract", "nope")
    assert found.value.exit_code == 5


async def test_an_sn_that_nobody_runs():
    with pytest.raises(SnUnavailableError, match="does not answer") as found:
        await tape.audited(None, "--sn", "127.0.0.1:1")
    assert found.value.exit_code == 3


# --- signers


async def test_signers_follow_the_votes_over_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr("services.sn.adapters.evm_rules.Context.epoch_length", 8)
    async with engines(tmp_path) as made:
        first = await made.start("1", sentinel=True)
        await made.start("2", join=[first.endpoint])
        await first.until_signers(2)
        await made.start("3", join=[first.endpoint])
        await first.until_signers(3)
        counter = await first.deploy()
        while int(await first.call("eth_blockNumber"), 16) < 20:
            await first.send(to=counter)
        views = [await first.call("eth_getBlockByNumber", hex(n), False) for n in range(21)]
        seals = Seals(read_header(views[0], 0))
        for number, view in enumerate(views[1:], start=1):
            seals.check(read_header(view, number))
            assert seals.signers == await first.call("clique_getSigners", hex(number))
        assert len(seals.signers) == 3
