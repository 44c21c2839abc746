"""The folds of the two registries."""

from services.common.ids import NodeId, NodeKind
from services.sn.core import ledger
from services.sn.core.directory import Directory
from services.sn.core.ledger import Block
from services.sn.core.nodes import LEFT_KEPT, Nodes, info_of

SN, SL = NodeId("a" * 32), NodeId("b" * 32)


def registered(uid=SL, parent=SN, endpoint="h:1"):
    return ledger.NodeRegistered(uid, NodeKind.SL, False, endpoint, "c", "1", parent, "f" * 64)


def fold(*events):
    nodes = Nodes()
    for time, event in enumerate(events, 100):
        nodes.apply(event, Block(time, "00", time))
    return nodes


def test_a_registered_node_is_alive_and_known():
    info = info_of(fold(registered()).get(SL))
    assert (info.uid, info.kind, info.parent, info.alive, info.last_seen) == (
        SL, NodeKind.SL, SN, True, 100,
    )  # fmt: skip
    assert fold().get(SL) is None


def test_lost_and_alive():
    nodes = fold(registered(), ledger.NodesLost((SL,)))
    assert not nodes.get(SL).alive
    assert nodes.get(SL).last_seen == 100, "being lost is no sign of life"
    nodes.apply(ledger.NodesAlive((SL, NodeId("c" * 32))), Block(9, "00", 200))
    assert (nodes.get(SL).alive, nodes.get(SL).last_seen) == (True, 200)
    assert len(nodes.all()) == 1, "an unknown uid is ignored"


def test_a_node_that_left_is_nobodys_child_until_it_registers_again():
    nodes = fold(registered(), ledger.NodeLeft(SL, "done"))
    assert nodes.children(SN) == []
    assert (nodes.get(SL).alive, nodes.get(SL).left) == (False, True)
    nodes.apply(registered(), Block(9, "00", 200))
    assert [n.uid for n in nodes.children(SN)] == [SL]
    assert nodes.get(SL).alive


def test_who_left_long_ago_is_forgotten_when_another_registers():
    nodes = fold(registered(), registered(SN), ledger.NodeLeft(SL, "done"))
    third, fourth = NodeId("c" * 32), NodeId("d" * 32)
    nodes.apply(registered(third), Block(9, "00", 100 + LEFT_KEPT))
    assert [n.uid for n in nodes.all()] == [SN, SL, third], "not that long ago"
    nodes.apply(registered(third), Block(9, "00", 200 + LEFT_KEPT))
    assert nodes.get(SL) is not None, "nothing grows, nothing needs to go"
    nodes.apply(registered(fourth), Block(9, "00", 200 + LEFT_KEPT))
    assert [n.uid for n in nodes.all()] == [SN, third, fourth], "SN is silent, but did not leave"
    nodes.apply(registered(SL), Block(9, "00", 300 + LEFT_KEPT))
    assert nodes.get(SL).alive


def test_revision_changes_with_the_address_only():
    nodes = fold(registered(), registered())
    assert nodes.revision_of(SL) == 1
    nodes.apply(registered(parent=SL), Block(9, "00", 200))
    assert nodes.revision_of(SL) == 1
    nodes.apply(registered(endpoint="h:2"), Block(9, "00", 200))
    assert nodes.revision_of(SL) == 4
    assert nodes.revision_of("nobody") == 0


def test_directory():
    directory = Directory()
    directory.apply(ledger.WriterAdded("0xA"))
    directory.apply(ledger.WriterAdded("0xB"))
    directory.apply(ledger.WriterRemoved("0xA"))
    named = ledger.Registered("c", 1, "0xC", 5)
    directory.apply(named)
    assert directory.writers == {"0xB"}
    assert directory.contracts == {"c": named}
