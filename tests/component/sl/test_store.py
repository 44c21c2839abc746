"""The store on a real disk: only complete, verified files, and nothing left after a failure."""

import errno
import os
import resource
import threading

import pytest

from services.common.errors import DigestMismatchError, NotFoundError, StorageError
from services.common.ids import Digest
from services.sl.adapters.store import Store
from swarmlearning.wire.digest import digest_of
from tests.component.sl.plane import noise, put

CONTENT = noise(3_000_000)
DIGEST = Digest(digest_of(CONTENT))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


def test_what_is_put_in_comes_out(store):
    assert not store.has(DIGEST)
    assert put(store, CONTENT) == DIGEST
    assert store.has(DIGEST)
    assert store.size(DIGEST) == len(CONTENT)
    assert store.path(DIGEST).read_bytes() == CONTENT
    with store.open(DIGEST) as model:
        assert model.read(10, 5) == CONTENT[10:15]
        tail = bytearray(20)
        model.read_into(memoryview(tail), len(CONTENT) - 20)
        assert tail == CONTENT[-20:]


def test_a_file_is_not_there_before_it_is_committed(store):
    with store.writer() as draft:
        draft.write(CONTENT)
        assert not store.has(DIGEST)
    assert names(store) == []


def test_a_draft_of_the_wrong_size_is_refused_and_gone(store):
    with store.writer(len(CONTENT)) as draft:
        draft.write(CONTENT[:-1])
        with pytest.raises(DigestMismatchError, match="2999999 bytes, not 3000000"):
            draft.commit(DIGEST)
    assert names(store) == []


def test_a_draft_may_be_replaced_at_its_path(store, tmp_path):
    (tmp_path / "made").write_bytes(CONTENT)
    with store.writer() as draft:
        (tmp_path / "made").rename(draft.path)
        draft.commit(DIGEST)
    assert store.path(DIGEST).read_bytes() == CONTENT


def test_adopt_checks_and_moves(store, tmp_path):
    path = tmp_path / "made"
    path.write_bytes(CONTENT)
    assert store.adopt(path, DIGEST) == len(CONTENT)
    assert not path.exists()
    assert store.has(DIGEST)


def test_adopt_refuses_what_is_something_else(store, tmp_path):
    path = tmp_path / "made"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DigestMismatchError):
        store.adopt(path, DIGEST)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(NotFoundError):
        store.adopt(link, Digest(digest_of(CONTENT[:-1])))
    assert names(store) == []


def test_a_restart_removes_drafts_and_keeps_good_files(store):
    put(store, CONTENT)
    (store.folder / ".abc.part").write_bytes(b"half")
    again = Store(store.folder)
    assert names(again) == [DIGEST]
    assert not again.is_checked(DIGEST)
    assert again.has(DIGEST)
    assert again.is_checked(DIGEST)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_a_file_damaged_on_disk_is_found_after_a_restart_and_removed(store, damage):
    put(store, CONTENT)
    wrong = {"flipped": b"\1" + CONTENT[1:], "short": CONTENT[:-1], "empty": b""}[damage]
    assert wrong != CONTENT
    store.path(DIGEST).write_bytes(wrong)
    again = Store(store.folder)
    with pytest.raises(NotFoundError, match="damaged"):
        again.open(DIGEST)
    assert names(again) == []


@pytest.mark.parametrize("damage", [b"\1" + CONTENT[1:], CONTENT[:-1]], ids=["flipped", "short"])
def test_a_file_damaged_on_disk_while_we_run_is_found_and_removed(store, damage):
    put(store, CONTENT)
    assert store.is_checked(DIGEST)
    store.path(DIGEST).write_bytes(damage)
    assert not store.is_checked(DIGEST)
    with pytest.raises(NotFoundError, match="damaged"):
        store.open(DIGEST)
    assert names(store) == []


