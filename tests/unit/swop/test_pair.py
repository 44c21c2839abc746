"""Every way in which an SL and its ML program can end."""

from itertools import permutations

import pytest

from services.common.task_api import LONGEST_TEXT, TaskPeerState
from services.swop.core import pair as on
from services.swop.core.engine import Role
from services.swop.core.outcome import Outcome, of_ml, of_sl, short

SL_FAILED = on.Ended(Role.SL, 4, ("x", "1 : swarm : ERROR : Exiting SL. Reason: no leader"))


def ended(role: Role, code: int = 0, *lines: str) -> on.Ended:
    return on.Ended(role, code, lines)


def run(*events: on.Event) -> list[on.Command]:
    """All that a pair wanted, from its start."""
    pair = on.Pair()
    return [command for event in (on.Started(), *events) for command in pair.handle(event)]


def outcome(*events: on.Event) -> Outcome:
    [finish] = [each for each in run(*events) if isinstance(each, on.Finish)]
    return finish.outcome


def test_a_training_that_ends_well():
    events = ended(Role.ML), on.SessionKnown(True), ended(Role.SL)
    assert run(*events) == [on.AskSession(), on.Finish(Outcome.complete("training complete"))]


def test_the_program_saves_its_model_after_its_sl_ended():
    assert run(ended(Role.SL)) == []
    assert run(ended(Role.SL), ended(Role.ML)) == [on.AskSession()]
    assert outcome(ended(Role.SL), ended(Role.ML), on.SessionKnown(True)).state == "COMPLETE"


@pytest.mark.parametrize("code", [0, 4, -15])
def test_without_a_session_the_sl_is_stopped(code):
    commands = run(ended(Role.ML), on.SessionKnown(False), ended(Role.SL, code))
    assert commands == [
        on.AskSession(), on.Stop(Role.SL, on.STOP_SECONDS),
        on.Finish(Outcome.complete("no swarm session")),
    ]  # fmt: skip


def test_a_program_that_fails_takes_its_sl_along():
    commands = run(ended(Role.ML, 1, "Traceback", "ValueError: x"), ended(Role.SL, -15))
    assert commands == [
        on.Stop(Role.SL, on.STOP_SECONDS),
        on.Finish(Outcome.error("ML exited with code 1: Traceback | ValueError: x")),
    ]


def test_a_program_that_fails_after_its_training():
    assert outcome(ended(Role.SL), ended(Role.ML, 3)).description == "ML exited with code 3"


def test_an_sl_that_fails_gives_its_program_some_seconds():
    commands = run(SL_FAILED, on.TimeUp(), ended(Role.ML, -15))
    assert commands == [
        on.Wait(on.ML_SECONDS), on.Stop(Role.ML, on.STOP_SECONDS),
        on.Finish(Outcome.error("SL exited with code 4: no leader")),
    ]  # fmt: skip
    assert on.Stop(Role.ML, on.STOP_SECONDS) not in run(SL_FAILED, ended(Role.ML), on.TimeUp())


def test_whichever_is_seen_first_the_program_that_crashed_is_to_blame():
    crashed = ended(Role.ML, -9)
    blames = ended(Role.SL, 4, "1 : x : ERROR : Exiting SL. Reason: the ML program closed its pipe")
    for events in ((crashed, blames), (blames, crashed)):
        assert outcome(*events).description.startswith("ML was killed by SIGKILL")
    assert outcome(blames, on.TimeUp(), crashed).description.startswith("SL exited"), "we killed it"
    assert outcome(SL_FAILED, crashed).description.startswith("SL exited")


def test_a_session_that_broke_off_is_the_sls_to_tell():
    said = outcome(ended(Role.ML), on.SessionKnown(True), SL_FAILED).description
    assert said == "SL exited with code 4: no leader"


def test_what_was_not_started():
    assert on.Pair().handle(on.StartFailed("no image")) == [on.Finish(Outcome.error("no image"))]


@pytest.mark.parametrize("ml", [0, 1])
@pytest.mark.parametrize("sl", [0, 4])
@pytest.mark.parametrize("had", [True, False])
def test_in_any_order_it_finishes_once(ml, sl, had):
    ends = [ended(Role.ML, ml), ended(Role.SL, sl), on.TimeUp(), on.TimeUp()]
    for order in permutations(ends):
        pair, queue = on.Pair(), [on.Started(), *order]
        finishes, asked = [], 0
        while queue:
            for command in pair.handle(queue.pop(0)):
                if isinstance(command, on.AskSession):
                    asked += 1
                    queue.append(on.SessionKnown(had))
                finishes += [command] if isinstance(command, on.Finish) else []
        assert len(finishes) == 1, order
        assert asked <= 1
        if ml:
            assert finishes[0].outcome.state is TaskPeerState.ERROR


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (2, "ML exited with code 2"),
        (-9, "ML was killed by SIGKILL (exit code -9, perhaps out of memory)"),
        (137, "ML was killed by SIGKILL (exit code 137, perhaps out of memory)"),
        (143, "ML was killed by SIGTERM (exit code 143)"),
        (255, "ML exited with code 255"),
    ],
)
def test_exit_codes_in_words(code, said):
    assert of_ml(code, []).description == said


def test_descriptions_fit_on_the_ledger():
    line = "x" * 500
    for found in (of_ml(1, [line, line]), of_sl(1, [line]), Outcome.error(line)):
        assert len(found.description) == LONGEST_TEXT
    assert of_ml(1, ["a" * 150, "ValueError: b"]).description.endswith(": ValueError: b")
    assert short("a\nb\t\x1b[0m\u2028c") == "a b [0m c"
    assert short("x\ud800") == "x?", "half a character cannot be sent"


def test_of_a_long_text_beginning_and_end_reach_the_ledger():
    text = "volume " + "\u3042" * 160 + " is missing: run the task that makes it"
    assert len(short(text)) == 160
    assert short(text).startswith("volume \u3042")
    assert short(text).endswith("\u3042 is missing: run the task that makes it")
    assert len(short(text).encode()) <= 640


def test_an_sl_without_a_reason_tells_its_last_line():
    assert of_sl(1, ["a", "b", " "]).description == "SL exited with code 1: b"
    assert of_sl(1, []).description == "SL exited with code 1: its log is empty"


@pytest.mark.parametrize("order", list(permutations(range(2))), ids=["sl-first", "ml-first"])
@pytest.mark.parametrize(
    ("ml", "had", "said"),
    [
        (ended(Role.ML, 3, "x"), None, "ML exited with code 3: x"),
        (ended(Role.ML), False, "no swarm session"),
        (ended(Role.ML), True, "SL was killed by SIGTERM (exit code -15): its log is empty"),
    ],
    ids=["failed", "no-session", "session"],
)
def test_found_over_an_sl_that_was_stopped_is_not_to_blame(order, ml, had, said):
    """The SWOP before us may have stopped it; which of the two ended first, nobody knows."""
    pair = on.Pair(found_over=True)
    both = (ended(Role.SL, -15), ml)
    events = [on.Started(), *(both[at] for at in order)]
    commands = [command for event in events for command in pair.handle(event)]
    if had is not None:
        assert on.AskSession() in commands
        commands = pair.handle(on.SessionKnown(had))
    [finish] = [each for each in commands if isinstance(each, on.Finish)]
    assert finish.outcome.description == said
