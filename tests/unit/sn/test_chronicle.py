"""A contract's history: what is kept of it, and how it reads."""

from services.common import sn_api as api
from services.common.ids import NodeId, NodeKind
from services.sn.core import ledger
from services.sn.core.chronicle import Chronicle, Selection, totals
from services.sn.core.chronicle_text import render
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.training import Training
from services.sn.core.verdict import Verdict, Violation

A, B = NodeId("a" * 32), NodeId("b" * 32)
DIGEST = "d" * 64


class Story:
    """Tells events, a block each."""

    def __init__(self):
        self.chronicle = Chronicle(Training("mine", "0x1", 1_700_000_000), registered=2)
        self.nodes = Nodes()
        self.number = 2
        self.generation = 1

    def tell(self, event):
        self.number += 1
        self.chronicle.apply(event, Block(self.number, "00" * 32, 1_700_000_000 + self.number))

    def enrol(self, *peers):
        for peer in peers:
            number = self.chronicle.training.round or 1
            self.tell(ledger.Enrolled(self.generation, number, peer, 2, "mean", False, True, 600))

    def round(self, number, *peers, leaders=("quorum",)):
        of = self.generation, number
        for weightage, peer in enumerate(peers, start=1):
            self.tell(
                ledger.CheckedIn(
                    *of, peer, DIGEST, DIGEST, 1000, weightage, api.PeerState.TRAINING, None
                )
            )
        for term, reason in enumerate(leaders, start=1):
            self.tell(ledger.LeaderElected(*of, term, peers[0], reason))
        self.tell(ledger.Frozen(*of, len(leaders), peers[0], peers))

    def publish(self, number, *peers, term=1):
        published = ledger.Published(
            self.generation, number, term, peers[0], DIGEST, 2500, peers, 0
        )
        self.tell(published)

    def lines(self, **selection):
        return list(render(self.chronicle, self.nodes, Selection(**selection)))


def a_story():
    story = Story()
    story.nodes.apply(
        ledger.NodeRegistered(A, NodeKind.SL, False, "h:1", "sl1", "1", A, "0" * 64),
        Block(1, "", 1),
    )
    story.enrol(A, B)
    story.round(1, A, B, leaders=("quorum", "leader lost"))
    story.tell(ledger.Dropped(1, 1, 2, B, "digest mismatch\x1b[31m"))
    story.publish(1, A, term=2)
    for _ in range(3):
        story.tell(ledger.Refused(1, 2, B, "stale-base", f"not {DIGEST}"))
    story.tell(ledger.Left(1, 2, B, "lost"))
    story.tell(ledger.Returned(1, 2, B))
    story.round(2, A, B)
    story.publish(2, A, B)
    return story


def test_every_abnormal_event_is_told_where_it_happened():
    text = a_story().lines()
    assert text[:4] == [
        "contract    mine", "address     0x1",
        "registered  2023-11-14 22:13:20 UTC, block 2", "generation  1: CHECKIN, round 3",
    ]  # fmt: skip
    rest = [" ".join(line.split()) for line in text[5:]]
    assert rest == [
        "generation 1: min peers 2, mean, leader timeout 600 s",
        "round block time (UTC) leader model size contributors x weightage",
        "3 joined sl1 (aaaaaaaa)",
        "4 joined bbbbbbbb",
        "1 11 2023-11-14 22:13:31 sl1 (aaaaaaaa) dddddddddddddddd 2.5 kB sl1 (aaaaaaaa) x1",
        "11 leaders term 1 sl1 (aaaaaaaa): quorum; term 2 sl1 (aaaaaaaa): leader lost",
        "11 dropped bbbbbbbb in term 2: digest mismatch?[31m",
        "12 refused bbbbbbbb: stale-base: not dddddddddddddddd... (3 times)",
        "15 left bbbbbbbb: lost",
        "16 returned bbbbbbbb",
        "2 21 2023-11-14 22:13:41 sl1 (aaaaaaaa) dddddddddddddddd 2.5 kB "
        "sl1 (aaaaaaaa) x1, bbbbbbbb x2",
        "",
        "totals: 2 rounds, 3 contributions, 5.0 kB merged, 1 failover, 1 drop, 2 joined, 1 left, "
        "1 returned, 3 refused, 0 reopened",
    ]


def test_a_part_of_the_history():
    story = a_story()
    for number in range(3, 10):
        story.round(number, A, B)
        story.publish(number, A, B)
    generations = story.chronicle.generations.values()

    def shown(**selection):
        (only,) = Selection(**selection).chosen(generations)
        return [record.round for record in only.rounds], {note.kind for note in only.notes}

    assert shown() == (list(range(1, 10)), {"joined", "refused", "left", "returned"})
    assert shown(first=2, last=4) == ([2, 3, 4], {"refused", "left", "returned"})
    assert shown(first=8) == ([8, 9], set())
    assert shown(newest=2) == ([8, 9], set())
    assert shown(first=2, last=4, newest=1) == ([4], set())


def test_generations_are_kept_beyond_a_reset():
    story = a_story()
    story.tell(ledger.Reset(1, 3, "SWCI-1: again"))
    story.generation = 2
    story.enrol(A, B)
    story.round(1, A, B)
    story.publish(1, A, B)
    first, second = story.chronicle.generations.values()
    assert ([len(g.rounds) for g in (first, second)], first.notes[-1].reason) == (
        [2, 1], "SWCI-1: again",
    )  # fmt: skip
    assert "generation 2: min peers 2, mean, leader timeout 600 s" in story.lines()
    assert not [line for line in story.lines(generation=1) if line.startswith("generation 2:")]
    assert totals([first, second]).rounds == 3


def test_long_lists_of_contributors_are_broken():
    story = Story()
    peers = [NodeId(digit * 32) for digit in "123456789"]
    story.enrol(*peers)
    story.round(1, *peers)
    story.publish(1, *peers)
    lines = [line for line in story.lines() if " x" in line and "weightage" not in line]
    assert [line.count(" x") for line in lines] == [4, 4, 1]
    assert len({line.index(" x") for line in lines}) == 1


def test_a_verdict_and_a_violation_in_one_line():
    verdict = Verdict(blocks=1234, transactions=1, head_hash="0xab", signers=["a", "b", "c"])
    verdict.same_on = ["x:1", "y:2"]
    line = "verified: 1,234 blocks, 1 transaction, 3 signers, head 0xab; the same on 2 SNs"
    assert verdict.line() == line
    verdict.not_checked = ["this one not"]
    assert verdict.line() == f"{line}; this one not"
    violation = Violation(5, "wrong", 1, 2)
    assert (str(violation), violation.exit_code) == ("block 5: wrong: found 1, expected 2", 4)
