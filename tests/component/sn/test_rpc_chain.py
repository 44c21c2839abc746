"""An SN's engine on an Ethereum client: starting, what it refuses, keys, and deploying once."""

import asyncio
import logging
import ssl
import time
from functools import partial

import pytest
from eth_account import Account

from services.common.errors import ChainUnavailableError, ConfigError, RemoteError
from services.common.ids import NodeKind
from services.sn.adapters import rpc_chain
from services.sn.adapters.account import account_from
from services.sn.adapters.outbox import GAS, Outbox
from services.sn.adapters.rpc_provider import SEND, RpcProvider
from services.sn.adapters.site import recall
from tests.anvil import Anvil
from tests.anvil.front import Front
from tests.component.sn.conftest import ANVIL, PATIENCE
from tests.component.sn.world import external, running, world_on
from tests.pki import Pki

PASSWORD = "hunter2"


async def started(engine):
    """What ends the start: None once it is ready."""
    async with asyncio.timeout(PATIENCE):
        async with running(engine):
            return


@pytest.fixture
def client(anvil):
    return anvil(ANVIL)


# --- starting


async def test_it_waits_for_its_client_and_says_so(tmp_path, caplog):
    client = Anvil()
    engine = await external(tmp_path, client.url)
    task = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while "does not answer" not in caplog.text:
                await asyncio.sleep(0.01)
            assert client.url in engine.status()
            with pytest.raises(ChainUnavailableError, match="no chain yet"):
                _ = engine.chain_id
            await asyncio.to_thread(client.start)
            await engine.ready.wait()
        assert "answers again" in caplog.text
        assert engine.chain_id == client.chain_id
    finally:
        task.cancel()
        await asyncio.wait([task])
        await engine.close()
        client.stop()


async def test_it_gives_up_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(rpc_chain, "PATIENCE", 0.0)
    with pytest.raises(RemoteError, match=r"does not answer.*gave up after 0 s"):
        await started(await external(tmp_path, Anvil().url))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gas_limit": GAS - 1}, rf"allows {GAS - 1} gas to a block.*raise the gas limit"),
        ({"base_fee": 7}, r"base fee \(7 wei\).*zeroBaseFee"),
    ],
)
async def test_a_chain_that_does_not_fit(tmp_path, changes, words):
    client = Anvil(**changes).start()
    try:
        with pytest.raises(ConfigError, match=words):
            await started(await external(tmp_path, client.url))
    finally:
        client.stop()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"body": b"<html>hello</html>"}, "does not speak JSON-RPC"),
        ({"body": b"[]"}, "does not speak JSON-RPC"),
        ({"status": 404, "body": b"no"}, "HTTP status 404.*path, user and password"),
        ({"body": b'{"jsonrpc":"2.0","id":0,"result":null}'}, "no Ethereum client that we can use"),
        (
            {"body": b'{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"not open"}}'},
            r"not open.*its API ETH is open",
        ),
    ],
)
async def test_what_answers_is_no_ethereum_client(tmp_path, answer, words):
    with Front(**answer) as front, pytest.raises(ConfigError, match=words) as refused:
        await started(await external(tmp_path, front.url))
    assert front.url in str(refused.value)


async def test_a_client_that_starts_behind_a_proxy_is_waited_for(tmp_path, caplog, client):
    with Front(status=502, body=b"bad gateway") as front:
        task = asyncio.create_task(started(await external(tmp_path, front.url)))
        async with asyncio.timeout(PATIENCE):
            while "HTTP status 502" not in caplog.text:
                await asyncio.sleep(0.01)
            front.behind = client.url
            await task


@pytest.mark.parametrize(
    "url", ["", "anvil:8545", "ftp://host:1", "http://", "http://host:99999", "http://host:0"]
)
async def test_a_url_that_is_none(tmp_path, url):
    with pytest.raises(ConfigError, match="SN_ETH_RPC_URL must be"):
        await external(tmp_path, url)


# --- secrets


async def test_user_and_password_are_used_and_never_told(tmp_path, client, caplog):
    caplog.set_level(logging.DEBUG)
    proof = "Basic dXNlcjpodW50ZXIy"
    with Front(client.url, authorization=proof) as front:
        url = f"http://user:{PASSWORD}@127.0.0.1:{front.port}/secret-path?key={PASSWORD}"
        async with world_on(await external(tmp_path, url)) as world:
            await world.writer.write(world.name("a"))
            assert front.seen[-1] == (f"/secret-path?key={PASSWORD}", proof)
            front.authorization = "Basic other"
            async with asyncio.timeout(PATIENCE):
                while "HTTP status 401" not in world.chain.status():
                    await asyncio.sleep(0.01)
        assert PASSWORD not in world.chain.status()
    assert PASSWORD not in caplog.text
    assert "secret-path" not in caplog.text


