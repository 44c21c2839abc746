"""How a container that cannot start says so, and how it ends when it is told to, at any moment."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.conftest import why_not
from tests.containers.contract_host import NEEDED, Host, gen_cert
from tests.containers.hpe_scripts import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

OPTIONS = {
    "sn": ["--host-ip", "x", "--sentinel"],
    "sl": ["--host-ip", "x", "--sn-ip", "192.0.2.1", "-e", "SL_REQUEST_CHANNEL=/tmp/hpe-swarm/a",
           "-e", "SL_RESPONSE_CHANNEL=/tmp/hpe-swarm/b"],
    "swop": ["--profile-file-name", "profile.yaml", "--sn-ip", "192.0.2.1"],
    "swci": ["--rm=false"],
}  # fmt: skip
PROFILE = """\
groupname: GROUP
taskrunner: defaulttaskbb.taskdb.sml.hpe
policyuri: ~
resourcemgr: {mgrtype: DOCKER, accessinfo: {accesstype: FROMENV}}
network: default
apls: {locator: {host: nobody, port: ~}}
apisrv: {locator: {host: ~, port: ~, service: ~}}
envvars: ~
nodes:
  - slnodedef: {idx: 0, identity: [], slhostname: sl, slenvvars: ~, privatedata: ~,
                usrhostname: ml, usrenvvars: ~}
