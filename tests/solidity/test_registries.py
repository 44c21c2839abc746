"""SwarmRegistry and NodeRegistry: writers, names, liveness."""

import pytest

from tests.solidity.evm import OWNER, START, STRANGER, Event, uid

ADDRESS = bytes.fromhex("ab" * 20)


def node(number, **other):
    values = {
        "uid": uid(number), "kind": 2, "sentinel": False, "endpoint": "host:30305",
        "container": "sl1", "version": "0.1", "parent": uid(0), "fingerprint": b"f" * 32, **other,
    }  # fmt: skip
    return tuple(values.values())


# --- writers


def test_the_deployer_is_the_first_writer(evm):
    assert evm.registry.view("isWriter", OWNER)
    assert not evm.registry.view("isWriter", STRANGER)


def test_a_writer_admits_and_expels_writers(evm):
    assert evm.registry.call("addWriter", STRANGER) == [Event("WriterAdded", {"writer": STRANGER})]
    assert evm.registry.call("addWriter", STRANGER) == []
    gone = evm.registry.call("removeWriter", OWNER, sender=STRANGER)
    assert gone == [Event("WriterRemoved", {"writer": OWNER})]
    assert not evm.registry.view("isWriter", OWNER)
    assert evm.registry.call("removeWriter", OWNER, sender=STRANGER) == []


def test_the_last_writer_stays(evm, refuses):
    refuses("bad-value", evm.registry.call, "removeWriter", OWNER)
    evm.registry.call("addWriter", STRANGER)
    evm.registry.call("addWriter", STRANGER)  # counted once
    evm.registry.call("removeWriter", OWNER)
    refuses("bad-value", evm.registry.call, "removeWriter", STRANGER, sender=STRANGER)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("addWriter", (STRANGER,)),
        ("removeWriter", (OWNER,)),
        ("register", ("name", 1, ADDRESS)),
    ],
)
def test_only_writers_change_the_swarm_registry(evm, refuses, function, arguments):
    detail = refuses("not-writer", evm.registry.call, function, *arguments, sender=STRANGER)
    assert STRANGER.hex() in detail


# --- names


def test_a_name_finds_its_contract(evm):
    evm.advance(5)
    registered = evm.registry.call("register", "défault.sml", 1, ADDRESS)
    fields = {"kind": 1, "at": ADDRESS, "created": START + 5}
    assert registered == [Event("Registered", {"name": "défault.sml", **fields})]
    assert evm.registry.view("lookup", "défault.sml") == fields


def test_an_unknown_name_has_kind_zero(evm):
    assert evm.registry.view("lookup", "nothing")["kind"] == 0


def test_a_name_is_given_once(evm, refuses):
    evm.registry.call("register", "name", 1, ADDRESS)
    assert refuses("name-taken", evm.registry.call, "register", "name", 2, OWNER) == "name"
    assert evm.registry.view("lookup", "name")["kind"] == 1


@pytest.mark.parametrize(
    "arguments", [("", 1, ADDRESS), ("n", 0, ADDRESS), ("n", 4, ADDRESS), ("n", 1, bytes(20))]
)
def test_bad_names_kinds_and_addresses_are_refused(evm, refuses, arguments):
    refuses("bad-value", evm.registry.call, "register", *arguments)


# --- nodes


def test_a_registered_node_is_alive_and_announced(evm):
    evm.advance(7)
    (event,) = evm.nodes.call("register", *node(1, sentinel=True))
    assert event.name == "NodeRegistered"
    assert tuple(event.args.values()) == node(1, sentinel=True)
    assert not evm.nodes.view("isLost", uid(1))
    assert evm.nodes.view("lastSeen", uid(1)) == START + 7


def test_an_unknown_node_counts_as_lost(evm):
    assert evm.nodes.view("isLost", uid(1))
    assert evm.nodes.view("lastSeen", uid(1)) == 0


def test_a_node_without_id_is_refused(evm, refuses):
    refuses("bad-value", evm.nodes.call, "register", *node(1, uid=bytes(16)))


def test_alive_notes_the_time_and_brings_lost_nodes_back(evm):
    evm.nodes.call("register", *node(1))
    evm.nodes.call("register", *node(2))
    assert evm.nodes.call("lost", [uid(1)]) == [Event("NodesLost", {"uids": [uid(1)]})]
    assert evm.nodes.view("isLost", uid(1))
    assert evm.nodes.view("lastSeen", uid(1)) == START
    evm.advance(30)
    back = evm.nodes.call("alive", [uid(2), uid(1)])
    assert back == [Event("NodesAlive", {"uids": [uid(2), uid(1)]})]
    assert not evm.nodes.view("isLost", uid(1))
    assert evm.nodes.view("lastSeen", uid(1)) == START + 30


def test_batches_pass_over_ids_that_they_do_not_concern(evm):
    for number in (1, 2, 3):
        evm.nodes.call("register", *node(number))
    evm.nodes.call("leave", uid(3), "done")
    everybody = [uid(9), uid(1), uid(3), uid(2)]  # 9 is unknown, 3 has left
    assert evm.nodes.call("lost", everybody)[0].args["uids"] == [uid(1), uid(2)]
    assert evm.nodes.call("lost", everybody) == []
    assert evm.nodes.call("alive", everybody)[0].args["uids"] == [uid(1), uid(2)]
    assert evm.nodes.call("alive", [uid(9), uid(3)]) == []
    assert evm.nodes.call("alive", []) == []
    assert evm.nodes.view("isLost", uid(3))
    assert evm.nodes.view("lastSeen", uid(9)) == 0


def test_a_node_that_left_comes_back_only_by_registering(evm, refuses):
    evm.nodes.call("register", *node(1))
    left = evm.nodes.call("leave", uid(1), "done")
    assert left == [Event("NodeLeft", {"uid": uid(1), "reason": "done"})]
    assert evm.nodes.call("leave", uid(1), "again") == []
    assert evm.nodes.view("isLost", uid(1))
    evm.nodes.call("register", *node(1))
    assert not evm.nodes.view("isLost", uid(1))
    assert uid(5).hex() in refuses("unknown-node", evm.nodes.call, "leave", uid(5), "done")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("register", node(1)), ("alive", ([],)), ("lost", ([],)), ("leave", (uid(1), "done"))],
)
def test_only_writers_change_the_node_registry(evm, refuses, function, arguments):
    refuses("not-writer", evm.nodes.call, function, *arguments, sender=STRANGER)