async def test_https_needs_a_certificate_that_is_trusted(tmp_path, client, monkeypatch):
    pki = Pki(tmp_path / "front")
    files = pki.bad_files(NodeKind.SN, common_name="localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files["SWARM_ID_CERT"], files["SWARM_ID_KEY"])
    with Front(client.url, tls=tls) as front:
        url = f"https://localhost:{front.port}"
        with pytest.raises(ConfigError, match=r"certificate of https.*SSL_CERT_FILE"):
            await started(await external(tmp_path, url))
        monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca_cert))
        async with running(await external(tmp_path, url)) as engine:
            assert engine.chain_id == client.chain_id


@pytest.mark.parametrize("prefix", ["", "0x"])
async def test_a_key_from_a_file(tmp_path, prefix, caplog, client):
    account, file = Account.create(), tmp_path / "key"
    file.write_text(f"{prefix}{account.key.hex().removeprefix('0x')}\n")
    file.chmod(0o600)
    async with running(await external(tmp_path, client.url, key_file=file)) as engine:
        assert engine.account.address == engine.genesis_signer == account.address
    assert not (tmp_path / "chain" / "account.key").exists()
    assert "can be read by others" not in caplog.text
    file.chmod(0o640)
    assert account_from(file).address == account.address
    assert "can be read by others: chmod 600" in caplog.text


@pytest.mark.parametrize("text", ["", "0x", "12" * 31, "12" * 33, "zz" * 32, "00" * 32, "ÿ" * 64])
def test_a_key_file_that_holds_none(tmp_path, text):
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigError, match="64 hex digits") as refused:
        account_from(file)
    assert len(text) < 4 or text not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(ConfigError, match="cannot read SN_ETH_KEY_FILE"):
        account_from(tmp_path / "none")


# --- the same chain as before


async def test_a_restart_finds_the_same_swarm_and_another_chain_is_refused(tmp_path, client):
    async with running(await external(tmp_path, client.url)) as engine:
        site, account = engine.site, engine.account.address
    async with running(await external(tmp_path, client.url)) as engine:
        assert (engine.site, engine.account.address) == (site, account)
    other = Anvil().start()
    try:
        with pytest.raises(ConfigError, match="on another chain"):
            await started(await external(tmp_path, other.url))
        other.stop()
        other.chain_id, other.options = client.chain_id, ("--timestamp", "5")
        other.start()
        with pytest.raises(ConfigError, match=r"genesis .* than this swarm .*genesis"):
            await started(await external(tmp_path, other.url))
    finally:
        other.stop()


async def test_a_client_without_the_contracts_is_waited_for(tmp_path, client, monkeypatch):
    """It catches up with the chain; or it has lost its data."""
    async with running(await external(tmp_path, client.url)) as engine:
        site = engine.site
    memory = tmp_path / "chain" / "external-chain.json"
    memory.write_text(memory.read_text().replace(f'"nonce": {site.nonce}', '"nonce": 70'))
    monkeypatch.setattr(rpc_chain, "PATIENCE", 0.0)
    with pytest.raises(RemoteError, match="catching up still, or has lost its data"):
        await started(await external(tmp_path, client.url))


async def test_contracts_of_another_version_are_refused(tmp_path, client):
    async with running(await external(tmp_path, client.url)) as engine:
        registry, _ = engine.site.addresses()
    code = client.ask("eth_getCode", registry, "latest")
    client.ask("anvil_setCode", registry, code[:-2] + "77")
    with pytest.raises(ConfigError, match="not the one that this version deploys"):
        await started(await external(tmp_path, client.url))


@pytest.mark.parametrize("text", ["{", "{}", '{"origin": "x", "site": {"chain_id": -1}}'])
async def test_a_damaged_memory_is_named(tmp_path, client, text):
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "external-chain.json").write_text(text)
    with pytest.raises(ConfigError, match=r"external-chain\.json"):
        await external(tmp_path, client.url)


async def test_two_processes_cannot_share_a_folder(tmp_path, client):
    async with running(await external(tmp_path, client.url)):
        with pytest.raises(ConfigError, match="in use by another SN"):
            await external(tmp_path, client.url)


# --- deploying


