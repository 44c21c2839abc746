"""What goes wrong at the start ends with one clear message and its exit code, on real processes."""

import json
import os
import socket
import subprocess
import sys

import pytest

from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from tests.pki import Pki

SERVICES = {
    "services.sl": NodeKind.SL, "services.sn": NodeKind.SN, "services.license": NodeKind.LICENSE,
}  # fmt: skip


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


@pytest.fixture
def closed_port():
    """A port that nobody listens on, kept from others."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield str(sock.getsockname()[1])


@pytest.fixture
def end_of(tmp_path):
    """Runs a service to its end; gives its exit code and its one ERROR line."""

    def run(service, **environment):
        paths = {
            "SL_REQUEST_CHANNEL": tmp_path / "request",
            "SL_RESPONSE_CHANNEL": tmp_path / "response",
            "SL_WEIGHTS_DIR": tmp_path / "weights", "SL_STORE_DIR": tmp_path / "store",
            "SN_DATA_DIR": tmp_path / "sn", "LICENSE_DATA_DIR": tmp_path / "license",
        }  # fmt: skip
        ports = {"SL_FS_LISTEN_PORT": "0", "SN_P2P_LISTEN_PORT": "0"}
        if service == "services.sn":  # for an SL it is the port to call
            ports["SN_API_SERVER_PORT"] = "0"
        ended = subprocess.run(
            [sys.executable, "-m", service], capture_output=True, text=True, timeout=60,
            cwd=REPOSITORY, check=False,
            env={
                "PATH": os.environ["PATH"], "SWARM_BIND_IP": "127.0.0.1", "LICENSE_PORT": "0",
                "SWARM_START_PATIENCE": "0", "SN_I_AM_SENTINEL": "True", "SN_NODE_IP": "127.0.0.1",
                **{name: str(path) for name, path in paths.items()}, **ports, **environment,
            },
        )  # fmt: skip
        assert "Traceback" not in ended.stderr + ended.stdout, ended.stderr + ended.stdout
        errors = [line for line in ended.stdout.splitlines() if " : ERROR : " in line]
        assert len(errors) == 1, ended.stdout
        return ended.returncode, errors[0]

    return run


@pytest.mark.parametrize(("service", "role"), SERVICES.items())
def test_no_certificate(end_of, service, role):
    code, line = end_of(service)
    assert code == 2
    assert "SWARM_ID_KEY is not set" in line


@pytest.mark.parametrize(("service", "role"), SERVICES.items())
def test_expired_certificate(end_of, pki, service, role):
    code, line = end_of(service, **pki.bad_files(role, expired=True))
    assert code == 2
    assert "expired on" in line


@pytest.mark.parametrize(("service", "role"), SERVICES.items())
def test_certificate_of_another_role(end_of, pki, service, role):
    code, line = end_of(service, **pki.files(NodeKind.SWCI))
    assert code == 2
    assert f"this node is {role}" in line


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("services.sl", "SL_FS_LISTEN_PORT"),
        ("services.sn", "SN_API_SERVER_PORT"),
        ("services.sn", "SN_P2P_LISTEN_PORT"),
        ("services.license", "LICENSE_PORT"),
    ],
)
def test_port_taken(end_of, pki, service, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = end_of(service, **pki.files(SERVICES[service]), **{variable: port})
    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in line


def test_unreachable_sn(end_of, pki, closed_port):
    code, line = end_of(
        "services.sl", **pki.files(NodeKind.SL), SN_API_SERVICE=f"127.0.0.1:{closed_port}"
    )
    assert code == 3
    assert "no SN answers" in line


@pytest.mark.parametrize("service", ["services.sl", "services.sn"])
def test_unreachable_license_server(end_of, pki, closed_port, service):
    code, line = end_of(
        service, **pki.files(SERVICES[service]),
        SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP="127.0.0.1",
        SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT=closed_port,
    )  # fmt: skip
    assert code == 1  # HPE's
    assert "6002" in line


def test_bad_variable_is_named(end_of, pki):
    code, line = end_of("services.sl", **pki.files(NodeKind.SL), SL_FS_PORT="many")
    assert code == 2
    assert "SL_FS_PORT" in line


@pytest.mark.swarm
def test_a_merge_method_that_is_not_there_is_refused_with_the_known_ones(swarm, monkeypatch):
    monkeypatch.setenv("CALLBACK", json.dumps({"mergeMethod": "x-missing"}))
    run = swarm(3, "--min-peers", "1", nodes=1)
    result = run.result()
    assert result["exit_code"] == 1
    log = (run.run_dir / "logs" / "ml-1.log").read_text()
    assert "Init Swarm call to SL container failed - SL error:" in log
    assert "mean" in log
    run.assert_nothing_left()


@pytest.mark.swarm
def test_bad_callback_arguments_end_the_run(swarm, monkeypatch):
    monkeypatch.setenv("CALLBACK", json.dumps({"nodeWeightage": 1000}))
    run = swarm(3, "--min-peers", "1", nodes=1)
    assert run.result()["exit_code"] == 1
    log = (run.run_dir / "logs" / "ml-1.log").read_text()
    assert "Node weightage should be a number between 1-100" in log
    run.assert_nothing_left()


@pytest.mark.swarm
def test_a_program_that_never_connects(swarm, monkeypatch):
    monkeypatch.setenv("SL_ML_CONNECT_TIMEOUT", "1")
    run = swarm(0, "--min-peers", "1", nodes=1, program=("sleep", "600"))
    result = run.result()
    assert result["exit_code"] == 1
    assert "ML program" in (run.run_dir / "logs" / "sl-1.log").read_text().splitlines()[-1]
    run.assert_nothing_left()
