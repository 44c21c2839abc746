"""A second thread that hashes: what happens when it fails."""

import pytest

from services.sl.adapters.intake import AHEAD, PIECE, Hashers, Intake
from services.sl.adapters.store import Store
from swarmlearning.wire.digest import Digester

SIZE = 3 * AHEAD * PIECE


@pytest.mark.timeout(30)
def test_a_hashing_thread_that_fails_is_an_error_and_blocks_nobody(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError("no more")

    monkeypatch.setattr(Digester, "update", fail)
    hashers = Hashers()
    store = Store(tmp_path)
    with (
        pytest.raises(MemoryError, match="no more"),
        store.writer(SIZE) as draft,
        Intake(draft, SIZE, hashers) as intake,
    ):
        while intake.missing:
            intake.add(intake.room())
        intake.hexdigest()
    assert list(tmp_path.iterdir()) == []
    assert hashers.start(lambda: None) is not None
    hashers.close()
