"""The progress line."""

import io

from compose.progress import PLAIN_SECONDS, RATE_SECONDS, Line, Pace, describe
from services.common.sn_api import ContractView, Merged, PeerState, PeerView, Perf, Phase


def peer(number, *, live=True, perf=None):
    return PeerView(
        uid=f"{number:032x}", endpoint="h:1", fingerprint="", container="", live=live,
        may_lead=True, state=PeerState.TRAINING, checkin=None, participant=False, dropped="",
        perf=perf, perf_round=0, rounds=0, left="",
    )  # fmt: skip


def view(*peers, round_number=5, phase=Phase.CHECKIN, leader="", waiting=""):
    return ContractView(
        name="c", generation=1, phase=phase, round=round_number, term=0, leader=leader, terms=None,
        peers=list(peers), merged=None, quorum_age_s=None, waiting_for=waiting,
    )  # fmt: skip


def perf(loss=0.5, metric=0.0, epochs=0, total=0):
    return Perf(loss=loss, metric=metric, epochs=epochs, total_epochs=total)


def test_before_anybody_connected():
    assert describe(None, {}, Pace(), 3).endswith("waiting for the ML programs to connect")


def test_round_leader_loss_metric_rate_and_time_left():
    pace = Pace()
    pace.add(10, view(peer(1, perf=perf(epochs=1, total=10)), round_number=1))
    now = view(
        peer(1, perf=perf(0.4, 0.8, 4, 10)), peer(2, perf=perf(0.6, 0.9, 2, 10)),
        peer(3, live=False, perf=perf(9, 9, 10, 10)), round_number=9, leader=f"{2:032x}",
    )  # fmt: skip
    pace.add(14, now)
    line = describe(now, {f"{2:032x}": "sl-2"}, pace, 20)
    assert " ".join(line.split()) == (
        "20 s round 9 2 nodes leader sl-2 loss 0.500 metric 0.850 2.0 rounds/s 30% done, 14 s left"
    )


def test_what_nobody_reports_is_not_shown():
    line = describe(view(peer(1, perf=perf(0, 0))), {}, Pace(), 1)
    assert "loss" not in line
    assert "metric" not in line
    assert "done" not in line


def test_a_standstill_says_what_it_waits_for():
    for words in ("1 of 2 check-ins", "waiting for 1 of 2 check-ins"):
        line = describe(view(peer(1), waiting=words), {}, Pace(), 9)
        assert line.endswith("rounds/s  waiting for 1 of 2 check-ins")


def test_containers_and_uids_are_shown_as_node_names():
    uid = "abcdef01" * 4
    words = "waiting for host (abcdef01) to check in; leader abcdef01 closes the round"
    line = describe(view(peer(1), waiting=words), {uid: "sl-2"}, Pace(), 9)
    assert line.endswith("waiting for sl-2 to check in; leader sl-2 closes the round")


def test_the_last_line_names_the_published_rounds():
    merged = Merged(round=7, digest="ab" * 32, size=1, leader="a" * 32, next_interval=0)
    over = view(peer(1), round_number=8, phase=Phase.COMPLETED).model_copy(
        update={"merged": merged}
    )
    words = describe(over, {}, Pace(), 9)
    assert "7 rounds  1 node  " in words
    assert "round 8" not in words


def test_rate_forgets_what_is_long_ago():
    pace = Pace()
    pace.add(0, view(round_number=1))
    pace.add(100, view(round_number=2))
    pace.add(100 + RATE_SECONDS / 2, view(round_number=7))
    assert pace.rate() == 5 / (RATE_SECONDS / 2)


def test_time_left_counts_from_the_first_epoch_not_from_the_start():
    pace = Pace()
    pace.add(0, view(peer(1)))
    assert pace.seconds_left() is None
    pace.add(60, view(peer(1, perf=perf(epochs=1, total=10))))
    assert pace.seconds_left() is None
    pace.add(62, view(peer(1, perf=perf(epochs=2, total=10))))
    assert pace.seconds_left() == 16


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_line_updates_itself():
    out = Terminal()
    line = Line(out)
    line.show("one", 0)
    line.show("two", 0.1)
    line.say("said")
    assert out.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Ksaid\n"


def test_elsewhere_a_line_now_and_then():
    out = io.StringIO()
    line = Line(out)
    line.show("one", 0)
    line.show("two", PLAIN_SECONDS / 2)
    line.show("one", PLAIN_SECONDS)  # nothing new
    line.show("three", PLAIN_SECONDS + 1)
    assert out.getvalue() == "one\nthree\n"
