"""Journals of whole simulated trainings, replayed."""

import json
from pathlib import Path

import pytest

from services.common import sn_api as api
from services.common.errors import ConfigError, IllegalTransitionError, ProtocolError
from services.sl import replay
from services.sl.adapters import journal as journals
from services.sl.adapters.journal import Journal
from services.sl.core import events as ev
from tests.fakes.swarm import SimSwarm, uid_of


@pytest.fixture
def journal():
    """Opens journals; all are closed in the end."""
    opened = []

    def open_(path, limit=journals.LIMIT):
        opened.append(Journal(path, "test", limit))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


@pytest.fixture
def journalled(journal, tmp_path):
    """Has every peer of a simulated swarm write a journal; the paths."""
    return lambda swarm, **options: _journalled(swarm, tmp_path, journal, **options)


def begin(journal):
    return journal.begin(me=uid_of(0), generation=1, interval=4, quorum_wait=0.0)


def _journalled(swarm, folder, journal, **options):
    paths = []
    for peer in swarm.peers.values():
        paths.append(folder / f"{peer.uid[-2:]}.jsonl")
        old = peer.machine
        recorded = journal(paths[-1], **options).begin(
            me=old.me, generation=old.generation, interval=old.interval,
            quorum_wait=old.quorum_wait,
        )  # fmt: skip
        peer.machine = recorded.training
        peer.handle = recorded.handle
    return paths


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("seed", range(5))
def test_a_training_with_a_crash_replays_the_same(seed, journalled):
    swarm = SimSwarm(seed, peers=5, min_peers=3, quorum_wait=5.0)
    paths = journalled(swarm)
    swarm.after(6.0, lambda: swarm.crash(swarm.peers[uid_of(1)]))
    swarm.after(9.0, lambda: swarm.pause(swarm.peers[uid_of(2)], 30.0))
    swarm.run()
    for path in paths:
        report = replay.check(path)
        assert report.difference is None, report
        assert (report.runs, report.broken_off) == (1, False)
        assert report.events > 20
        assert report.commands == sum(len(line.get("commands", ())) for line in lines(path))


def test_a_journal_of_limited_size_goes_on_from_the_machines_state(journalled):
    swarm = SimSwarm(7, peers=3, min_peers=3)
    paths = journalled(swarm, limit=30_000)
    swarm.run()
    for path in paths:
        before = path.with_name(path.name + ".1")
        assert "state" in lines(path)[0]
        assert "state" in lines(before)[0]  # not the first one: it was turned over twice
        assert path.stat().st_size + before.stat().st_size < 2 * (30_000 + 10_000)
        report = replay.check(path)
        assert (report.difference, report.runs) == (None, 2)


@pytest.fixture
def written(journalled):
    """The journal of one peer of a small training."""
    swarm = SimSwarm(1, peers=2, min_peers=2)
    path = journalled(swarm)[0]
    swarm.run()
    return path


def test_the_first_difference_is_shown(written, capsys):
    changed = lines(written)
    number, line = next((n, x) for n, x in enumerate(changed, 1) if x.get("commands"))
    line["commands"][0]["weightage"] = 99
    written.write_text("".join(json.dumps(x) + "\n" for x in changed))
    difference = replay.check(written).difference
    assert difference.line == number
    assert difference.written["commands"][0]["weightage"] == 99
    assert difference.replayed["commands"][0]["weightage"] == 1
    assert replay.main([str(written)]) == 1
    assert f"{written}:{number}: the replay differs" in capsys.readouterr().out


def test_half_a_last_line_is_what_a_killed_process_leaves(written, capsys):
    whole = replay.check(written).events
    written.write_bytes(written.read_bytes()[:-40])
    report = replay.check(written)
    assert (report.events, report.broken_off, report.difference) == (whole - 1, True, None)
    assert replay.main([str(written)]) == 0
    assert "the last line is not whole" in capsys.readouterr().out


def test_a_new_process_continues_the_file_of_one_that_was_killed(written, journal):
    written.write_bytes(written.read_bytes()[:-40])
    begin(journal(written)).handle(ev.Tick(1.0))
    report = replay.check(written)
    assert (report.runs, report.difference) == (2, None)


def test_an_error_of_the_machine_is_part_of_the_journal(tmp_path, journal):
    path = tmp_path / "journal.jsonl"
    machine = begin(journal(path))
    asked = ev.MlAsked(1, ev.Model("1" * 64, 10), 1, api.PeerState.TRAINING, 1.0)
    machine.handle(asked)
    with pytest.raises(IllegalTransitionError):
        machine.handle(asked)
    assert lines(path)[-1]["error"].startswith("IllegalTransitionError: ")
    assert replay.check(path).difference is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, ConfigError),
        ('{"event":{"_":"Tick","now":1.0},"commands":[]}\n', ProtocolError),
        ('{"journal":99,"version":"x","arguments":{}}\n', ProtocolError),
        ('{"journal":1,"version":"x","arguments":{"_":"dict","items":[]}}\n', ProtocolError),
        ('{"journal":1,"version":"x","state":{"_":"Tick","now":1.0}}\n', ProtocolError),
        ('what\n{"event":{"_":"Tick","now":1.0},"commands":[]}\n', ProtocolError),
    ],
    ids=["no file", "no head", "format", "arguments", "state", "no JSON"],
)
def test_what_is_no_journal_is_refused(text, error, tmp_path, capsys):
    path = tmp_path / "journal.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error):
        replay.check(path)
    assert replay.main([str(path)]) == error.exit_code
    assert str(path) in capsys.readouterr().err


def test_a_full_disk_ends_the_journal_and_not_the_training(journal, caplog):
    full = journal(Path("/dev/full"))
    assert begin(full).handle(ev.Tick(1.0)) == []
    assert not full.on
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_a_folder_that_cannot_be_made_ends_the_journal_and_not_the_training(
    tmp_path, journal, caplog
):
    (tmp_path / "file").touch()
    assert begin(journal(tmp_path / "file" / "journal.jsonl")).handle(ev.Tick(1.0)) == []
    assert "goes on without it" in caplog.text


def test_without_a_file_nothing_is_written(journal):
    off = journal(None)
    assert begin(off).handle(ev.Tick(1.0)) == []
    assert not off.on
