"""SN and SL as the emulated run scripts start them: lines, ports, waiting, persistence, goodbye."""

import ast
import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.containers.conftest import why_not
from tests.containers.contract_host import NEEDED, Host
from tests.containers.hpe_scripts import Started, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} : [\w.]+ : (INFO|WARNING|ERROR) : .+")
KEEPS_NO_MAJORITY = ("-e", "SN_START_MINING=False")
"""Of an SN that comes and goes; else sn1 would wait for its blocks."""
ASK = """
import sys, httpx, ssl, os
c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False
c.load_cert_chain(os.environ["SWARM_ID_CERT"], os.environ["SWARM_ID_KEY"])
c.load_verify_locations(os.environ["SWARM_ID_CAPATH"] + "/ca-1-cert.pem")
a = httpx.get(sys.argv[1], verify=c, trust_env=False)
print(a.status_code, repr(a.text))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    if reason := why_not(NEEDED):
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    made = Host(tmp_path_factory.mktemp("contract"))
    try:
        made.start_license()
        yield made
    finally:
        made.clear()


@pytest.fixture(scope="module")
def sn(host: Host) -> Started:
    return host.start_sn("sn1", "-v", f"{host.mark}-sn1:/platform/swarm/SMLNODE")


def free_ports() -> tuple[int, int]:
    """Two that nobody uses now on this machine."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("", 0))
        two.bind(("", 0))
        return one.getsockname()[1], two.getsockname()[1]


def ask(container: str, url: str) -> str:
    return docker("exec", container, "python3", "-c", ASK, url)


def alive(host: Host, container: str) -> bool:
    """Whether sn1 takes a container for alive; LIST NODES has the same, without that."""
    said = ask(host.name("sn1"), "https://127.0.0.1:30304/v1/nodes").removeprefix("200 ")
    nodes = json.loads(ast.literal_eval(said))
    return any(node["alive"] for node in nodes if node["container"] == container[:12])


# --- SN


def test_an_sns_lines(host: Host, sn: Started):
    text = host.logs(sn.id)
    at = [
        text.index(words)
        for words in (
            "Setting up blockchain layer for the swarm node: START",
            "SENTINEL_NODE_IP environment variable is not set",
            "Creating Autopass License Provider",
            "Creating license server",
            "Setting license servers",
            "Acquiring floating license 1100000380:1",
            "Setting up blockchain layer for the swarm node: FINISHED",
            "swarm.blCnt : INFO : Starting SWARM-API-SERVER on port: 30304",
        )
    ]
    assert at.index(max(at)) == len(at) - 1
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []


def test_what_scripts_ask_an_sn_container(host: Host, sn: Started):
    address = docker(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", sn.id
    )
    assert docker("exec", sn.id, "hostname", "-i") == address
    assert docker("exec", sn.id, "hostname") == host.name("sn1")
    assert docker("exec", sn.id, "hostname", "-f").startswith(host.name("sn1"))
    assert ask(sn.id, f"https://{address}:30304/is_up") == "200 'OK'"


def test_the_info_file_names_it(host: Host, sn: Started):
    assert sn.id[:12] in host.swci("LIST NODES")


def test_the_api_listens_on_the_port_that_run_sn_publishes(host: Host, sn: Started):
    """P:P for --sn-api-port; Q:30304 for --sn-api-service F:Q, whatever the former says."""
    join = ["--sentinel-ip", host.name("sn1"), "--host-ip", host.name("sn2")]
    port, outside = free_ports()
    service = ["--sn-api-service", f"{host.name('sn2')}:{outside}"]
    ports = ["--sn-api-port", str(port), *service]
    second = host.scripts.run_sn(*host.common("sn", "sn2"), *join, *ports, *KEEPS_NO_MAJORITY)
    try:
        host.until_line(second.id, f"Starting SWARM-API-SERVER on port: {port}")
        text = host.logs(second.id)
        assert f"Using URL : https://{host.name('sn1')}:30304/is_up" in text
        assert "Sentinel Node is UP!" in text
        assert "SN_START_MINING=False: this SN keeps the chain, but seals no blocks" in text
        for each in (port, 30304):
            assert ask(second.id, f"https://127.0.0.1:{each}/is_up") == "200 'OK'"
        assert f"{host.name('sn2')}, {outside}, " in host.swci("LIST NODES")
        host.until(lambda: alive(host, second.id), "it is alive")
        assert host.stops_in_time(second.id)  # without --init
        assert host.exit_code(second.id) == 0
        assert "SIGTERM received, stopping SN" in host.logs(second.id)
    finally:
        host.remove(second.id)


def test_a_sentinel_with_its_folder_makes_no_second_chain(host: Host, sn: Started):
    host.swci("CREATE CONTRACT kept")
    network = ask(sn.id, "https://127.0.0.1:30304/v1/network")
    docker("restart", sn.id)
    ready = "Starting SWARM-API-SERVER on port: 30304"
    host.until(lambda: host.logs(sn.id).count(ready) == 2, "it is ready again")
    assert ask(sn.id, "https://127.0.0.1:30304/v1/network") == network
    assert "kept" in host.swci("LIST CONTRACTS")


