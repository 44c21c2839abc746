"""Links between SNs while their certificates and their CA are replaced: none is ever down."""

import asyncio
from dataclasses import replace

import pytest

from services.common.ids import NodeKind
from services.sn.adapters import p2p_link
from tests.component.sn.test_engine_p2p import DEADLINE_S, swarm, trio
from tests.pki import Pki


@pytest.fixture
async def sns(tmp_path, monkeypatch):
    monkeypatch.setattr(p2p_link, "CHECK_S", 1.0)
    async with swarm(tmp_path) as made:
        yield made


def shown(sn):
    """Fingerprints of the SNs that it is linked to, as their links show them."""
    return sorted(peer.fingerprint for peer in sn.chain.peers())


async def test_links_are_made_anew_before_the_old_ones_end(sns, tmp_path, caplog):
    nodes = await trio(sns)
    identities = [sn.chain._p2p._identity for sn in nodes[:3]]
    counter = nodes[3]
    new = Pki(tmp_path / "new", "CA-NEW")
    renewed = [new.identity(NodeKind.SN, name).material for name in "123"]
    old_ca, new_ca = identities[0].material.trusted, renewed[0].trusted
    for identity in identities:
        identity._take(replace(identity.material, trusted=(*old_ca, *new_ca)))
    for identity, material in zip(identities, renewed, strict=True):
        identity._take(replace(material, trusted=(*old_ca, *new_ca)))
    prints = [identity.certificate.fingerprint for identity in identities]
    async with asyncio.timeout(DEADLINE_S):
        for identity in identities:
            identity._take(replace(identity.material, trusted=new_ca))
        for number, sn in enumerate(nodes[:3]):
            others = sorted(p for n, p in enumerate(prints) if n != number)
            while shown(sn) != others:
                await sn.chain._p2p._changed.wait()
    await nodes[0].submit(to=counter)
    await nodes[1].until_same_head(nodes[0])
    assert " is down" not in caplog.text
