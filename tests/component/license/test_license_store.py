"""The database under the office: nothing half-done, and never more leases than capacity."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import LicenseRefusedError
from services.common.ids import NodeKind
from services.common.license_api import Client, Feature, LeaseRequest
from services.common.tls import PeerCertificate
from services.license.adapters.desk import Desk
from services.license.adapters.store import Store, StoreError
from services.license.core.leases import Lease, LeaseGoneError
from tests.component.license.conftest import Clock, Server, a_document, trust

LEASE_S = 100
CAPACITY = 3


def a_lease(number, **changes):
    client = Client(uid=f"{number:032x}", host="h")
    return replace(Lease(f"lease{number}", Feature.SL, client, "SL-1", 1.0, 2.5), **changes)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "licenses.sqlite")
    yield made
    made.close()


def test_keeps_what_it_is_given(tmp_path, store):
    with store.transaction():
        store.put(a_lease(1))
        store.put(a_lease(2, expires=9.0))
    store.close()
    again = Store(tmp_path / "licenses.sqlite")
    with again.transaction():
        assert again.leases() == [a_lease(1), a_lease(2, expires=9.0)]
        assert again.leases(Feature.SN) == []
        assert again.ended(2.5) == [a_lease(1)]
        assert again.lease("lease2") == a_lease(2, expires=9.0)
        assert again.lease("lease3") is None
    again.close()


def test_a_transaction_that_fails_leaves_nothing(store):
    with pytest.raises(KeyError), store.transaction():
        store.put(a_lease(1))
        raise KeyError
    with store.transaction():
        assert store.leases() == []


def fill(store):
    """Let the database not grow any more, as on a full disk."""
    pages = next(store._db.execute("PRAGMA page_count"))[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")


def write_much(store):
    with store.transaction():
        store.put(a_lease(1))
        store.put_document("s", "x" * 100_000)


def test_a_full_disk_is_an_error_that_says_so_and_harms_nothing(store):
    fill(store)
    with pytest.raises(StoreError, match="full"):
        write_much(store)
    with store.transaction():
        assert store.leases() == []
    store._db.execute("PRAGMA max_page_count = 100000")
    write_much(store)
    with store.transaction():
        assert store.leases() == [a_lease(1)]


async def test_a_client_is_told_of_a_full_disk(tmp_path, pki):
    async with Server(tmp_path / "license", pki).running() as server:
        fill(server.office._store)
        statuses = []
        while 503 not in statuses:
            answer = await server.acquire(len(statuses))
            statuses.append(answer.status_code)
            assert len(statuses) < 500
        assert answer.json()["code"] == "storage"
        held = len((await server.send("GET", "/leases")).json())
        assert held == statuses.count(201)


def test_history_is_chained(store):
    for number in range(3):
        with store.transaction():
            store.book.record(number, "granted", f"lease{number}", Feature.SL, "u", "SL-1")
    assert store.book.first_broken_row() is None
    store._db.execute("UPDATE history SET uid = 'v' WHERE seq = 2")
    assert store.book.first_broken_row() == 2
    store._db.execute("UPDATE history SET uid = 'u' WHERE seq = 2")
    assert store.book.first_broken_row() is None
    store._db.execute("DELETE FROM history WHERE seq = 1")
    assert store.book.first_broken_row() == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "renew", "release", "time", "restart"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(steps=steps)
def test_never_more_leases_than_capacity_whatever_happens(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("license")
    clock = Clock()
    trust(folder)
    caller = _caller()

    def start():
        opened = Store(folder / "licenses.sqlite")
        made = Desk.make(opened, folder, clock, LEASE_S, wall=clock)
        made.open()
        return opened, made.office, made.shelf

    store, office, shelf = start()
    shelf.install(a_document(CAPACITY, datetime(2020, 1, 1, tzinfo=UTC)), "test")
    model = {}  # uid -> (lease id, expires)
    for verb, number in steps:
        model = {uid: lease for uid, lease in model.items() if lease[1] > clock.now}
        if verb == "time":
            clock.now += number * LEASE_S / 4
        elif verb == "restart":
            store.close()
            store, office, shelf = start()
        elif verb == "acquire":
            _acquire(office, caller, model, number, clock.now)
        elif number in model:
            _continue(office, caller, model, number, verb, clock.now)
        model = {uid: lease for uid, lease in model.items() if lease[1] > clock.now}
        held = {int(lease.client.uid, 16): lease.lease_id for lease in office.usage()[2]}
        assert held == {uid: lease[0] for uid, lease in model.items()}
        assert len(held) <= CAPACITY
    assert store.book.first_broken_row() is None
    store.close()


def _caller():
    return PeerCertificate("0" * 64, "SL-1", NodeKind.SL, datetime(2100, 1, 1, tzinfo=UTC))


def _acquire(office, caller, model, number, now):
    request = LeaseRequest(feature=Feature.SL, client=Client(uid=f"{number:032x}"))
    try:
        lease = office.acquire(request, caller)
    except LicenseRefusedError:
        assert len(model) == CAPACITY
        assert number not in model
    else:
        model[number] = (lease.lease_id, now + LEASE_S)


def _continue(office, caller, model, number, verb, now):
    lease_id, _ = model[number]
    if verb == "renew":
        office.renew(lease_id, caller)
        model[number] = (lease_id, now + LEASE_S)
    else:
        office.release(lease_id, caller)
        del model[number]
        with pytest.raises(LeaseGoneError, match="was released"):
            office.renew(lease_id, caller)
