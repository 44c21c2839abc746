"""Two organisations on two networks train one model: by published ports, and behind nginx."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.images.catalogue import full_name
from tests.component.swop import docker_place
from tests.containers.conftest import TAG, why_not
from tests.containers.organisations import (
    PROXY,
    Organisation,
    TwoOrganisations,
    free_ports,
    two_organisations,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

EPOCHS = 30
"""About 230 rounds: what comes before the fault may take a minute on a fast machine."""
HELLO = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
context.verify_flags &= ~ssl.VERIFY_X509_STRICT
for index in (1, 2):
    context.load_verify_locations(f"/capath/ca-{index}-cert.pem")
if WITH_CERTIFICATE:
    context.load_cert_chain("/identity/cert.pem", "/identity/key.pem")
with socket.create_connection((HOST, PORT), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname=NAME) as tls:
        print(dict(part[0] for part in tls.getpeercert()["subject"])["commonName"])
        tls.sendall(b"GET /v1/models/x HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        print(tls.recv(100)[:12].decode())
"""
"""Shakes hands and asks something; prints whom it met, and the answer's first line."""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[TwoOrganisations]:
    """Two organisations, not started."""
    if reason := why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    with two_organisations(tmp_path, docker_place.URL) as made:
        for each in made.both:
            each.variables(MAX_EPOCHS=EPOCHS)
        yield made


def rounds_under_way(swarm: TwoOrganisations, number: int) -> None:
    """Wait until a round is over in both organisations."""
    for each in swarm.both:
        swarm.until(lambda one=each: f" of round {number}:" in one.log("sl-1"), "a round")


def assert_apart(one: Organisation, other: Organisation) -> None:
    """No container of one gets to an address in the other's network, whatever the port."""
    targets = [("sn-1", 30303), ("license", 5814), ("sl-1", 30305)]
    for name, port in targets:
        assert one.reaches(one.address(name), port)  # what is tried would succeed
        assert not one.reaches(other.address(name), port), f"{name} is reached from outside"
    for name in ("ml-1", "ml-2"):
        assert one.service(name).attrs["HostConfig"]["NetworkMode"] == "none"


# --- published ports


def test_two_organisations_train_through_published_ports(swarm: TwoOrganisations):
    """B's SN is killed in mid-run and started again; all end with one model and one history."""
    host = swarm.one_address()
    numbers = free_ports(host, 8)
    for each, ports in ((swarm.a, numbers[:4]), (swarm.b, numbers[4:])):
        names = ("SN_API_PORT", "SN_P2P_PORT", "SL_1_PORT", "SL_2_PORT")
        each.variables(HOST_IP=host, PUBLISH_IP=host, **dict(zip(names, ports, strict=True)))
    swarm.b.variables(JOIN_IP=host, JOIN_API_PORT=numbers[0])
    swarm.exchange()
    swarm.a.compose("up", "--detach")
    swarm.b.compose("up", "--detach")

    for each, ports in ((swarm.a, numbers[:4]), (swarm.b, numbers[4:])):
        sn, (first, second) = set(ports[:2]), ports[2:]
        assert each.published() == {"sn-1": sn, "sl-1": {first}, "sl-2": {second}}
    assert_apart(swarm.a, swarm.b)
    assert_apart(swarm.b, swarm.a)
    assert all(swarm.a.reaches(host, port) for port in numbers)

    rounds_under_way(swarm, 3)
    swarm.b.service("sn-1").kill()
    swarm.until(lambda: " is down, 0 links left" in swarm.a.log("sn-1"), "A noticed it")
    swarm.b.service("sn-1").start()
    swarm.assert_all_end_well()
    text = swarm.assert_one_history(f"{host}:{numbers[0]}", f"{host}:{numbers[4]}")
    assert "completed" in text
    assert "4 joined" in text


def test_without_the_others_ca_nobody_gets_in(swarm: TwoOrganisations):
    """B trusts A, but A was not sent B's CA certificate: B's SN says so and does not start."""
    host = swarm.one_address()
    api, p2p, joining_api, joining_p2p = free_ports(host, 4)
    swarm.a.variables(HOST_IP=host, PUBLISH_IP=host, SN_API_PORT=api, SN_P2P_PORT=p2p)
    swarm.b.variables(
        HOST_IP=host, PUBLISH_IP=host, SN_API_PORT=joining_api, SN_P2P_PORT=joining_p2p,
        JOIN_IP=host, JOIN_API_PORT=api,
    )  # fmt: skip
    swarm.exchange()
    (swarm.a.capath / "ca-2-cert.pem").unlink()
    swarm.a.compose("up", "--detach", "--wait", "sn-1")
    swarm.b.compose("up", "--detach", "sn-1")
    swarm.until(lambda: "UNKNOWN_CA" in swarm.b.log("sn-1"), "B says that A refuses it")
    assert "TLS client refused" in swarm.a.log("sn-1")