"""
KINDS = ("sn", "sl", "swop", "swci")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    if reason := why_not(NEEDED):
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    made = Host(tmp_path_factory.mktemp("contract"))
    (made.folder / "usr").mkdir()
    (made.folder / "usr" / "profile.yaml").write_text(PROFILE.replace("GROUP", made.mark))
    try:
        yield made
    finally:
        made.clear()


def run(host: Host, kind: str, *words: str) -> str:
    """Start a component by its script; its container."""
    usr = ["--usr-dir", str(host.folder / "usr")] if kind in ("swop", "swci") else []
    script = getattr(host.scripts, f"run_{kind}")
    return str(script(*OPTIONS[kind], *usr, *words).id)


def ended(host: Host, container: str) -> tuple[int, str]:
    try:
        return host.exit_code(container), host.logs(container)
    finally:
        host.remove(container)


# --- it cannot start


def all_ended(host: Host, words: Callable[[str], list[str]]) -> dict[str, tuple[int, str]]:
    """Start one of each kind, together; exit codes and logs."""
    started = {kind: run(host, kind, *words(kind)) for kind in KINDS}
    return {kind: ended(host, container) for kind, container in started.items()}


def test_no_license_server(host: Host):
    """HPE's three lines, and HPE's exit code."""
    more = ["--apls-ip", "127.0.0.1", "-e", "SWARM_START_PATIENCE=0"]
    more += ["-serverAddress", "x", "-genJoinToken"]
    for code, log in all_ended(host, lambda kind: [*host.identity(kind), *more]).values():
        assert code == 1, log
        lines = log[log.index("Error Code: 6002\n") :].splitlines()
        assert lines[1] == (
            "Error Message: Unable to connect to server. Server might be wrongly configured or "
            "down."
        )
        assert lines[2].startswith(
            "Custom Message: Error in communicating With Server https://127.0.0.1:5814"
        )
        assert log.count("ignores the arguments '-serverAddress x -genJoinToken'") == 1


def test_no_certificate(host: Host):
    for kind, (code, log) in all_ended(host, lambda _: []).items():
        assert code == 2
        assert f"ERROR : Exiting {kind.upper()}. Reason: SWARM_ID_KEY is not set" in log
        assert "Traceback" not in log


def test_an_expired_certificate(host: Host, tmp_path: Path):
    gen_cert(tmp_path, days=-1)
    for code, log in all_ended(host, lambda kind: host.identity(kind, tmp_path)).values():
        assert code == 2
        assert "-1-cert.pem expired on 20" in log
        assert "renew it" in log


def test_a_swop_without_an_sn_says_so(host: Host):
    container = host.scripts.run_swop(
        "--profile-file-name", "profile.yaml", "--usr-dir", str(host.folder / "usr"),
        *host.identity("swop"),
    ).id  # fmt: skip
    code, log = ended(host, container)
    assert code == 2
    assert "SN" in log.splitlines()[-1]


def test_a_swop_without_a_socket_says_so(host: Host):
    container = run(host, "swop", *host.identity("swop"), "--docker-socket-file", "/no/socket")
    code, log = ended(host, container)
    assert code in (2, 3)
    assert "/var/run/docker.sock" in log.splitlines()[-1]


def test_a_key_of_mode_0600_that_belongs_to_somebody_else(host: Host, tmp_path: Path):
    """Root in the container reads it; without any capability it cannot, and says so."""
    theirs = tmp_path / "theirs"
    shutil.copytree(host.certs, theirs)
    if os.getuid() == 0:
        os.chown(theirs / "sl-1-key.pem", 12345, 12345)
    patience = ["-e", "SWARM_START_PATIENCE=0"]
    code, log = ended(host, run(host, "sl", *host.identity("sl", theirs), *patience))
    assert (code, "no SN answers" in log) == (3, True), log
    words = [*host.identity("sl", theirs), *patience, "--cap-drop", "ALL"]
    code, log = ended(host, run(host, "sl", *words))
    assert code == 2
    assert "sl-1-key.pem" in log
    assert "Permission denied" in log


# --- it is told to end


def catches_sigterm(container: str) -> bool:
    """Whether process 1 listens; until then the kernel drops the signal."""
    status = docker("exec", container, "grep", "SigCgt", "/proc/1/status", check=False)
    found = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
    return bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("sn", "as soon as it listens"), ("sl", "as soon as it listens"),
        ("swop", "at its first line"), ("swci", "as soon as it listens"),
        ("sl", "while it waits"), ("swci", "while it waits"),
    ],
)  # fmt: skip
def test_sigterm_during_the_start(host: Host, kind: str, moment: str):
    """Without --init; the license server's name is looked up where nobody answers, in a thread."""
    container = run(
        host, kind, *host.identity(kind), "--apls-ip", "nobody.example", "--dns", "192.0.2.1"
    )
    ready: dict[str, Callable[[], object]] = {
        "as soon as it listens": lambda: catches_sigterm(container),
        "at its first line": lambda: host.logs(container),
        "while it waits": lambda: "No license server answers" in host.logs(container),
    }
    try:
        host.until(ready[moment], moment, told=lambda: host.logs(container))
        assert host.stops_in_time(container)
        assert host.exit_code(container) == 0, host.logs(container)
        assert "Traceback" not in host.logs(container)
    finally:
        host.remove(container)


def test_sigint_ends_it_too(host: Host):
    container = run(host, "sn", *host.identity("sn"))
    try:
        host.until_line(container, "Starting SWARM-API-SERVER on port: 30304")
        docker("kill", "--signal", "INT", container)
        assert host.exit_code(container) == 0
    finally:
        host.remove(container)


@pytest.mark.parametrize("user", ["1000:1000", "0:0"])
def test_without_any_capability_and_as_another_user(host: Host, tmp_path: Path, user: str):
    """Where the key is readable to it."""
    mine = tmp_path / "mine"
    shutil.copytree(host.certs, mine)
    for path in mine.glob("*-key.pem"):
        path.chmod(0o644)
    container = run(
        host, "sn", *host.identity("sn", mine), "--cap-drop", "ALL", "--user", user,
        "--security-opt", "no-new-privileges:true",
    )  # fmt: skip
    try:
        host.until_line(container, "Starting SWARM-API-SERVER on port: 30304")
        host.stop(container)
        assert host.exit_code(container) == 0
    finally:
        host.remove(container)
