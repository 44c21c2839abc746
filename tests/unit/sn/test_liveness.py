"""Who is lost, who is alive: on a manual clock."""

from services.common.ids import NodeId, NodeKind
from services.sn.core.liveness import Due, Liveness, Orphans
from services.sn.core.nodes import Node
from services.sn.core.refusals import RefusalLimit

A, B, C = (NodeId(letter * 32) for letter in "abc")


def ticks(liveness, start, stop):
    """Ask every second, as the SN does; what was due, by second."""
    found = {second: liveness.due(second) for second in range(start, stop)}
    return {second: due for second, due in found.items() if due != Due()}


def test_silence_makes_lost_once():
    liveness = Liveness(6, 30)
    liveness.heard(A, 0)
    assert ticks(liveness, 0, 20) == {0: Due(alive=(A,)), 7: Due(lost=(A,))}


def test_beats_keep_alive_and_are_reported_in_batches():
    liveness = Liveness(6, 30)
    found = {}
    for second in range(61):
        liveness.heard(B, second)
        liveness.heard(A, second)
        due = liveness.due(second)
        if due != Due():
            found[second] = due
    assert found == {second: Due(alive=(A, B)) for second in (0, 30, 60)}


def test_a_lost_node_that_beats_again_is_reported_at_once_and_once():
    liveness = Liveness(6, 30)
    liveness.heard(A, 0)
    ticks(liveness, 0, 10)
    assert liveness.heard(A, 10), "tell at once"
    assert liveness.due(10) == Due(alive=(A,))
    assert not liveness.heard(A, 11)
    assert liveness.due(11) == Due()


def test_a_node_that_another_sn_called_lost_is_reported():
    liveness = Liveness(6, 30)
    liveness.heard(A, 0)
    liveness.due(0)
    assert liveness.heard(A, 1, lost=True)
    assert liveness.due(1) == Due(alive=(A,))


def test_a_lost_node_is_not_reported_alive_with_the_others():
    liveness = Liveness(6, 10)
    liveness.heard(A, 0)
    found = {}
    for second in range(12):
        liveness.heard(B, second)
        found[second] = liveness.due(second)
    assert found[0] == Due(alive=(A, B))
    assert found[7] == Due(lost=(A,))
    assert found[10] == Due(alive=(B,))


def test_a_forgotten_node_is_never_lost():
    liveness = Liveness(6, 30)
    liveness.heard(A, 0)
    liveness.forget(A)
    assert ticks(liveness, 0, 20) == {}
    assert liveness.watched() == frozenset()


def test_a_pause_of_the_sn_itself_loses_nobody():
    liveness = Liveness(6, 30)
    liveness.heard(A, 0)
    liveness.due(0)
    assert liveness.due(25) == Due(), "stopped for 25 s: nobody listened"
    assert ticks(liveness, 26, 40) == {30: Due(alive=(A,)), 32: Due(lost=(A,))}


def node(uid, parent, heard=1, alive=True):
    return Node(
        uid, NodeKind.SL, False, "h:1", "", "", parent, "f" * 64, alive, False, 0, heard, 1, 1
    )  # fmt: skip


def test_orphans_are_silent_nodes_of_other_sns():
    orphans = Orphans(100)
    nodes = [node(A, A), node(B, B), node(C, B, alive=False)]
    assert orphans.due(nodes, A, 0, moving=True) == []
    assert orphans.due(nodes, A, 100, moving=True) == []
    assert orphans.due(nodes, A, 101, moving=True) == [B]


def test_a_report_restarts_an_orphans_clock():
    orphans = Orphans(100)
    orphans.due([node(B, B)], A, 0, moving=True)
    orphans.due([node(B, B, heard=2)], A, 90, moving=True)
    assert orphans.due([node(B, B, heard=2)], A, 190, moving=True) == []
    assert orphans.due([node(B, B, heard=2)], A, 191, moving=True) == [B]


def test_nobody_is_an_orphan_while_the_chain_stands_still():
    orphans = Orphans(100)
    orphans.due([node(B, B)], A, 0, moving=True)
    assert orphans.due([node(B, B)], A, 500, moving=False) == []
    assert orphans.due([node(B, B)], A, 501, moving=True) == [], "the reports may be on their way"
    assert orphans.due([node(B, B)], A, 601, moving=True) == [B]


def test_refusals_are_limited_by_key_and_certificate():
    limit = RefusalLimit(10, most=2)
    assert limit.admits(("c", A), "one", 0)
    assert not limit.admits(("c", A), "one", 9)
    assert limit.admits(("c", B), "one", 9)
    assert not limit.admits(("d", B), "one", 9), "the certificate has had its share"
    assert limit.admits(("d", B), "two", 9)
    assert limit.admits(("c", A), "one", 10)
