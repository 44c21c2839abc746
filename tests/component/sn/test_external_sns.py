"""SNs on an external chain, through their APIs: who may write, settings that must fit, one key."""

import asyncio
import json
import secrets

import pytest

from services.common import sn_api as api
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.sn.adapters import abi
from services.sn.adapters.account import SwarmAccount
from services.sn.adapters.admission import prove
from services.sn.adapters.site import Site
from tests.component.sn.conftest import only_anvil
from tests.component.sn.test_many_sns import joining
from tests.component.sn.test_nodes_api import fetch

WRITERS = "/v1/network/writers"


@only_anvil
async def test_another_sn_proves_its_account_and_may_write(swarm):
    sn = await swarm.sn()
    network = json.loads(await fetch(swarm, sn, "/v1/network", role=NodeKind.SN))
    assert network["p2p"] == []
    site, account = Site(**network["site"]), SwarmAccount(secrets.token_bytes(32))
    shown = prove(account, site, swarm.pki.identity(NodeKind.SN).certificate.fingerprint)
    body = shown.model_dump()
    for _ in range(2):
        await fetch(swarm, sn, WRITERS, 204, role=NodeKind.SN, json=body)
    asked = {
        "jsonrpc": "2.0", "id": 1, "method": "eth_call",
        "params": [{"to": site.addresses()[0], "data": is_writer(account)}, "latest"],
    }  # fmt: skip
    answer = json.loads(await fetch(swarm, sn, "/eth", json=asked))
    assert int(answer["result"], 16) == 1
    assert "SN" in await fetch(swarm, sn, WRITERS, 403, role=NodeKind.SL, json=body)


def is_writer(account):
    return f"0x{abi.abi(abi.REGISTRY).call('isWriter', account.address).hex()}"


@only_anvil
async def test_a_proof_is_good_for_one_account_one_certificate_and_one_swarm(swarm):
    sn = await swarm.sn()
    site = Site(**json.loads(await fetch(swarm, sn, "/v1/network", role=NodeKind.SN))["site"])
    mine = swarm.pki.identity(NodeKind.SN).certificate.fingerprint
    account, other = SwarmAccount(secrets.token_bytes(32)), SwarmAccount(secrets.token_bytes(32))
    stolen = prove(account, site, "ab" * 32)
    wrong = [
        stolen,
        prove(other, site, mine).model_copy(update={"account": account.address}),
        prove(account, site.model_copy(update={"nonce": site.nonce + 1}), mine),
        prove(account, site.model_copy(update={"chain_id": site.chain_id + 1}), mine),
        stolen.model_copy(update={"proof": "00" * 65}),
    ]
    for shown in wrong:
        text = await fetch(swarm, sn, WRITERS, 403, role=NodeKind.SN, json=shown.model_dump())
        assert "account" in text
    await fetch(swarm, sn, WRITERS, 400, role=NodeKind.SN, json={"account": "x", "proof": "y"})
    call = [{"to": site.addresses()[0], "data": is_writer(account)}, "latest"]
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": call}
    assert int(json.loads(await fetch(swarm, sn, "/eth", json=asked))["result"], 16) == 0


async def test_on_a_chain_of_its_own_nobody_is_let_write_by_the_api(swarm):
    sn = await swarm.sn()
    assert '"site":null' in await fetch(swarm, sn, "/v1/network", role=NodeKind.SN)
    body = {"account": SwarmAccount(secrets.token_bytes(32)).address, "proof": "00" * 65}
    text = await fetch(swarm, sn, WRITERS, 404, role=NodeKind.SN, json=body)
    assert "on their links" in text


# --- settings


@only_anvil
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sn_eth_rpc_url": ""}, "SN_CHAIN=rpc needs SN_ETH_RPC_URL"),
        ({"sn_eth_rpc_url": "htp://host:1"}, "SN_ETH_RPC_URL must be http"),
        ({"sn_i_am_sentinel": False}, "SENTINEL_NODE_IP"),
        ({"sn_chain": "embedded"}, "no effect without SN_CHAIN=rpc"),
        ({"sn_eth_key_file": "/nowhere"}, "SN_ETH_KEY_FILE /nowhere"),
    ],
)
async def test_settings_that_do_not_fit_together(swarm, changes, words):
    with pytest.raises(ConfigError, match=words):
        await swarm.sn(**changes)


@only_anvil
async def test_all_sns_of_a_swarm_must_be_set_alike(swarm):
    own = {"sn_chain": "embedded", "sn_eth_rpc_url": ""}
    external = await swarm.sn("1")
    with pytest.raises(ConfigError, match=r"set to an external chain .* this one to the embedded"):
        await swarm.sn("2", **joining(external), **own)
    embedded = await swarm.sn("3", **own)
    with pytest.raises(ConfigError, match=r"set to the embedded chain .* this one to an external"):
        await swarm.sn("4", **joining(embedded))


@only_anvil
async def test_sns_with_one_key_are_two_nodes(swarm, tmp_path):
    key = tmp_path / "shared.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    first = await swarm.sn("1", sn_eth_key_file=key)
    second = await swarm.sn("2", **joining(first), sn_eth_key_file=key)
    here, there = await swarm.peer(first, "1"), await swarm.peer(second, "2")
    nodes = await here.client.nodes()
    assert len([n for n in nodes if n.kind is NodeKind.SN and n.alive]) == 2
    await asyncio.gather(here.enrol(), there.enrol())
    states = await asyncio.gather(here.check_in(digit="a"), there.check_in(digit="b"))
    assert any(state.view.phase is api.Phase.QUORUM for state in states)
