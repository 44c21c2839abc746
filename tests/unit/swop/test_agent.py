"""The agent against a small model of the taskrunner's contract, and its rules one by one."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.ids import NodeId
from services.common.task_api import (
    Assignment,
    RunnerState,
    SwopView,
    TaskPeer,
    TaskPeerState,
    TaskRunnerView,
    TaskType,
)
from services.swop.core import events as ev
from services.swop.core.agent import Agent
from services.swop.core.outcome import LOST, Outcome

ME = NodeId("a" * 32)
OTHER = NodeId("b" * 32)
IDLE, ASSIGNED, RUNNING, COMPLETE, ERROR = RunnerState
ACTIVE = TaskPeerState.ACTIVE
GOOD, BAD = Outcome.complete("done"), Outcome.error("broken")


def uid(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def agent(nodes: int = 2) -> Agent:
    numbers = count(1)
    return Agent(ME, nodes, lambda: uid(next(numbers)))


def mine(nodes: int = 2, listening: bool = True, **states: Any) -> SwopView:
    found = [
        TaskPeer(uid=uid(int(name[1:])), state=state, description=said, since=1)
        for name, (state, said) in states.items()
    ]
    return SwopView(
        uid=ME, container="c", nodes=nodes, listening=listening, enrolled=bool(found), peers=found
    )


def view(state: RunnerState = IDLE, *swops: SwopView, **more: Any) -> TaskRunnerView:
    fields: dict[str, Any] = {
        "name": "r", "state": state, "run": 1, "task": "t", "type": TaskType.RUN_SWARM,
        "mode": Assignment.PEERS, "needed": 2, "swops": list(swops), "active": 0, "completed": 0,
        "failed": 0, "waiting_for": "", "created": 1,
    }  # fmt: skip
    if state is IDLE:
        fields |= {"task": "", "type": None, "mode": None, "needed": 0}
    return TaskRunnerView(**{**fields, **more})


class Seen:
    """Feeds an agent and answers what it asks for with Done, but for what a test answers."""

    def __init__(self, one: Agent) -> None:
        self.agent, self.cursors = one, count()

    def see(self, what: TaskRunnerView) -> list[ev.Command]:
        return self.agent.handle(ev.RunnerSeen(what, str(next(self.cursors))))

    def done(self, command: ev.Command) -> list[ev.Command]:
        return self.agent.handle(ev.Done(command))

    def ready(self) -> "Seen":
        """Swept and listening."""
        [sweep] = self.see(view(IDLE, mine()))
        assert sweep == ev.Sweep(0)
        assert self.done(sweep) == []
        return self


def test_first_it_sweeps_then_it_listens():
    seen = Seen(agent())
    assert seen.see(view()) == [ev.Sweep(0)]
    assert seen.done(ev.Sweep(0)) == [ev.Listen(2)]
    assert seen.see(view()) == [], "once is enough"
    assert seen.done(ev.Listen(2)) == []
    assert seen.see(view(IDLE, mine())) == []


def test_another_number_of_nodes_is_told():
    seen = Seen(agent(3))
    seen.see(view(IDLE, mine(nodes=2)))
    assert seen.done(ev.Sweep(0)) == [ev.Listen(3)]


def test_a_pair_for_each_node():
    seen = Seen(agent()).ready()
    enrol = ev.Enrol(1, "t", (uid(1), uid(2)))
    assert seen.see(view(ASSIGNED, mine())) == [enrol]
    assert seen.see(view(RUNNING, mine())) == [], "under way"
    peers = (ev.Peer(0, uid(1)), ev.Peer(1, uid(2)))
    assert seen.done(enrol) == [ev.Start(1, "t", TaskType.RUN_SWARM, peers)]


@pytest.mark.parametrize(
    ("nodes", "more", "enrols"),
    [
        (0, {}, False),
        (2, {"mode": Assignment.TARGET, "targets": [OTHER]}, False),
        (2, {"mode": Assignment.TARGET, "targets": [ME]}, True),
        (2, {"active": 2, "needed": 2}, True),
        (0, {"type": TaskType.PULL_IMAGE}, True),
        (2, {"type": TaskType.PULL_IMAGE, "active": 1, "completed": 1}, False),
        (2, {"type": TaskType.PULL_IMAGE, "active": 1, "failed": 1}, True),
        (2, {"type": TaskType.PULL_IMAGE, "active": 2, "targets": [ME]}, True),
        (2, {"type": TaskType.PULL_IMAGE, "mode": Assignment.TARGET, "targets": [OTHER]}, False),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "-".join(value) or "plain",
)  # fmt: skip
def test_it_asks_only_for_what_the_contract_would_give(nodes, more, enrols):
    seen = Seen(agent(nodes))
    seen.done(seen.see(view(IDLE, mine(nodes)))[0])
    commands = seen.see(view(RUNNING, mine(nodes), **more))
    assert [type(each) for each in commands] == ([ev.Enrol] if enrols else [])


def test_refused_it_waits_for_a_change():
    seen = Seen(agent()).ready()
    [enrol] = seen.agent.handle(ev.RunnerSeen(view(ASSIGNED, mine()), "7"))
    assert seen.agent.handle(ev.Refused(enrol, "wrong-state")) == []
    assert seen.agent.handle(ev.RunnerSeen(view(ASSIGNED, mine()), "7")) == []
    [again] = seen.agent.handle(ev.RunnerSeen(view(ASSIGNED, mine()), "8"))
    assert isinstance(again, ev.Enrol)


def working(seen: Seen) -> Seen:
    """Enrolled with two pairs that run."""
    [enrol] = seen.see(view(ASSIGNED, mine()))
    [start] = seen.done(enrol)
    assert seen.done(start) == []
    return seen


def test_an_end_is_reported_then_cleared():
    seen = working(Seen(agent()).ready())
    [report] = seen.agent.handle(ev.PeerEnded(1, uid(2), GOOD))
    assert report == ev.Report(1, uid(2), GOOD)
    assert seen.done(report) == [ev.Clear(1, uid(2))]
    assert seen.done(ev.Clear(1, uid(2))) == []
    assert seen.agent.handle(ev.PeerEnded(1, uid(2), BAD)) == [], "it ends once"


def test_a_late_refusal_of_an_earlier_run_is_not_taken_for_this():
    seen = Seen(agent()).ready()
    [old] = seen.see(view(ASSIGNED, mine()))
    [drop] = seen.see(view(ASSIGNED, mine(), run=2))
    [new] = seen.done(drop)
    assert seen.agent.handle(ev.Refused(old, "wrong-run")) == []
    assert [type(each) for each in seen.done(new)] == [ev.Start]


def test_reset_drops_before_the_next_run():
    seen = working(Seen(agent()).ready())
    assert seen.see(view(IDLE, mine())) == [ev.Drop(1)]
    assert seen.see(view(ASSIGNED, mine(), run=2)) == [], "one task at a time"
    assert seen.agent.handle(ev.PeerEnded(1, uid(1), GOOD)) == []
    [enrol] = seen.done(ev.Drop(1))
    assert enrol == ev.Enrol(2, "t", (uid(3), uid(4)))


def test_what_was_reset_stays_reset():
    seen = working(Seen(agent()).ready())
    [drop] = seen.see(view(IDLE, mine()))
    assert seen.see(view(ASSIGNED, mine())) == [], "from an SN that is behind"
    assert seen.agent.handle(ev.PeerEnded(1, uid(1), GOOD)) == []
    assert drop == ev.Drop(1)


def test_an_sn_that_is_behind_does_not_confuse_it():
    seen = working(Seen(agent()).ready())
    seen.see(view(RUNNING, mine(p1=(ACTIVE, ""), p2=(ACTIVE, "")), run=2))
    assert seen.agent.job is not None
    assert seen.see(view(RUNNING, mine(), run=1)) == []


def test_after_a_restart_it_goes_on():
    seen = Seen(agent())
    there = view(RUNNING, mine(p7=(ACTIVE, ""), p8=(TaskPeerState.COMPLETE, "done")))
    assert seen.see(there) == [ev.Sweep(1)]
    commands = seen.done(ev.Sweep(1))
    assert ev.Start(1, "t", TaskType.RUN_SWARM, (ev.Peer(0, uid(7)),)) in commands
    assert ev.Clear(1, uid(8)) in commands
    assert not any(isinstance(each, ev.Report | ev.Enrol) for each in commands)


def test_after_a_restart_a_finished_run_is_not_begun_anew():
    seen = Seen(agent())
    seen.see(view(COMPLETE, mine(p7=(ACTIVE, ""))))
    [start] = seen.done(ev.Sweep(1))
    assert isinstance(start, ev.Start)
    assert not start.fresh


def test_taken_for_lost_it_comes_back_with_the_same_peers():
    seen = working(Seen(agent()).ready())
    gone = mine(listening=False, p1=(TaskPeerState.ERROR, LOST), p2=(TaskPeerState.ERROR, LOST))
    assert seen.see(view(ERROR, gone)) == [ev.Listen(2)]
    assert seen.done(ev.Listen(2)) == [ev.Enrol(1, "t", (uid(1), uid(2)))]
    assert seen.done(ev.Enrol(1, "t", (uid(1), uid(2)))) != [], "the view is old still"


def test_a_target_lets_it_replace_what_failed():
    seen = working(Seen(agent()).ready())
    for number, outcome in ((1, GOOD), (2, BAD)):
        [report] = seen.agent.handle(ev.PeerEnded(1, uid(number), outcome))
        [clear] = seen.done(report)
        seen.done(clear)
    swop = mine(p1=(TaskPeerState.COMPLETE, ""), p2=(TaskPeerState.ERROR, "broken"))
    counts = {"completed": 1, "failed": 1}
    assert seen.see(view(ERROR, swop, **counts)) == []
    assert seen.see(view(RUNNING, swop, targets=[ME], **counts)) == [], "it was its first target"
    asked = swop.model_copy(update={"retry": True})
    [enrol] = seen.see(view(RUNNING, asked, targets=[ME], **counts))
    assert enrol == ev.Enrol(1, "t", (uid(1), uid(3)))
    assert seen.done(enrol) == [ev.Start(1, "t", TaskType.RUN_SWARM, (ev.Peer(1, uid(3)),))]


def test_a_target_lets_it_try_again_itself():
    seen = Seen(agent()).ready()
    pull = {"type": TaskType.PULL_IMAGE, "needed": 1}
    [enrol] = seen.see(view(ASSIGNED, mine(), **pull))
    assert enrol == ev.Enrol(1, "t", (ME,))
    [start] = seen.done(enrol)
    seen.done(start)
    [report] = seen.agent.handle(ev.PeerEnded(1, ME, BAD))
    seen.done(seen.done(report)[0])
    failed = SwopView(
        uid=ME, container="c", nodes=2, listening=True, enrolled=True, retry=True,
        peers=[TaskPeer(uid=ME, state=TaskPeerState.ERROR, description="broken", since=1)],
    )  # fmt: skip
    [again] = seen.see(view(RUNNING, failed, targets=[ME], failed=1, **pull))
    assert again == enrol
    assert seen.done(again) == [start]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_it_repeats_nothing_under_way(data):
    """Random views, ends, answers: never the same command twice, never two runs at once."""
    one = agent(data.draw(st.integers(0, 2)))
    under_way: list[ev.Command] = []
    run, cursors = 1, count()
    for _ in range(data.draw(st.integers(1, 25))):
        choice = data.draw(st.sampled_from(["view", "done", "refused", "ended", "reset"]))
        if choice == "reset":
            run += 1
        if choice in ("view", "reset"):
            state = data.draw(st.sampled_from(RunnerState))
            swop = mine(data.draw(st.integers(0, 2)), data.draw(st.booleans()))
            event: ev.Event = ev.RunnerSeen(view(state, swop, run=run), str(next(cursors)))
        elif choice == "ended" and one.job is not None and one.job.peers:
            peer = data.draw(st.sampled_from(one.job.peers))
            event = ev.PeerEnded(one.job.run, peer, data.draw(st.sampled_from([GOOD, BAD])))
        elif under_way:
            command = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            is_write = isinstance(command, ev.Enrol | ev.Report)
            event = (
                ev.Refused(command, "x") if choice == "refused" and is_write else ev.Done(command)
            )
        else:
            continue
        wanted = one.handle(event)
        assert not set(wanted) & set(under_way)
        under_way += wanted
        for each in wanted:
            if isinstance(each, ev.Start | ev.Enrol):
                assert one.job is not None
                assert each.run == one.job.run
                assert not any(isinstance(other, ev.Drop) for other in under_way)


def test_a_run_that_was_reset_is_not_brought_back_by_an_sn_that_is_behind():
    seen = Seen(agent()).ready()
    [enrol] = seen.see(view(ASSIGNED, mine()))
    seen.done(enrol)
    [drop] = seen.see(view(IDLE, mine()))
    assert drop == ev.Drop(1)
    assert seen.done(drop) == []
    assert seen.see(view(RUNNING, mine(p1=(ACTIVE, ""), p2=(ACTIVE, "")))) == []
    assert seen.see(view(ASSIGNED, mine())) == []
    [enrol] = seen.see(view(ASSIGNED, mine(), run=2))
    assert enrol == ev.Enrol(2, "t", (uid(3), uid(4)))
