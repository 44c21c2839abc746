"""Identities from a SPIFFE Workload API, on its real protocol over a real socket."""

import asyncio
import ssl
import time

import pytest
from spiffe._proto import workload_pb2

from services.common.certificate import spiffe_role
from services.common.errors import ConfigError, RemoteError
from services.common.identity_watch import kept_identity
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.spiffe_source import SpiffeSource, socket_path
from services.common.tls import LOOK_S, Identity
from tests.component.identity.site import Clock, Site, authority, shake_hands
from tests.fakes.workload_api import TrustDomain, WorkloadApi

PATIENCE = 20.0


@pytest.fixture
def home():
    return TrustDomain("example.org")


@pytest.fixture
def agents(tmp_path):
    """Makes agents: ``agents("name")``; each has a socket of its own."""
    made = []

    def make(name="agent", started=True):
        made.append(WorkloadApi(tmp_path / f"{name}.sock"))
        return made[-1].start() if started else made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def identities():
    """Makes identities from agents, which end with the test."""
    made = []

    def make(api, role=NodeKind.SL, patience=PATIENCE):
        settings = NodeSettings(swarm_spiffe_workload_api_socket_path=str(api.socket))
        source = SpiffeSource(settings, role)
        made.append(source)
        clock = Clock()
        identity = Identity(source.first(patience), source, clock)
        identity.clock = clock
        return identity

    yield make
    for each in made:
        each.close()


def until_generation(identity, number):
    end = time.monotonic() + PATIENCE
    while True:
        identity.clock.now += LOOK_S
        if identity.generation >= number:
            return
        assert time.monotonic() < end, "no update came"
        time.sleep(0.02)  # it comes from a thread


def ids(*ends):
    from services.common.tls import read_certificate

    return [read_certificate(end.getpeercert(binary_form=True)).common_name for end in ends]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/sn", NodeKind.SN), ("/hospital/sl-12", NodeKind.SL), ("/host-3/swop-a", NodeKind.SWOP),
        ("/SWCI", NodeKind.SWCI), ("/license", NodeKind.LICENSE), ("/lic-1", NodeKind.LICENSE),
        ("/apls", NodeKind.LICENSE), ("/sn/sl-1", NodeKind.SL), ("/alice", None), ("", None),
        ("/snow", None), ("/ns/sn/sa/web", None), ("/sl-1/", None),
    ],
)  # fmt: skip
def test_the_role_is_what_the_last_part_of_the_path_names(path, role):
    assert spiffe_role(f"spiffe://sn.example.org{path}") is role


@pytest.mark.parametrize("said", ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"])
def test_forms_of_the_path(said):
    assert socket_path(said) == "/run/a.sock"


@pytest.mark.parametrize("said", ["a.sock", "tcp://127.0.0.1:1", "unix:a.sock"])
def test_a_path_that_is_none(said):
    with pytest.raises(ConfigError, match="name the agent's socket by its absolute path"):
        socket_path(said)


def test_files_and_spiffe_together_are_refused(tmp_path):
    settings = NodeSettings(
        swarm_spiffe_workload_api_socket_path="/run/a.sock", swarm_id_capath=tmp_path
    )
    with pytest.raises(ConfigError, match=r"SWARM_ID_CAPATH are set: .* Unset one or the other"):
        SpiffeSource(settings, NodeKind.SL)


def test_two_nodes_meet_and_know_each_other_by_their_ids(agents, identities, home):
    one, two = agents("one"), agents("two")
    one.send(home.svid("/sl-1"), domain=home)
    two.send(home.svid("/sn-1", intermediate=True), domain=home)
    sl, sn = identities(one), identities(two, NodeKind.SN)
    client, server = shake_hands(sl.client_context(), sn.server_context())
    assert ids(server, client) == ["spiffe://example.org/sl-1", "spiffe://example.org/sn-1"]
    assert sl.certificate.role is NodeKind.SL
    assert sl.objection(client) is None
    assert sn.objection(server) is None


def test_of_several_svids_the_one_of_our_role_counts(agents, identities, home):
    api = agents()
    api.send(home.svid("/sn"), home.svid("/sl-4"), domain=home)
    assert identities(api).certificate.spiffe_id == "spiffe://example.org/sl-4"


def test_rotation_of_svid_and_of_the_ca_without_a_restart(agents, identities, home):
    one, two = agents("one"), agents("two")
    one.send(home.svid("/sl-1"), domain=home)
    two.send(home.svid("/sn-1"), domain=home)
    sl, sn = identities(one), identities(two, NodeKind.SN)
    contexts = sl.client_context(), sn.server_context()
    client, _ = shake_hands(*contexts)
    first = sl.certificate.fingerprint
    home.rotate()
    one.send(home.svid("/sl-1"), domain=home)
    two.send(home.svid("/sn-1"), domain=home)
    until_generation(sl, 1)
    until_generation(sn, 1)
    assert sl.certificate.fingerprint != first
    assert sl.objection(client) is None
    shake_hands(*contexts)
    home.forget()
    one.send(home.svid("/sl-1"), domain=home)
    until_generation(sl, 2)
    assert "is not trusted any more" in sl.objection(client)
    shake_hands(*contexts)
    assert sl.holder_of(sl.der()) == sn.holder_of(sl.der())


def test_federated_domains_are_trusted_for_their_own_ids_only(agents, identities, home):
    other = TrustDomain("partner.org")
    one, two, liar = agents("one"), agents("two"), agents("liar")
    one.send(home.svid("/sl-1"), domain=home, federated=[other])
    two.send(other.svid("/sn-1"), domain=other, federated=[home])
    liar.send(other.svid("", spiffe_id="spiffe://example.org/sn-1"), domain=other, federated=[home])
    sl = identities(one)
    good = identities(two, NodeKind.SN)
    assert shake_hands(sl.client_context(), good.server_context())
    lies = identities(liar, NodeKind.SN)
    with pytest.raises(ssl.SSLCertVerificationError, match="does not speak for the trust domain"):
        shake_hands(sl.client_context(), lies.server_context())


def test_who_is_not_federated_or_has_no_id_is_refused(tmp_path, agents, identities, home):
    stranger = TrustDomain("stranger.org")
    one, two = agents("one"), agents("two")
    one.send(home.svid("/sl-1"), domain=home)
    two.send(stranger.svid("/sn-1"), domain=stranger, federated=[home])
    sl = identities(one)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(sl.client_context(), identities(two, NodeKind.SN).server_context())
    from compose.authority import Authority, Issued

    site = Site(tmp_path / "files", Authority(Issued(*home.cas[0])), "SN-1")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate without a SPIFFE ID"):
        shake_hands(sl.client_context(), site.identity(NodeKind.SN).server_context())


def test_an_agent_that_restarts(agents, identities, home, caplog):
    caplog.set_level("INFO", "swarm.tls")
    api = agents()
    api.send(home.svid("/sl-1"), domain=home)
    sl = identities(api)
    api.stop()
    end = time.monotonic() + PATIENCE
    while "is away" not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.02)  # said by a thread
    assert "going on with what it sent last" in caplog.text
    api.send(home.svid("/sl-1"), domain=home)
    api.start()
    until_generation(sl, 1)
    assert "answers again" in caplog.text


