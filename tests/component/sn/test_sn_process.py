"""``python -m services.sn`` as users run it: exit codes, signals, restart from disk, a joiner."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.sn_client import SnClient
from services.sn.adapters.evm_store import DATABASE
from tests.component.sn.conftest import PATIENCE, Peer
from tests.pki import Pki

ROOT = Path(__file__).parents[3]
PAGE = 4096
"""Bytes of a page of SQLite's."""


class SnProcess:
    def __init__(self, pki, folder, name="1", **changes):
        self.pki, self.lines, self.endpoint, self.process = pki, [], "", None
        self.clients = []
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SN_", "SWARM_"))},
            **pki.files(NodeKind.SN, name), "THIS_NODE_IP": "127.0.0.1",
            "SWARM_BIND_IP": "127.0.0.1", "SN_API_SERVER_PORT": "0", "SN_P2P_LISTEN_PORT": "0",
            "SN_DATA_DIR": str(folder / f"chain-{name}"), "SN_I_AM_SENTINEL": "true", **changes,
        }  # fmt: skip

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.sn", cwd=ROOT, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stdout:
                self.lines.append(line.decode().rstrip())
                if ready := re.search(r"Starting SWARM-API-SERVER on port: (\d+)$", self.lines[-1]):
                    self.endpoint = f"127.0.0.1:{ready[1]}"
                    return self
        return self

    async def end(self):
        """Its exit code and last lines, after it ended by itself or by our signal."""
        async with asyncio.timeout(PATIENCE):
            rest = (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait(), [*self.lines, *rest]

    async def stop(self):
        self.process.terminate()
        return await self.end()

    def client(self, name="1"):
        made = SnClient(self.pki.identity(NodeKind.SL, name), [self.endpoint], patience=0.0)
        self.clients.append(made)
        return made

    async def peer(self, name="1"):
        peer = Peer(self.client(name), name, NodeKind.SL)
        await peer.register()
        return peer


@pytest.fixture
async def launch(tmp_path):
    started = []

    async def start(pki=None, **changes):
        sn = SnProcess(pki or Pki(tmp_path), tmp_path, **changes)
        started.append(sn)
        return await sn.start()

    yield start
    for sn in started:
        for client in sn.clients:
            await client.close()
        if sn.process.returncode is None:
            sn.process.kill()
        await sn.end()


async def test_ready_line_story_and_clean_stop_with_a_long_poll_open(launch):
    sn = await launch()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} : swarm\.blCnt : INFO : "
        r"Starting SWARM-API-SERVER on port: \d+",
        sn.lines[-1],
    )
    assert any("Acquiring floating license 1100000380:1" in line for line in sn.lines)
    client = sn.client()
    state = await client.state(DEFAULT_CONTRACT)
    watching = asyncio.create_task(client.watch(DEFAULT_CONTRACT, state.cursor, 60))
    await client.watch(DEFAULT_CONTRACT, state.cursor, 0.1)
    assert not watching.done()
    started = time.monotonic()
    code, lines = await sn.stop()
    assert code == 0, lines
    assert time.monotonic() - started < 15, "the long poll would last for 60 s"
    assert not [line for line in lines if "ERROR" in line or "Traceback" in line]
    await asyncio.wait([watching])


async def nodes_of(sn):
    return {n.uid: n for n in await sn.client().nodes()}


async def test_a_lone_sn_that_stops_signs_off_and_is_there_again_after_its_restart(launch):
    sn = await launch()
    ((uid, node),) = (await nodes_of(sn)).items()
    assert node.alive
    code, lines = await sn.stop()
    assert code == 0
    assert any("INFO : signed off: " in line for line in lines), lines
    await sn.start()
    ((again, node),) = (await nodes_of(sn)).items()
    assert (again, node.alive, node.left) == (uid, True, False)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (signal.SIGKILL, "signed off (the SNs that seal blocks are not in contact)"),
        (signal.SIGSTOP, "signed off (no block took it in 3 s)"),
    ],
    ids=str,
)
async def test_without_a_majority_an_sn_stops_in_order_all_the_same(launch, tmp_path, fault, words):
    pki = Pki(tmp_path)
    first = await launch(pki=pki)
    host, port = first.endpoint.split(":")
    second = await launch(
        pki=pki, name="2", SN_I_AM_SENTINEL="", SENTINEL_NODE_IP=host,
        SENTINEL_API_SERVER_PORT=port,
    )  # fmt: skip
    first.process.send_signal(fault)
    if fault is signal.SIGKILL:
        async with asyncio.timeout(PATIENCE):
            async for line in second.process.stdout:
                if b"waiting for the majority" in line:
                    break
    started = time.monotonic()
    code, lines = await second.stop()
    assert code == 0
    assert time.monotonic() - started < 8, "docker stop kills after 10 s"
    assert any(words in line for line in lines), lines
    assert not [line for line in lines if "ERROR" in line or "Traceback" in line], lines


async def test_a_restart_from_disk_tells_the_same_history(launch):
    sn = await launch()
    peer = await sn.peer()
    await peer.enrol(min_peers=1)
    before = (await peer.check_in(), (await peer.client.watch(DEFAULT_CONTRACT, "0", 0)).events)
    nodes = {n.uid for n in await peer.client.nodes()}
    sn.process.kill()
    await sn.end()

    await sn.start()
    peer.client = sn.client()
    after = (await peer.state(), (await peer.client.watch(DEFAULT_CONTRACT, "0", 0)).events)
    assert after[0].cursor == before[0].cursor
    assert after[1] == before[1]
    assert after[0].view.leader == peer.uid
    assert {n.uid for n in await peer.client.nodes()} == nodes
    await peer.client.alive(peer.uid)
    rows = await peer.client.contracts()
    assert [row.name for row in rows] == [DEFAULT_CONTRACT], "no second set of contracts"