# --- behind nginx


@pytest.fixture
def behind_proxies(swarm: TwoOrganisations) -> tuple[TwoOrganisations, list[str], int]:
    """Both behind nginx, each at an address of its own: A at the default ports, B not."""
    image = full_name("proxy", tag=TAG)
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: no {image}: python -m compose.images proxy")
    hosts = swarm.two_addresses()
    https = free_ports(hosts[1], 1)[0]
    for each, own, other in ((swarm.a, *hosts), (swarm.b, *reversed(hosts))):
        each.variables(COMPOSE_FILE=PROXY, PUBLISH_IP=own, PROXY_IP=own, OTHER_PROXY_IP=other)
    swarm.b.variables(HTTPS_PORT=https)
    return swarm, hosts, https


def test_two_organisations_train_behind_proxies(behind_proxies):
    """B's proxy hangs in mid-run: nobody gets to its nodes; then it goes on, and all end well."""
    swarm, hosts, https = behind_proxies
    swarm.exchange()
    swarm.a.compose("up", "--detach")
    swarm.b.compose("up", "--detach")

    assert swarm.a.published() == {"proxy": {443, 30303}}
    assert swarm.b.published() == {"proxy": {https, 30303}}
    assert_apart(swarm.a, swarm.b)
    assert_shows_service_names(swarm.a, https)
    assert_passes_tls_on(swarm.a, hosts[1], https)

    rounds_under_way(swarm, 3)
    swarm.b.service("proxy").pause()
    moved = f"registered SL {swarm.b.project}-sl-1 at fs.sl-1.org-b.swarm:{https}"
    swarm.until(lambda: moved in swarm.a.log("sn-1"), "B's SL goes on with A's SN")
    swarm.b.service("proxy").unpause()
    swarm.assert_all_end_well()
    text = swarm.assert_one_history("api.sn-1.org-a.swarm:443", f"api.sn-1.org-b.swarm:{https}")
    assert "completed" in text
    for name in ("api.sn-1", "p2p.sn-1", "fs.sl-1", "fs.sl-2"):
        assert f'"{name}.org-b.swarm" -> ' in swarm.b.log("proxy")


def assert_shows_service_names(organisation: Organisation, https: int) -> None:
    script = "CREATE CONTEXT c WITH SERVICE api.sn-1.org-a.swarm\nSWITCH CONTEXT c\nLIST NODES\n"
    shown = organisation.compose("run", "--rm", "-T", "swci", stdin=script)
    for line in (
        "SENTINEL, api.sn-1.org-a.swarm, 443,", f"SN, api.sn-1.org-b.swarm, {https},",
        "SL, fs.sl-2.org-a.swarm, 443,", f"SL, fs.sl-1.org-b.swarm, {https},",
    ):  # fmt: skip
        assert line in shown


def assert_passes_tls_on(organisation: Organisation, host: str, port: int) -> None:
    """The node's own certificate arrives, it wants ours, and unknown names lead nowhere."""
    name = "fs.sl-2.org-b.swarm"
    assert hello(organisation, host, port, name) == (0, "SL-2\nHTTP/1.1 404\n")
    code, said = hello(organisation, host, port, name, certificate=False)
    assert code, said
    assert "CERTIFICATE_REQUIRED" in said
    for other in ("license.org-b.swarm", "fs.license.org-b.swarm", "p2p.sn-1.org-b.swarm", ""):
        code, said = hello(organisation, host, port, other)
        assert code, said
        assert "EOF" in said or "ConnectionReset" in said


def hello(
    organisation: Organisation, host: str, port: int, name: str, *, certificate: bool = True
) -> tuple[int, str]:
    given = (
        f"HOST, PORT, NAME, WITH_CERTIFICATE = {host!r}, {port}, {name or None!r}, {certificate}"
    )
    return organisation.python(f"{given}\n{HELLO}")