def test_without_a_volume_nothing_persists(host: Host):
    networks = set()
    for _ in range(2):
        lone = host.start_sn("lone")
        networks.add(ask(lone.id, "https://127.0.0.1:30304/v1/network"))
        host.stop(lone.id)
        host.remove(lone.id)
    assert len(networks) == 2


# --- SL


def run_sl(host: Host, short: str, *words: str) -> Started:
    return host.scripts.run_sl(*host.common("sl", short), "--host-ip", host.name(short), *words)


LOOK = (
    "until test -p $SL_RESPONSE_CHANNEL; do sleep 0.1; done; id -u; "
    "echo x > /tmp/hpe-swarm/trained_weights.pkl && echo y > /tmp/hpe-swarm/own && "
    "test -w $SL_REQUEST_CHANNEL && test -r $SL_RESPONSE_CHANNEL && echo shared"
)


def test_an_sl_with_a_sidecar_and_the_sn_of_this_host(host: Host, sn: Started):
    """The script finds the SN; the sidecar, another user, shares channels and folder."""
    pair = run_sl(
        host, "sl1", "--ml-image", host.scripts.image("swci"), "--ml-entrypoint", "sh",
        f"--ml-cmd=-c '{LOOK}'", "--ml-user", "nobody",
    )  # fmt: skip
    try:
        assert host.exit_code(pair.ml) == 0, host.logs(pair.ml) + host.logs(pair.id)
        assert host.logs(pair.ml).splitlines() == ["65534", "shared"]
        text = host.until_line(pair.id, "Opening pipes to communicate with user container ...")
        assert "Acquiring floating license 1100000378:1" in text
        assert text.index("trained_weights.pkl: file") < text.index("request.channel: pipe")
        assert "pipe created" in text
        host.until(lambda: alive(host, pair.id), "it is alive")
        assert host.stops_in_time(pair.id)
        assert host.exit_code(pair.id) == 0
        assert not alive(host, pair.id)
        assert "Releasing license" in host.logs(pair.id)
    finally:
        host.remove(pair.ml, pair.id)


def test_an_sl_waits_for_its_sn(host: Host):
    sl = run_sl(
        host, "sl2", "--sn-ip", host.name("late"), "-e", "SL_REQUEST_CHANNEL=/tmp/hpe-swarm/a",
        "-e", "SL_RESPONSE_CHANNEL=/tmp/hpe-swarm/b", "-e", "SWARM_START_PATIENCE=600",
    )  # fmt: skip
    try:
        host.until_line(sl.id, "Failed to connect to the API server. Retrying 1 of 12: ")
        late = host.start_sn("late")
        host.until_line(sl.id, "Opening pipes to communicate")
        host.remove(late.id)
    finally:
        host.stop(sl.id)
        host.remove(sl.id)


def test_an_sl_on_a_read_only_root(host: Host, sn: Started):
    """By hand: run-sl cannot copy its file into such a container."""
    sl = docker(
        "run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges:true", "--name", host.name("sl3"),
        "--network", host.mark, *host.plain("sl"), "--volume", "/tmp/channel",
        "-e", "SN_NODE_IP=" + host.name("sn1"), "-e", "SL_REQUEST_CHANNEL=/tmp/channel/a",
        "-e", "SL_RESPONSE_CHANNEL=/tmp/channel/b", host.scripts.image("sl"),
    )  # fmt: skip
    try:
        host.until_line(sl, "Opening pipes to communicate")
        assert host.stops_in_time(sl)
        assert host.exit_code(sl) == 0
    finally:
        host.remove(sl)


def test_proxies_do_not_catch_the_swarms_own_addresses(host: Host, sn: Started):
    """http_proxy is set and no_proxy is empty; the proxy is nobody."""
    nobody = "http://192.0.2.1:3128"
    words = [
        word for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
        for word in ("-e", f"{name}={nobody}")
    ]  # fmt: skip
    sl = run_sl(
        host, "sl4", "--sn-ip", host.name("sn1"), *words, "-e", "no_proxy=",
        "-e", "SL_REQUEST_CHANNEL=/tmp/hpe-swarm/a", "-e", "SL_RESPONSE_CHANNEL=/tmp/hpe-swarm/b",
    )  # fmt: skip
    second = host.scripts.run_sn(
        *host.common("sn", "sn4"), "--sentinel-ip", host.name("sn1"), "--host-ip",
        host.name("sn4"), *words, "-e", "no_proxy=", *KEEPS_NO_MAJORITY,
    )  # fmt: skip
    try:
        host.until_line(sl.id, "Opening pipes to communicate")
        host.until_line(second.id, "Starting SWARM-API-SERVER on port: 30304")
        host.stop(second.id)
    finally:
        host.remove(sl.id, second.id)


# --- stop-swarm


def test_stop_swarm(host: Host):
    """The last test of the file: it stops whatever is left of the swarm, and only that."""
    running = {kind: host.scripts.ancestors(kind) for kind in ("sn", "sl", "swop", "swci")}
    stopped = host.scripts.stop_swarm()
    assert sorted(stopped) == sorted(each for found in running.values() for each in found)
    assert running["sn"]
    assert host.state(host.name("license"), "Status") == "running"
    assert all(host.scripts.ancestors(kind) == [] for kind in running)
