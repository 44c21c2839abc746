"""Between values and contract bytes."""

import math
from dataclasses import fields

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

import contracts
from services.common.errors import ConfigError
from services.common.sn_api import PeerState, Perf
from services.sn.adapters import abi

ALL = (abi.REGISTRY, abi.NODES, abi.TRAINING)


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


@pytest.mark.parametrize("value", [0.0, -1.5, 3.4e38, 1e-45, math.inf, -math.inf])
def test_32_bit_floats_come_back(value):
    packed = abi.perf_tuple(Perf(loss=value, metric=0.1, epochs=2, total_epochs=5))
    read = abi._read_perf(packed)
    assert read.loss == pytest.approx(value, rel=1e-6)
    assert read.metric == pytest.approx(0.1)
    assert (read.epochs, read.total_epochs) == (2, 5)


def test_no_perf_and_not_a_number():
    assert abi._read_perf(abi.perf_tuple(None)) is None
    assert math.isnan(abi._read_perf(abi.perf_tuple(Perf(loss=math.nan, metric=1))).loss)


def test_a_loss_beyond_32_bits_is_refused_in_words():
    with pytest.raises(ConfigError, match="does not fit"):
        abi.perf_tuple(Perf(loss=1e300, metric=0))


def test_enums_are_in_the_contracts_order():
    assert [s.value for s in abi.PEER_STATES] == ["TRAINING", "SNAPSHOT", "ACTIVE", "INACTIVE"]
    assert abi.PEER_STATES.index(PeerState.ACTIVE) == 2


def test_method_names_fill_32_bytes():
    assert abi.method_bytes("mean") == b"mean" + bytes(28)
