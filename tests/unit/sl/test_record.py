"""What a journal holds comes back as it was: every event, every command, every machine."""

import json
import math
from dataclasses import fields
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common import sn_api as api
from services.common.errors import ProtocolError
from services.sl.core import events as ev
from services.sl.core.record import from_json, to_json
from tests.fakes.swarm import SimSwarm

UIDS = st.sampled_from([letter * 32 for letter in "abc"])
DIGESTS = st.sampled_from([digit * 64 for digit in "123"])
WORDS = st.text(max_size=20)
NUMBERS = st.integers(0, 2**32 - 1)
FLOATS = st.floats(allow_nan=False)

st.register_type_strategy(
    api.Perf, st.builds(api.Perf, loss=FLOATS, metric=FLOATS, epochs=NUMBERS, total_epochs=NUMBERS)
)
CHECKINS = st.builds(api.CheckInView, base=DIGESTS, digest=DIGESTS, size=NUMBERS, weightage=NUMBERS)
PEERS = st.builds(
    api.PeerView, uid=UIDS, checkin=st.none() | CHECKINS, perf=st.none() | st.from_type(api.Perf)
)
MERGED = st.builds(api.Merged, digest=DIGESTS, leader=UIDS)
st.register_type_strategy(
    api.ContractView,
    st.builds(
        api.ContractView, peers=st.lists(PEERS, max_size=3), merged=st.none() | MERGED,
        quorum_age_s=st.none() | FLOATS,
    ),
)  # fmt: skip


def through_a_file(value):
    return from_json(json.loads(json.dumps(to_json(value))))


@pytest.mark.parametrize(
    "kind", [*get_args(ev.Event), *get_args(ev.Command)], ids=lambda k: k.__name__
)
def test_every_event_and_command_comes_back(kind):
    @settings(max_examples=25)
    @given(st.from_type(kind))
    def check(value):
        again = through_a_file(value)
        assert repr(again) == repr(value)  # there a NaN equals another
        for each in fields(value):
            assert type(getattr(again, each.name)) is type(getattr(value, each.name)), each.name

    check()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_losses_that_are_no_numbers_come_back(loss):
    perf = through_a_file(ev.ReportPerf(3, api.Perf(loss=loss, metric=0.0))).perf
    assert repr(perf.loss) == repr(loss)


def test_two_nans_of_a_journal_are_the_same_as_they_are_for_a_machine():
    wanted = ev.ReportPerf(3, api.Perf(loss=math.nan, metric=math.nan))
    assert {through_a_file(wanted): 1}[through_a_file(wanted)] == 1


def test_a_machine_in_the_middle_of_a_training_comes_back():
    swarm = SimSwarm(3, peers=4, min_peers=3)
    seen = []

    def look(command, peer):
        written = to_json(peer.machine)
        seen.append(type(command))
        assert to_json(through_a_file(peer.machine)) == written

    swarm.on_command(look)
    swarm.run()
    assert {ev.CheckIn, ev.Merge, ev.Publish, ev.Install, ev.AnswerClose} <= set(seen)


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, {"_": "Popen", "args": "x"}, {"_": "Tick"}, {"_": "Phase", "value": "LATE"}],
    ids=["no class", "unknown class", "no fields", "no such value"],
)
def test_what_no_journal_holds_is_refused(value):
    with pytest.raises(ProtocolError):
        from_json(value)


def test_a_class_that_no_journal_can_hold_is_a_bug_and_says_so():
    with pytest.raises(TypeError, match="Fraction"):
        to_json(Fraction(1, 2))