def test_a_file_that_changes_while_it_is_checked_is_checked_again(store, monkeypatch):
    put(store, CONTENT)
    again = Store(store.folder)
    read = os.pread

    def change_afterwards(fd, length, offset):
        piece = read(fd, length, offset)
        if not piece:
            store.path(DIGEST).write_bytes(b"\1" + CONTENT[1:])
        return piece

    monkeypatch.setattr(os, "pread", change_afterwards)
    again.open(DIGEST).__exit__()
    monkeypatch.undo()
    assert not again.is_checked(DIGEST)
    with pytest.raises(NotFoundError, match="damaged"):
        again.open(DIGEST)


def test_a_damaged_file_that_a_good_one_replaced_meanwhile_is_not_missed(store, monkeypatch):
    put(store, CONTENT)
    store.path(DIGEST).write_bytes(CONTENT[:-1])
    again = Store(store.folder)
    read = os.pread

    def replace_afterwards(fd, length, offset):
        piece = read(fd, length, offset)
        if not piece:
            put(again, CONTENT)
        return piece

    monkeypatch.setattr(os, "pread", replace_afterwards)
    with pytest.raises(NotFoundError, match="damaged"):
        again.open(DIGEST)
    monkeypatch.undo()
    assert again.is_checked(DIGEST)
    assert names(again) == [DIGEST]


async def test_the_event_loop_does_not_wait_for_a_file_that_must_be_read_first(store, monkeypatch):
    put(store, CONTENT)
    again = Store(store.folder)
    read, readers = os.pread, set()

    def noted(*arguments):
        readers.add(threading.current_thread())
        return read(*arguments)

    monkeypatch.setattr(os, "pread", noted)
    assert await again.holds(DIGEST)
    assert readers
    assert threading.main_thread() not in readers
    assert again.is_checked(DIGEST)
    assert not await again.holds(Digest("0" * 64))


def test_a_file_that_was_only_touched_stays(store):
    put(store, CONTENT)
    os.utime(store.path(DIGEST), (1, 1))
    assert not store.is_checked(DIGEST)
    assert store.has(DIGEST)
    assert store.is_checked(DIGEST)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "a" * 63, "A" * 64, "a" * 63 + "\n", "a" * 63 + "\0"]
)
def test_names_that_are_no_digests(store, name):
    with pytest.raises(NotFoundError, match="not a model digest"):
        store.path(Digest(name))
    assert not store.has(Digest(name))


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo"])
def test_only_regular_files_are_served(store, tmp_path, kind):
    outside = tmp_path / "secret"
    outside.write_bytes(CONTENT)
    path = store.path(DIGEST)
    {
        "symlink": lambda: path.symlink_to(outside),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }[kind]()
    with pytest.raises(NotFoundError):
        store.open(DIGEST)


def test_collect_keeps_what_it_is_told_and_disturbs_no_reader(store):
    other = put(store, b"other")
    put(store, CONTENT)
    (store.folder / "not-ours.txt").write_text("x")
    with store.open(DIGEST) as model:
        assert store.collect({other}) == 1
        assert model.read(0, len(CONTENT)) == CONTENT
    assert names(store) == sorted([other, "not-ours.txt"])
    assert not store.has(DIGEST)
    assert store.has(other)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(store):
    put(store, CONTENT)
    with store.open(DIGEST) as model:
        os.truncate(store.path(DIGEST), 100)
        with pytest.raises(StorageError, match="got shorter"):
            model.read_into(memoryview(bytearray(200)), 0)


@pytest.fixture
def small_disk():
    """No file may grow over 1 MB: what a full disk does, from the same system calls."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(store, small_disk):
    with pytest.raises(StorageError, match="the disk is full: free some space"):
        put(store, CONTENT)
    assert names(store) == []
    assert put(store, CONTENT[:1000])


def test_no_space_left_is_the_same(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="disk is full"):
        patch.setattr(os, "pwrite", full)
        put(store, CONTENT)
    assert names(store) == []
    put(store, CONTENT)


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use"):
        Store(tmp_path / "file" / "store")


def test_the_folder_is_for_this_user_only(store):
    assert store.folder.stat().st_mode & 0o777 == 0o700
