"""Fault F13 with each kind of node: its real process, and a license server that is away or full.

In mid-run a node never stops; ``test_license_client`` has more of that.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest

from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.rest import listen
from tests.component.license.conftest import Server, a_document
from tests.component.license.test_license_client import RENEWS_AT_ONCE, events, no_server, settings
from tests.component.license.test_license_process import ROOT, environment, named
from tests.component.license.test_license_server import install, moment

FEATURES = {
    NodeKind.SN: Feature.SN,
    NodeKind.SL: Feature.SL,
    NodeKind.SWOP: Feature.SWOP,
    NodeKind.SWCI: Feature.SWCI,
}
KINDS = pytest.mark.parametrize("kind", FEATURES)
PROFILE = """\
groupname: group
taskrunner: defaulttaskbb.taskdb.sml.hpe
network: default
apisrv: {locator: {host: null, port: null, service: null}}
nodes:
- slnodedef:
    idx: 0
    identity:
    - attribute: {aType: KEY, mType: BIND, src: FOLDER/certs/sl-1-key.pem, tgt: /certs/KEY}
    - attribute: {aType: CERT, mType: BIND, src: FOLDER/certs/sl-1-cert.pem, tgt: /certs/CERT}
    - attribute: {aType: CAPATH, mType: BIND, src: FOLDER/certs/ca/capath, tgt: /certs/CAPATH}
    slhostname: null
    slhostip: sl0
    privatedata: null
    usrhostname: null
"""


def prepared(kind, folder, pki, license_port, **more):
    """Environment of a node of ``kind`` that gets as far as its license."""
    (folder / "usr").mkdir(exist_ok=True)
    profile = PROFILE.replace("FOLDER", str(folder))
    (folder / "usr" / "swop_profile.yaml").write_text(profile)
    own = {
        NodeKind.SN: {
            "SN_I_AM_SENTINEL": "true", "SN_API_SERVER_PORT": "0", "SN_P2P_LISTEN_PORT": "0",
            "SN_DATA_DIR": str(folder / "sn"), "THIS_NODE_IP": "127.0.0.1",
        },
        NodeKind.SL: {
            "SL_REQUEST_CHANNEL": str(folder / "a"), "SL_RESPONSE_CHANNEL": str(folder / "b"),
            "SL_FS_LISTEN_PORT": "0", "SN_NODE_IP": "127.0.0.1", "SN_API_SERVER_PORT": "1",
            "SL_STORE_DIR": str(folder / "store"), "SL_WEIGHTS_DIR": str(folder / "w"),
        },
        NodeKind.SWOP: {
            "USR_DIR": str(folder / "usr"), "SWOP_ENGINE": "process", "SN_NODE_IP": "127.0.0.1",
            "SN_API_SERVER_PORT": "1",
        },
        NodeKind.SWCI: {"SWCI_USR_DIR": str(folder / "usr"), "SWCI_HISTORY_FILE": "h"},
    }  # fmt: skip
    return environment(
        pki, kind, SWARM_START_PATIENCE="0", **own[kind], **named(license_port), **more
    )


async def ended(kind, env):
    """Exit code and output of a node that is to end by itself."""
    words = ["-c", "pwd"] if kind is NodeKind.SWCI else []
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{kind.lower()}", *words, env=env, cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(node.communicate(), 60)
    return node.returncode, output.decode()


@KINDS
async def test_away_at_start_ends_a_node_that_needs_a_license(kind, tmp_path, pki):
    code, output = await ended(kind, prepared(kind, tmp_path, pki, no_server()))
    assert code == 1, output
    assert "Reason: Error Code: 6002\n" in output
    assert "\nError Message: Unable to connect to server. Server might be wrongly" in output
    assert "Traceback" not in output


@KINDS
async def test_away_at_start_does_not_keep_a_soft_node_from_going_on(kind, tmp_path, pki):
    """It gets on to what comes next: the SN, which is away, too; SWCI and an SN just run."""
    env = prepared(kind, tmp_path, pki, no_server(), SWARM_LICENSE_MODE="soft")
    if kind is NodeKind.SN:
        output = await _until(env, "Starting SWARM-API-SERVER on port")
    else:
        code, output = await ended(kind, env)
        assert (code, "6002" in output) == (0 if kind is NodeKind.SWCI else 3, True), output
    assert "Going on without a license (SWARM_LICENSE_MODE=soft): Error Code: 6002" in output


@KINDS
async def test_capacity_exhausted_ends_a_node_and_names_who_holds_it(kind, server, tmp_path, pki):
    server.trust()
    feature = FEATURES[kind]
    await install(server, a_document(1, moment(server, -1), feature=feature))
    assert (await server.acquire(1, feature, kind)).status_code == 201
    code, output = await ended(kind, prepared(kind, tmp_path, pki, server.port))
    assert code == 4, output
    last = output.splitlines()[-3:]
    assert last[0].endswith("Reason: Error Code: 6101")
    assert last[1] == "Error Message: No capacity left. All units of the feature are in use."
    assert "Holders: SL sl1 on h since 2027-01-15T08:00:00+00:00" in last[2]


@KINDS
async def test_in_mid_run_a_node_outlives_server_clock_and_capacity(kind, tmp_path, pki, watch):
    """Away for a while, back with a clock set back, and the seat gone to somebody else."""
    server = Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE)
    feature = FEATURES[kind]
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(server.running())
        server.trust()
        await install(server, a_document(1, moment(server, -9), feature=feature))
        node = held_license(
            settings(server), pki.identity(kind), feature, f"{9:032x}", kind, patience=0,
            notice=0.05, tell=3600,
        )  # fmt: skip
        await node.__aenter__()
    await watch.line("WARNING No license for .* running on; the grace period ends in 72.0 h")
    server.clock.now -= 86_400
    async with server.running():
        await watch.line(f"INFO License {feature}:1 is held again")
        server.clock.now += 10  # longer than the lease: somebody else gets the seat
        lease = (await server.acquire(1, feature, kind, "2")).json()
        if "lease_id" in lease:
            await watch.line("WARNING No license for .* all 1 units")
            await server.send("DELETE", f"/leases/{lease['lease_id']}", kind, "2")
            await watch.line(f"INFO License {feature}:1 is held again", 2)
        await node.__aexit__(None, None, None)
        assert events(server)[-1] == "released"


async def test_trouble_is_told_at_first_and_then_once_an_hour(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE)
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(server.running())
        node = held_license(
            settings(server, swarm_license_grace_hours=0.5 / 3600), pki.identity(NodeKind.SL),
            Feature.SL, f"{9:032x}", "SL", patience=0, notice=0.01, tell=3600,
        )  # fmt: skip
        await node.__aenter__()
    await watch.line("ERROR No license for .* grace period is over")
    sock = listen("127.0.0.1", server.port, "test")
    sock.listen()
    tries = 0
    while tries < 5:  # it goes on trying without a word
        asked, _ = await asyncio.get_running_loop().run_in_executor(None, sock.accept)
        asked.close()
        tries += 1
    sock.close()
    told = [line for line in watch.lines if "No license for" in line]
    assert [line.split()[0] for line in told] in (["WARNING", "ERROR"], ["ERROR"])
    await node.__aexit__(None, None, None)


async def _until(env, text):
    """Output of an SN up to a text; then it is told to stop, and does."""
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.sn", env=env, cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = []
    async with asyncio.timeout(60):
        while text not in "".join(lines[-1:]):
            line = (await node.stdout.readline()).decode()
            assert line, lines
            lines.append(line)
    node.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.wait_for(node.communicate(), 60)
    assert node.returncode == 0, rest
    return "".join(lines)
