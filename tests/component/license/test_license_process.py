"""``python -m services.license`` and a node's process beside it."""

import os
import signal
import sqlite3
import ssl
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.common.ids import NodeKind
from services.common.rest import listen
from tests.component.license.conftest import a_request

ROOT = Path(__file__).parents[3]
NODE = """
from services.common import logs, process
from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.settings import NodeSettings, load
from services.common.tls import load_identity

async def main():
    settings = load(NodeSettings)
    identity = load_identity(settings, NodeKind.SL)
    async with held_license(settings, identity, Feature.SL, "0" * 32, "SL", patience=0.1):
        print("RUNNING", flush=True)

logs.configure()
process.run("SL", main)
"""


def environment(pki, role, **more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "SWARM_BIND_IP": "127.0.0.1", **pki.files(role), **more}


def run(arguments, env):
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@contextmanager
def license_server(pki, folder, stop=signal.SIGTERM):
    env = environment(pki, NodeKind.LICENSE, LICENSE_PORT="0", LICENSE_DATA_DIR=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "services.license"], env=env, cwd=ROOT, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "License server ready on port: " in line:
                break
        else:
            raise AssertionError("the license server ended before it was ready")
        yield int(line.rpartition(":")[2])
    finally:
        process.send_signal(stop)
        process.stdout.read()
        process.stdout.close()
        code = process.wait(15)
    assert code == (0 if stop is signal.SIGTERM else -stop)


def client(pki, port):
    context = pki.identity(NodeKind.SL).client_context()
    return httpx.Client(
        verify=context, base_url=f"https://127.0.0.1:{port}/api/v1", trust_env=False
    )


def test_killed_and_restarted_it_knows_its_leases_and_itself(tmp_path, pki):
    folder = tmp_path / "license"
    with license_server(pki, folder, signal.SIGKILL) as port, client(pki, port) as http:
        server = http.get("/server").json()["server_id"]
        lease = http.post("/leases", json=a_request(1)).json()["lease_id"]
    with license_server(pki, folder) as port, client(pki, port) as http:
        assert http.get("/server").json()["server_id"] == server
        assert [row["lease_id"] for row in http.get("/leases").json()] == [lease]
        assert http.put(f"/leases/{lease}").status_code == 200
    for name in ("server-key.pem", "licenses.sqlite"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_a_node_acquires_and_releases(tmp_path, pki):
    with license_server(pki, tmp_path / "license") as port:
        node = run(["-c", NODE], environment(pki, NodeKind.SL, **named(port)))
        with client(pki, port) as http:
            kinds = [row["kind"] for row in http.get("/history").json()]
    assert node.returncode == 0, node.stdout
    assert "RUNNING" in node.stdout
    assert " : swarm.license : INFO : Acquiring floating license 1100000378:1\n" in node.stdout
    assert kinds == ["installed", "granted", "released"]


def test_people_sign_in_with_real_hashes_and_stay_signed_in_over_a_restart(tmp_path, pki):
    folder = tmp_path / "license"
    context = ssl.create_default_context(cafile=pki.ca_cert)
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    password = "a few words in a row"
    with httpx.Client(verify=context, trust_env=False) as http:
        with license_server(pki, folder, signal.SIGKILL) as port:
            base = f"https://127.0.0.1:{port}/api/v1"
            given = (folder / "setup-code").read_text().strip()
            body = {"code": given, "user": "admin", "password": password}
            assert http.post(f"{base}/setup", json=body).status_code == 201
            wrong = http.post(f"{base}/session", json={"user": "admin", "password": "x"})
            assert wrong.status_code == 401
            right = http.post(f"{base}/session", json={"user": "admin", "password": password})
            assert right.status_code == 200
            assert http.post(f"{base}/leases", json=a_request(1)).status_code == 401
        with license_server(pki, folder) as port:
            base = f"https://127.0.0.1:{port}/api/v1"
            assert http.get(f"{base}/session").json()["user"] == "admin"
            rows = http.get(f"{base}/history").json()
    assert [row["kind"] for row in rows] == [
        "installed", "set-up", "signed-in", "sign-in-failed", "signed-in",
    ]  # fmt: skip


def named(port):
    return {
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP": "127.0.0.1",
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT": str(port),
    }


def test_server_away_at_start_ends_a_node_with_6002_and_code_1(pki):
    sock = listen("127.0.0.1", 0, "test")
    port = sock.getsockname()[1]
    sock.close()
    node = run(["-c", NODE], environment(pki, NodeKind.SL, **named(port)))
    assert node.returncode == 1
    assert "RUNNING" not in node.stdout
    assert node.stdout.count("Traceback") == 0
    last = node.stdout.splitlines()[-3:]
    assert last[0].endswith("ERROR : Exiting SL. Reason: Error Code: 6002")
    assert "Server might be wrongly configured or down." in last[1]
    assert f"https://127.0.0.1:{port}" in last[2]


def test_port_taken(tmp_path, pki):
    with listen("127.0.0.1", 0, "test") as sock:
        sock.listen()
        port = str(sock.getsockname()[1])
        env = environment(
            pki, NodeKind.LICENSE, LICENSE_PORT=port, LICENSE_DATA_DIR=str(tmp_path / "l")
        )
        server = run(["-m", "services.license"], env)
    assert server.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in server.stdout
    assert "Traceback" not in server.stdout + server.stderr


def make_foreign(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE x (y)")
    db.close()


def damage(path):
    path.write_bytes(b"not a database" * 100)


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (make_foreign, "is not a license database"),
        (damage, "cannot be used"),
        (lambda path: path.with_name("server-key.pem").write_text("x"), "server key"),
        (lambda path: path.mkdir(), "cannot open"),
    ],
    ids=["foreign database", "damaged database", "damaged key", "not a file"],
)
def test_unusable_data_folder(tmp_path, pki, prepare, says):
    folder = tmp_path / "license"
    folder.mkdir()
    prepare(folder / "licenses.sqlite")
    env = environment(pki, NodeKind.LICENSE, LICENSE_PORT="0", LICENSE_DATA_DIR=str(folder))
    server = run(["-m", "services.license"], env)
    assert server.returncode == 2, server.stdout + server.stderr
    assert says in server.stdout
    assert "Traceback" not in server.stdout + server.stderr


def test_wrong_role_and_bad_settings_end_the_server_with_code_2(tmp_path, pki):
    data = {"LICENSE_PORT": "0", "LICENSE_DATA_DIR": str(tmp_path / "license")}
    for env in (
        environment(pki, NodeKind.SL, **data),
        environment(pki, NodeKind.LICENSE, **{**data, "LICENSE_PORT": "many"}),
    ):
        server = run(["-m", "services.license"], env)
        assert server.returncode == 2
        assert "Exiting license server. Reason:" in server.stdout
