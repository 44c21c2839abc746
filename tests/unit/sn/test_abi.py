"""Between values and contract bytes."""

import math
from dataclasses import fields

import pytest
from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

import contracts
from services.common.errors import ConfigError
from services.common.sn_api import PeerState, Perf
from services.sn.adapters import abi
from services.sn.core import ledger
from services.sn.core import task_events as on
from tests.fakes.chain import TRAINING, encoded

ALL = (abi.REGISTRY, abi.NODES, abi.TRAINING, abi.TASKS, abi.TASKRUNNER)


@pytest.mark.parametrize("name", ALL)
def test_every_solidity_event_has_a_class_with_its_fields(name):
    events = abi.abi(name)._events.values()
    assert len(events) == sum(e["type"] == "event" for e in contracts.load(name).abi)
    for event in events:
        assert {f.name for f in fields(event.make)} == {i.field for i in event.inputs}


def test_foreign_events_are_none():
    assert abi.abi(abi.TRAINING).event([bytes(32)], b"") is None
    assert abi.abi(abi.TRAINING).event([], b"") is None


def test_refusals_are_read():
    output = keccak(text="Refused(string,string)")[:4] + encode(
        ["string", "string"], ["stale-term", "term 2, not 1"]
    )
    assert abi.refusal(output) == ("stale-term", "term 2, not 1")


@pytest.mark.parametrize("cut", [0, 3, 4, 40])
def test_other_reverts_are_none(cut):
    output = keccak(text="Refused(string,string)")[:4] + encode(["string", "string"], ["a", "b"])
    assert abi.refusal(output[:cut]) is None
    assert abi.refusal(b"\x4e\x48\x7b\x71" + output[4:]) is None


PERFS = [
    Perf(loss=value, metric=0.5, epochs=2, total_epochs=5)
    for value in (0.0, -1.5, 3.4028234663852886e38, 1.401298464324817e-45, math.inf, -math.inf)
]


def event_with(perf):
    topic, data = encoded(TRAINING, ledger.PerfReported(1, 2, "a" * 32, perf))
    return abi.abi(abi.TRAINING).event([topic], data)


@pytest.mark.parametrize("perf", PERFS)
def test_32_bit_floats_come_back(perf):
    assert event_with(perf).perf == perf


def test_no_perf_and_not_a_number():
    assert event_with(None).perf is None
    assert math.isnan(event_with(Perf(loss=math.nan, metric=1)).perf.loss)


ENUMS = {
    (ledger.CheckedIn, "state"): abi.PEER_STATES,
    (on.TaskCreated, "task_type"): abi.TASK_TYPES,
    (on.Assigned, "task_type"): abi.TASK_TYPES,
    (on.Assigned, "mode"): abi.ASSIGNMENTS,
    (on.Reported, "state"): abi.TASK_PEER_STATES,
    (on.StateChanged, "state"): abi.RUNNER_STATES,
}
VALUES = {
    "bool": st.booleans(), "uint8": st.integers(1, 2), "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1), "bytes16": st.binary(min_size=16, max_size=16),
    "bytes32": st.binary(min_size=32, max_size=32), "string": st.text(max_size=80),
    "bytes16[]": st.lists(st.binary(min_size=16, max_size=16), max_size=5),
    "string[]": st.lists(st.text(max_size=40), max_size=5),
    "address": st.binary(min_size=20, max_size=20),
    "(bool,uint32,uint32,uint32,uint32)": st.tuples(
        st.booleans(), *[st.integers(0, 2**32 - 1)] * 4
    ),
}  # fmt: skip


def as_we_say_it(value, kind):
    """What a field without a meaning of its own says."""
    match kind:
        case "bytes16" | "bytes32":
            return value.hex()
        case "bytes16[]":
            return tuple(item.hex() for item in value)
        case "string[]":
            return tuple(value)
        case "address":
            return to_checksum_address(value)
        case _:
            return value


@pytest.mark.parametrize(
    ("name", "topic"), [(name, topic) for name in ALL for topic in abi.abi(name)._events]
)
@given(data=st.data())
def test_events_are_read_as_eth_abi_wrote_them(name, topic, data):
    event = abi.abi(name)._events[topic]
    values = [data.draw(VALUES[i.type]) for i in event.inputs]
    read = abi.abi(name).event([topic], encode([i.type for i in event.inputs], values))
    assert type(read) is event.make
    for item, value in zip(event.inputs, values, strict=True):
        found = getattr(read, item.field)
        if item.field == "perf":
            assert (found is not None) == value[0]
            assert found is None or (found.epochs, found.total_epochs) == value[3:]
        elif item.field == "method":
            assert found == value.rstrip(b"\0").decode("ascii", "replace")
        elif item.field == "kind" and event.make is ledger.NodeRegistered:
            assert abi.NODE_KINDS[found] == value
        elif (event.make, item.field) in ENUMS:
            assert ENUMS[event.make, item.field].index(found) == value
        else:
            assert found == as_we_say_it(value, item.type)


@pytest.mark.parametrize("cut", [0, 31, 32 * 5, -1])
def test_data_that_ends_early_is_an_error(cut):
    event = ledger.Frozen(1, 1, 1, "a" * 32, ("a" * 32, "b" * 32))
    topic, data = encoded(TRAINING, event)
    assert abi.abi(abi.TRAINING).event([topic], data) == event
    with pytest.raises(DecodingError):
        abi.abi(abi.TRAINING).event([topic], data[:cut])


@pytest.mark.parametrize("where", [32 * word for word in (2, 3, 5, 6, 7)])
def test_a_list_of_texts_that_lies_about_its_length_is_an_error(where):
    event = on.TaskAppended("t", 1, ("one", "two"))
    name, first, lines = event.name, event.first, list(event.lines)
    data = bytearray(encode(["string", "uint32", "string[]"], [name, first, lines]))
    topic = keccak(text="TaskAppended(string,uint32,string[])")
    assert abi.abi(abi.TASKS).event([topic], bytes(data)) == event
    for value in (2**255, len(data), len(data) * 32):
        data[where : where + 32] = value.to_bytes(32)
        with pytest.raises(DecodingError):
            abi.abi(abi.TASKS).event([topic], bytes(data))


def test_a_loss_beyond_32_bits_is_refused_in_words():
    with pytest.raises(ConfigError, match="does not fit"):
        abi.perf_tuple(Perf(loss=1e300, metric=0))


def test_enums_are_in_the_contracts_order():
    assert [s.value for s in abi.PEER_STATES] == ["TRAINING", "SNAPSHOT", "ACTIVE", "INACTIVE"]
    assert abi.PEER_STATES.index(PeerState.ACTIVE) == 2
    assert [s.value for s in abi.TASK_TYPES] == [
        "ROOT_TASK", "RUN_SWARM", "MAKE_SWARM_USER_CONTENT", "MAKE_USER_CONTAINER", "PULL_IMAGE",
    ]  # fmt: skip
    assert [s.value for s in abi.RUNNER_STATES] == [
        "IDLE", "ASSIGNED", "RUNNING", "COMPLETE", "ERROR",
    ]  # fmt: skip
    assert [s.value for s in abi.ASSIGNMENTS] == ["PEERS", "ALL", "TARGET"]
    assert [s.value for s in abi.TASK_PEER_STATES] == ["ACTIVE", "COMPLETE", "ERROR"]


def test_method_names_fill_32_bytes():
    assert abi.method_bytes("mean") == b"mean" + bytes(28)
