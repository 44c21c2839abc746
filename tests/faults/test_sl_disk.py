"""F11, S4: an SL's disk is full; others ask its file server for what it does not serve.

The "disk" is a limit on the size of a file (``RLIMIT_FSIZE``), which a test can set and lift while
the SL runs, and which needs no root: a write past it fails as one on a full disk does.
"""

import resource
import ssl

import pytest

from services.common.ids import NodeKind
from services.common.sn_api import Phase
from swarmlearning.wire.digest import digest_of
from tests.component.sl.plane import Client
from tests.faults.actor import Actor
from tests.faults.invariants import check
from tests.faults.standing import LARGE, PATIENCE, until

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]
FULL = "the disk is full: free some space"


def fill(pair):
    """No file of this SL may grow to more than half a model."""
    limits = (2 * LARGE, resource.RLIM_INFINITY)
    resource.prlimit(pair.sl.pid, resource.RLIMIT_FSIZE, limits)


def free(pair):
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(pair.sl.pid, resource.RLIMIT_FSIZE, limits)


async def full_in_round(training, victim):
    """A round in which the victim's disk fills up after it checked in, and is freed later."""
    before = victim.synced
    others = training.others(victim)
    victim.sync()
    await training.until(lambda v: victim.of(v).checkin, "no check-in")
    told = victim.sl.said(1_000_000).count(FULL)
    fill(victim)
    for pair in others:
        pair.sync()
    await until(lambda: victim.sl.said(1_000_000).count(FULL) > told, "nobody says it")
    assert victim.synced == before
    assert not list(victim.store.glob(".*part")), "half a file is left"
    free(victim)
    await training.synced(before + 1)


async def test_a_disk_that_is_full_for_a_while(train):
    training = await train("full", 2, items=LARGE)
    leader = await training.pair()
    follower = await training.pair(SL_MAKE_ME_ADMIN="False")
    await training.enrolled()
    training.sync()
    await training.synced(1)
    await full_in_round(training, leader)  # it cannot fetch, nor merge
    await full_in_round(training, follower)  # it cannot get the merged model
    await training.end()
    told = await check(training, *training.pairs)
    assert all(len(r.contributors) == 2 for r in told.rounds)
    assert not told.of("Dropped")


async def test_a_leader_whose_disk_stays_full_makes_room_for_another(train):
    training = await train("full-leader", 2, items=LARGE)
    await training.start(3, SL_WAIT_FOR_FULL_QUORUM_SECONDS="20")
    training.sync()
    await training.synced(1)
    for pair in training.pairs[:2]:
        pair.sync()
    view = await training.until(lambda v: v.phase is Phase.QUORUM, "no quorum")
    leader = training.leader(view)
    fill(leader)
    training.pairs[2].sync()
    await training.until_round(3, 30)
    await training.synced(2, *training.others(leader))
    assert leader.synced == 1
    free(leader)
    await training.synced(2)
    training.sync()
    await training.synced(3)
    await training.end()

    told = await check(training, *training.pairs)
    second = told.rounds[1]
    assert second.leader != leader.uid
    assert second.leaders[1].reason == "leader left"
    assert {1, 3, 4} <= set(told.took_part(leader)), "it is back, with what it trained"
    (left,) = told.of("Left", peer=leader.uid)
    assert FULL in str(left.data["reason"])


async def test_a_disk_too_full_for_the_ml_programs_model_ends_that_sl(train):
    training = await train("full-at-hand-over", 2, items=LARGE)
    *others, victim = await training.start(3)
    training.sync()
    await training.synced(1)
    fill(victim)
    training.sync()
    assert await victim.sl.end(PATIENCE) == 3
    assert FULL in victim.sl.said().splitlines()[-1]
    assert await victim.ml.end(PATIENCE) != 0
    assert FULL in victim.ml.said()
    await training.synced(2, *others)
    await training.end(*others)
    told = await check(training, *others)
    assert told.took_part(victim) == [1]
    (left,) = told.of("Left", peer=victim.uid)
    assert FULL in str(left.data["reason"])