def test_malformed_updates_are_told_and_the_old_identity_goes_on(agents, identities, home, caplog):
    api = agents()
    api.send(home.svid("/sl-1"), domain=home)
    sl = identities(api)
    api.send_raw(workload_pb2.X509SVIDResponse(
        svids=[workload_pb2.X509SVID(spiffe_id="spiffe://example.org/sl-1", x509_svid=b"junk")]
    ))  # fmt: skip
    end = time.monotonic() + PATIENCE
    while "the new identity cannot be used" not in caplog.text:
        sl.clock.now += LOOK_S
        assert sl.generation == 0
        assert time.monotonic() < end
        time.sleep(0.02)
    assert "sent something malformed" in caplog.text
    api.send(home.svid("/sl-1"), domain=home)
    until_generation(sl, 1)


@pytest.mark.parametrize(
    ("svid", "says"),
    [
        ({"path": "/sn-1"}, "is a certificate of role SN, this node is SL"),
        (
            {"path": "/alice"},
            "role none, this node is SL: .* last part of its SPIFFE ID must be sl",
        ),
        ({"path": "/sl-1", "days": -0.5}, "expired on"),
        ({"path": "/sl-1", "ca": True}, "malformed: .*CA flag"),
        ({"path": "", "spiffe_id": "https://example.org/sl-1"}, "malformed: .*not a SPIFFE ID"),
    ],
)
def test_svids_that_will_not_do(agents, identities, home, svid, says):
    api = agents()
    api.send(home.svid(**svid), domain=home)
    with pytest.raises(ConfigError, match=says):
        identities(api, patience=2.0)


def test_no_entry_and_no_socket_are_waited_for_and_named(agents, identities):
    with pytest.raises(RemoteError, match=r"in 1 s .*there is no socket .* Is the agent running"):
        identities(agents("none", started=False), patience=1.0)
    with pytest.raises(RemoteError, match="registration entry"):
        identities(agents("empty"), patience=1.5)


async def test_a_node_waits_for_its_socket_and_says_so(agents, home, caplog):
    caplog.set_level("INFO", "swarm.tls")
    api = agents(started=False)
    settings = NodeSettings(swarm_spiffe_workload_api_socket_path=f"unix://{api.socket}")

    async def live():
        async with kept_identity(settings, NodeKind.SL) as identity:
            return identity.certificate.spiffe_id

    node = asyncio.create_task(live())
    async with asyncio.timeout(PATIENCE):
        while "waiting for the SPIFFE Workload API" not in caplog.text:
            await asyncio.sleep(0.02)
        api.send(home.svid("/sl-1"), domain=home)
        await asyncio.to_thread(api.start)
        assert await node == "spiffe://example.org/sl-1"
    assert "identity: spiffe://example.org/sl-1, valid until" in caplog.text


def test_files_of_another_kind_do_not_trust_svids(tmp_path, agents, identities, home):
    api = agents()
    api.send(home.svid("/sl-1"), domain=home)
    site = Site(tmp_path / "files", authority(), "SN-1")
    with pytest.raises(ssl.SSLError):
        shake_hands(identities(api).client_context(), site.identity(NodeKind.SN).server_context())