async def refused(launch, **changes):
    code, lines = await (await launch(**changes)).end()
    errors = [line for line in lines if " : ERROR : " in line]
    assert len(errors) == 1, lines
    assert "Traceback" not in "".join(lines)
    return code, errors[0]


async def test_a_taken_port_ends_with_one_clear_line(launch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = await refused(launch, SN_API_SERVER_PORT=str(port))
    assert code == 2
    assert f"Exiting SN. Reason: the SN API cannot listen on 127.0.0.1:{port}" in line


async def test_neither_sentinel_nor_joining(launch):
    code, line = await refused(launch, SN_I_AM_SENTINEL="")
    assert (code, "SENTINEL_NODE_IP" in line) == (2, True)


async def test_a_setting_that_is_no_number(launch):
    code, line = await refused(launch, SN_API_SERVER_PORT="many")
    assert (code, "SN_API_SERVER_PORT" in line) == (2, True)


async def test_a_uid_that_is_none(launch):
    code, line = await refused(launch, SWARM_NODE_UID="../x")
    assert (code, "SWARM_NODE_UID" in line) == (2, True)


async def test_certificates_that_will_not_do(launch, tmp_path):
    pki = Pki(tmp_path)
    code, line = await refused(launch, pki=pki, **pki.bad_files(NodeKind.SN, expired=True))
    assert (code, "expired on" in line) == (2, True)
    code, line = await refused(launch, pki=pki, **pki.files(NodeKind.SL, "9"))
    assert (code, "this node is SN" in line) == (2, True)


async def test_an_sn_joins_and_sees_and_serves_the_same(launch, tmp_path):
    pki = Pki(tmp_path)
    first = await launch(pki=pki)
    host, port = first.endpoint.split(":")
    second = await launch(
        pki=pki, name="2", SN_I_AM_SENTINEL="", SENTINEL_NODE_IP=host,
        SENTINEL_API_SERVER_PORT=port,
    )  # fmt: skip
    assert any("Sentinel Node is UP!" in line for line in second.lines)
    here, there = await first.peer("1"), await second.peer("2")
    state = await here.enrol()
    async with asyncio.timeout(PATIENCE):
        while (seen := await there.state()).cursor != state.cursor:
            await there.client.watch(DEFAULT_CONTRACT, seen.cursor, 5)
    assert seen.view.peers == state.view.peers
    await there.enrol()
    state = await there.check_in()
    async with asyncio.timeout(PATIENCE):
        while (seen := await here.state()).cursor != state.cursor:
            await here.client.watch(DEFAULT_CONTRACT, seen.cursor, 5)
    answer = await here.client.alive(here.uid)
    assert sorted(answer.sns) == sorted([first.endpoint, second.endpoint])
    assert answer.sns[0] == first.endpoint


@pytest.fixture
async def kept(launch, tmp_path):
    """A data folder of an SN that ended well."""
    sn = await launch()
    await (await sn.peer()).enrol(min_peers=1)
    assert (await sn.stop())[0] == 0
    return tmp_path / "chain-1"


async def test_a_truncated_database(launch, kept):
    path = kept / DATABASE
    os.truncate(path, path.stat().st_size * 2 // 3)
    code, line = await refused(launch)
    assert code == 2
    assert str(kept) in line
    assert "empty the folder: this SN fetches it from them again" in line


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
async def test_garbage_in_the_middle_of_the_database(launch, kept, at):
    path = kept / DATABASE
    pages = path.stat().st_size // PAGE
    with path.open("r+b") as file:
        file.seek(int(pages * at) * PAGE)
        file.write(os.urandom(PAGE))
    code, line = await refused(launch)
    assert code == 2
    assert str(kept) in line
    assert "Restore" in line


async def test_another_clients_folder(launch, tmp_path):
    (tmp_path / "chain-1" / "geth").mkdir(parents=True)
    code, line = await refused(launch)
    assert code == 2
    assert f"{tmp_path / 'chain-1'} holds files that are not ours (geth)" in line
    assert "SN_DATA_DIR" in line


async def test_a_folder_that_another_sn_uses(launch, tmp_path):
    pki = Pki(tmp_path)
    first = await launch(pki=pki)
    code, line = await refused(launch, pki=pki)
    assert code == 2
    pid = first.process.pid
    assert f"{tmp_path / 'chain-1'} is in use by another SN (process {pid})" in line
    assert "SN_DATA_DIR" in line
    assert (await (await first.peer()).enrol(min_peers=1)).view.round == 1


async def test_a_folder_with_another_swarms_chain(launch, tmp_path):
    pki = Pki(tmp_path)
    other = await launch(pki=pki, name="2")
    assert (await other.stop())[0] == 0
    first = await launch(pki=pki)
    host, port = first.endpoint.split(":")
    code, line = await refused(
        launch, pki=pki, name="2", SN_I_AM_SENTINEL="", SENTINEL_NODE_IP=host,
        SENTINEL_API_SERVER_PORT=port,
    )  # fmt: skip
    assert code == 2
    assert f"{tmp_path / 'chain-2'} holds another chain" in line
    assert "empty the folder" in line