# --- what a file server serves

NAME = "0" * 64
SECRET = b"nobody else's business"
PATHS = (
    "/secret", "//secret", "/", "/../secret", "/v1/models/", "/v1/models/../../secret",
    "/v1/models/..%2f..%2fsecret", "/v1/models/%2e%2e/%2e%2e/secret",
    "/v1/models/..\\..\\secret", "/v1/models//etc/passwd", "/v1/models/%2fetc%2fpasswd",
    "/v1/models/{link}", "/v1/models/{digest}%00", "/v1/models/{digest}\0",
    "/v1/models/{digest}/", "/v1/models/{digest}?x=1", "/v1/models/{digest}#x",
    "/v1/models/{upper}", "/v1/models/{encoded}", "/v1/models/.{digest}",
    "/v1/models/./{digest}", "http://other/v1/models/{digest}", "file:///etc/passwd",
    "/v1/models/" + "a" * 5000, "*", "/proc/self/environ",
)  # fmt: skip
"""None of these may lead to a file."""


async def test_only_models_of_this_training_are_served(train):
    training = await train("files", 2)
    first, second = await training.start(2)
    actor = await training.enter(Actor(training))
    await training.until(lambda v: len(v.peers) == 3, "the actor is not enrolled")
    training.sync()
    view = await training.until_round(2)
    await training.synced(1)
    assert view.merged is not None
    digest = view.merged.digest
    (first.folder / "secret").write_bytes(SECRET)
    link = first.store / digest_of(SECRET)
    link.symlink_to(first.folder / "secret")
    names = {
        "digest": digest, "link": link.name, "upper": digest.upper(),
        "encoded": f"%{ord(digest[0]):02x}{digest[1:]}",
    }  # fmt: skip
    port = first.proxy.target

    async def ask(context, first_line, *fields):
        client = await Client.connect(port, context)
        try:
            return await client.ask(first_line, *fields)
        finally:
            await client.close()

    known = actor.identity.client_context()
    for path in PATHS:
        target = path.format_map(names)
        for verb in ("GET", "HEAD", "PUT", "DELETE"):
            fields = ("Content-Length: 0",) if verb == "PUT" else ()
            status, _, body = await ask(known, f"{verb} {target} HTTP/1.1", *fields)
            assert status in range(400, 506), (verb, target, status)
            assert SECRET not in body
            assert b"root:" not in body

    status, _, body = await ask(known, f"GET /v1/models/{digest} HTTP/1.1")
    assert status == 200
    assert digest_of(body) == digest
    stranger = training.standing.pki.identity(NodeKind.SL, "stranger").client_context()
    status, _, _ = await ask(stranger, f"GET /v1/models/{digest} HTTP/1.1")
    assert status == 403, "it is enrolled in no training"
    operator = training.standing.pki.identity(NodeKind.SWCI).client_context()
    status, _, _ = await ask(operator, f"GET /v1/models/{digest} HTTP/1.1")
    assert status == 403
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await ask(ssl._create_unverified_context(), f"GET /v1/models/{digest} HTTP/1.1")

    assert not list(first.folder.rglob("*etc*"))
    await actor.leave()
    await training.end()
    await check(training, first, second)


async def test_a_peer_of_another_training_is_served_nothing(train):
    ours, theirs = await train("ours", 1), await train("theirs", 1)
    (pair,) = await ours.start(1)
    pair.sync()
    view = await ours.until_round(2)
    assert view.merged is not None
    actor = await theirs.enter(Actor(theirs))
    client = await Client.connect(pair.proxy.target, actor.identity.client_context())
    status, _, _ = await client.ask(f"GET /v1/models/{view.merged.digest} HTTP/1.1")
    await client.close()
    assert status == 403
    await actor.leave()
    await ours.end()
    await check(ours, pair)
    assert view.phase is Phase.CHECKIN