class _KilledError(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Lets so many transactions out, then fails like a process that is killed."""

    def after(count, *, but_sends=False):
        left, send = count, RpcProvider.make_request

        async def request(self, method, params):
            nonlocal left
            if method == SEND:
                if left == 0 and but_sends:
                    await send(self, method, params)
                if left == 0:
                    raise _KilledError
                left -= 1
            return await send(self, method, params)

        monkeypatch.setattr(RpcProvider, "make_request", request)

    yield after


@pytest.mark.parametrize("sends", [0, 1])
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_sentinel_killed_while_it_deploys_makes_no_second_registry(
    tmp_path, client, killed_at, monkeypatch, sends, arrives
):
    killed_at(sends, but_sends=arrives)
    with pytest.raises(_KilledError):
        await started(await external(tmp_path, client.url))
    monkeypatch.undo()
    planned = recall(tmp_path / "chain")
    assert (planned.deployed, planned.site.nonce) == (False, 0)
    async with running(await external(tmp_path, client.url)) as engine:
        assert engine.site == planned.site
        account = engine.account.address
    assert recall(tmp_path / "chain").deployed
    assert int(client.ask("eth_getTransactionCount", account, "latest"), 16) == 2


async def test_a_plan_of_another_key_is_made_anew(tmp_path, client, killed_at, monkeypatch):
    killed_at(0)
    with pytest.raises(_KilledError):
        await started(await external(tmp_path, client.url))
    monkeypatch.undo()
    account, file = Account.create(), tmp_path / "key"
    file.write_text(account.key.hex())
    file.chmod(0o600)
    async with running(await external(tmp_path, client.url, key_file=file)) as engine:
        assert engine.genesis_signer == account.address
    async with running(await external(tmp_path, client.url)) as engine:
        assert engine.genesis_signer == account.address, "what is deployed stays"


async def test_what_another_sn_told_is_kept_once_it_proved_right(tmp_path, client):
    async with running(await external(tmp_path / "1", client.url)) as engine:
        site = engine.site

    async def learn(**wrong):
        return site.model_copy(update=wrong)

    folder = tmp_path / "2"
    with pytest.raises(ConfigError, match="on another chain"):
        wrong = partial(learn, genesis="ab" * 32)
        await started(await external(folder, client.url, learn=wrong))
    assert recall(folder / "chain").site is None
    async with running(await external(folder, client.url, learn=learn)) as engine:
        assert engine.site == site
        assert engine.account.address != site.deployer
    assert recall(folder / "chain").site == site


async def test_an_account_that_was_used_before(tmp_path, client):
    account, file = Account.create(), tmp_path / "key"
    file.write_text(account.key.hex())
    file.chmod(0o600)
    use(client, account, 0, 3)
    head = int(client.ask("eth_blockNumber"), 16)
    async with running(await external(tmp_path, client.url, key_file=file)) as engine:
        assert engine.site.nonce == engine.first_nonce == 3
        deployed = int(client.ask("eth_blockNumber"), 16)
        assert head <= engine.first_block < deployed  # anvil may count the last block late


@pytest.mark.parametrize("first", [0, 1], ids=["both numbers", "the second number"])
async def test_numbers_that_another_program_took_meanwhile(
    tmp_path, client, monkeypatch, first, caplog
):
    account, file = Account.create(), tmp_path / "key"
    file.write_text(account.key.hex())
    file.chmod(0o600)
    send, sends = RpcProvider.make_request, 0

    async def request(self, method, params):
        nonlocal sends
        if method == SEND:
            if sends == first:
                use(client, account, first, 2 - first)
            sends += 1
        return await send(self, method, params)

    monkeypatch.setattr(RpcProvider, "make_request", request)
    async with running(await external(tmp_path, client.url, key_file=file)) as engine:
        assert engine.site.nonce == 2
        assert recall(tmp_path / "chain").site == engine.site
    assert "deploying again" in caplog.text


def use(client, account, first, count):
    """Another program sends with the account."""
    for nonce in range(first, first + count):
        fields = {
            "nonce": nonce, "gas": 100_000, "gasPrice": 0, "value": 0, "data": b"",
            "chainId": client.chain_id, "to": account.address,
        }  # fmt: skip
        raw = bytes(account.sign_transaction(fields).raw_transaction)
        client.ask(SEND, f"0x{raw.hex()}")
    give_up = time.monotonic() + PATIENCE
    while int(client.ask("eth_getTransactionCount", account.address, "latest"), 16) < first + count:
        assert time.monotonic() < give_up, "anvil takes them first and makes their blocks then"


async def test_a_client_that_wants_money(tmp_path, client, monkeypatch):
    send = RpcProvider.make_request

    async def request(self, method, params):
        if method == SEND:
            return {"error": {"code": -32009, "message": "Gas price below configured minimum"}}
        return await send(self, method, params)

    monkeypatch.setattr(RpcProvider, "make_request", request)
    with pytest.raises(ConfigError, match=r"Gas price below configured minimum.*gas price 0"):
        await started(await external(tmp_path, client.url))


async def test_sending_fails_clearly_too(tmp_path, client, monkeypatch):
    async with running(await external(tmp_path, client.url)) as engine:

        async def request(method, params):
            if method == SEND:
                return {"error": {"code": -32009, "message": "no"}}
            return await answer(method, params)

        answer = engine.provider.make_request
        monkeypatch.setattr(engine.provider, "make_request", request)
        with pytest.raises(ChainUnavailableError, match="eth_sendRawTransaction: no"):
            await Outbox(engine).send((None, b"\x00"))


async def test_the_folder_of_an_embedded_chain_is_refused(tmp_path, client):
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "chain.sqlite3").touch()
    with pytest.raises(ConfigError, match="holds an embedded chain"):
        await external(tmp_path, client.url)
