"""A node whose certificate is renewed stays the same node, on any SN; nobody else becomes it."""

import dataclasses
import shutil

import pytest

from services.common import tls
from services.common.errors import ForbiddenError
from services.common.identity_files import FileSource
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.sn_client import SnClient
from services.common.tls import Identity
from tests.component.sn.conftest import Peer
from tests.pki import Pki


@pytest.fixture(autouse=True)
def looks_always(monkeypatch):
    monkeypatch.setattr(tls, "LOOK_S", 0.0)


class Node:
    """An SL with files of its own, which the test replaces."""

    def __init__(self, folder, swarm, name="1"):
        folder.mkdir()
        self.capath, self.pki = swarm.pki.capath, swarm.pki
        self.key, self.cert = folder / "key.pem", folder / "cert.pem"
        self.take(self.pki, name)
        settings = NodeSettings(
            swarm_id_key=self.key, swarm_id_cert=self.cert, swarm_id_capath=self.capath
        )
        source = FileSource(settings, NodeKind.SL)
        self.identity = Identity(source.load(), source)

    def take(self, pki, name):
        files = pki.files(NodeKind.SL, name)
        shutil.copy(files["SWARM_ID_KEY"], self.key)
        shutil.copy(files["SWARM_ID_CERT"], self.cert)

    def renew(self, pki, name):
        """Replace the files, and see to it that the identity noticed."""
        before = self.identity.generation
        self.take(pki, name)
        assert self.identity.generation == before + 1


@pytest.fixture
async def peer_of(swarm):
    made = []

    def make(sn, node):
        made.append(SnClient(node.identity, [sn.endpoint], patience=0.0))
        return Peer(made[-1], "1", NodeKind.SL)

    yield make
    for client in made:
        await client.close()


async def fingerprint(peer):
    return next(n.fingerprint for n in await peer.client.nodes() if n.uid == peer.uid)


async def test_a_renewed_node_goes_on_at_once_and_registers_its_new_certificate(
    swarm, tmp_path, peer_of
):
    sn = await swarm.sn()
    node = Node(tmp_path / "node", swarm)
    peer = peer_of(sn, node)
    await peer.register()
    await peer.enrol(min_peers=1)
    old = node.identity.certificate.fingerprint
    other_ca = Pki(tmp_path / "new", "CA-NEW")
    shutil.copy(other_ca.ca_cert, swarm.pki.capath)
    node.renew(other_ca, "1")
    new = node.identity.certificate.fingerprint
    assert new != old
    await peer.client.alive(peer.uid)  # before it registered anew
    assert await fingerprint(peer) == old
    await peer.register()
    assert await fingerprint(peer) == new
    await peer.check_in()
    node.renew(other_ca, "2")
    await peer.client.alive(peer.uid)


async def test_a_renewal_that_the_sn_missed_is_proven_later(swarm, tmp_path, peer_of):
    sn = await swarm.sn()
    node = Node(tmp_path / "node", swarm)
    peer = peer_of(sn, node)
    await peer.register()
    for name in ("2", "3"):
        node.renew(swarm.pki, name)
    await peer.client.alive(peer.uid)
    await peer.register()


async def test_another_holder_cannot_become_it(swarm, tmp_path, peer_of):
    sn = await swarm.sn()
    node, thief = Node(tmp_path / "node", swarm), Node(tmp_path / "thief", swarm, "9")
    peer, fake = peer_of(sn, node), peer_of(sn, thief)
    fake.uid = peer.uid
    await peer.register()
    node.renew(swarm.pki, "2")
    stolen = node.identity.renewed
    thief.identity._present = dataclasses.replace(thief.identity.now(), renewed=stolen)
    assert thief.identity.renewed == stolen
    for attempt in (fake.register(), fake.client.alive(peer.uid)):
        with pytest.raises(ForbiddenError, match="another certificate"):
            await attempt
    await peer.client.alive(peer.uid)
