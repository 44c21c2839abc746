"""The run commands, ``list`` and ``stop-swarm``: the same on a fake docker and on a real engine."""

import json
import re
import socket
import subprocess

import pytest

from compose.operate.docker_options import BUILT_IN, parse_help
from compose.plan import REPOSITORY
from tests.component.compose.operate.conftest import BUSY, TINY
from tests.component.swop import docker_place


def test_a_detached_node(place):
    assert place.run("sn", "sn1", "-d", "--network", place.mark, "-e", "A=b c", *BUSY) == 0
    made = place.inspect("sn1")
    assert place.out.split() == [made["Id"]]
    assert place.name("sn1") in place.err
    assert made["State"]["Running"]
    assert made["Config"]["Hostname"] == place.name("sn1")
    assert made["Config"]["Labels"]["swarm.component"] == "sn"
    assert {"A=b c", "SN_I_AM_SENTINEL=true", "THIS_NODE_IP=h"} <= set(made["Config"]["Env"])
    assert place.info_file("sn1") == f"{made['Id']}\n{TINY}\n{made['Image']}\n"


def test_a_license_server_says_where_its_page_and_its_setup_code_are(place):
    assert place.run("license", "lic", "-d", "--data", place.mark, *BUSY) == 0
    name = place.name("lic")
    assert f"page: https://{name}:5814/ inside its network" in place.err
    assert f"exec {name} cat /hpe/AutoPass/LicenseServer/data/setup-code" in place.err


def test_a_node_that_one_watches(place):
    assert place.run("sn", "sn1", "--cmd", "sh -c 'echo hello; exit 3'") == 3
    assert place.out == "hello\n"
    assert place.left() == ["sn1"]  # it stays, for its log


def test_swci_leaves_nothing(place):
    assert place.run("swci", "swci", "--", "sh", "-c", "echo over") == 0
    assert place.out == "over\n"
    assert place.left() == []


def test_what_is_piped_into_swci_reaches_it_to_its_end():
    if reason := docker_place.why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    words = [REPOSITORY / "compose/bin/swarm", "run-swci", f"--image={TINY}", "--cmd=cat"]
    done = subprocess.run(words, input="LIST NODES\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "LIST NODES\n")


def test_a_pair(place):
    words = [
        "--ml-image",
        TINY,
        "--ml-name",
        place.name("ml1"),
        "--ml-user=7:8",
        "--ml-cmd=sleep 600",
    ]
    assert place.run("sl", "sl1", "-d", "--wait=60", *words, "--ml-stop-signal=KILL", *BUSY) == 0
    sl, ml = place.inspect("sl1"), place.inspect("ml1")
    assert place.out.split() == [sl["Id"], ml["Id"]]
    assert ml["HostConfig"]["VolumesFrom"] == [sl["Id"]]
    assert ml["Config"]["User"] == "7:8"
    pipe = "SL_REQUEST_CHANNEL=/tmp/channel/request.channel"
    assert pipe in sl["Config"]["Env"] and pipe in ml["Config"]["Env"]
    assert place.info_file("ml1").splitlines()[0] == ml["Id"]
    assert ml["State"]["Running"]
    assert "ml1 is ready" in place.err


def test_the_sn_of_this_host(place):
    assert place.run("sn", "sn1", "-d", "--network", place.mark, *BUSY) == 0
    words = ["-d", "--host-ip=h", f"--image={TINY}", f"--network={place.mark}", *BUSY]
    name = f"--sn-docker-name={place.name('sn1')}"
    assert place.swarm("run-sl", f"--name={place.name('sl1')}", name, *words) == 0
    address = place.inspect("sn1")["NetworkSettings"]["Networks"][place.mark]["IPAddress"]
    assert address
    assert f"SN_NODE_IP={address}" in place.inspect("sl1")["Config"]["Env"]


def test_a_name_that_is_taken(place):
    assert place.run("sn", "sn1", "-d", *BUSY) == 0
    first = place.inspect("sn1")["Id"]
    assert place.run("sn", "sn1", "-d", *BUSY) == 1
    assert f"Error: there is a container {place.name('sn1')} already" in place.err
    assert place.inspect("sn1")["Id"] == first
    assert place.left() == ["sn1"]


@pytest.mark.parametrize("detached", [True, False])
def test_a_port_that_is_taken(place, detached):
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    assert place.run("sn", "sn1", "-d", f"--sn-p2p-port={port}", *BUSY) == 0
    words = ["-d"] if detached else []
    assert place.run("sn", "sn2", *words, f"--sn-p2p-port={port}", *BUSY) == 1
    said = f"Error: port {port} of this host is taken: container {place.name('sn1')} has it"
    assert said in place.err
    assert place.left() == ["sn1"]


@pytest.mark.parametrize("detached", [True, False])
def test_a_network_that_is_not_there(place, detached):
    words = ["-d"] if detached else []
    assert place.run("sn", "sn1", *words, "--network=no-such-net", *BUSY) == 1
    assert "docker network create no-such-net" in place.err
    assert place.left() == []


def test_an_image_of_ours_that_is_not_there(place):
    assert place.swarm("run-swci", "-d", f"--name={place.name('x')}", "--image=no-such:1",
                       "--pull=never") == 1  # fmt: skip
    assert "Error: image no-such:1 is not on this host. Build it in the repository" in place.err
    assert place.left() == []


def test_an_ml_image_that_is_not_there_takes_the_sl_with_it(place):
    words = ["--ml-image=no-such:1", "--ml-pull=never", *BUSY]
    assert place.run("sl", "sl1", "-d", *words) == 1
    assert "image no-such:1" in place.err
    assert place.left() == []


def test_waiting_for_one_that_ends(place):
    # with SWCI's --rm nothing would be left to look at
    assert (
        place.run("swci", "x", "-d", "--wait=60", "--rm=false", "--cmd", "sh -c 'echo bad; exit 2'")
        == 1
    )
    assert re.search(r"x ended with 2: bad$", place.err, re.MULTILINE)
    assert place.left() == ["x"]


def test_waiting_for_one_that_is_never_ready(place):
    words = ["--health-cmd=false", "--health-interval=1h", *BUSY]
    assert place.run("sn", "x", "-d", "--wait=0.1", *words) == 1
    assert "is not ready after" in place.err
    assert place.left() == ["x"]


def test_list_and_stop(place):
    for component in ("swci", "sn", "license"):
        words = ["--data", place.mark] if component == "license" else []
        assert place.run(component, component, "-d", *words, *BUSY) == 0
    words = ["--ml-image", TINY, "--ml-name", place.name("ml"), "--ml-stop-signal=KILL"]
    assert place.run("sl", "sl", "-d", *words, "--ml-cmd=sleep 600", *BUSY) == 0
    mine = f"--filter=name={place.mark}"

    assert place.swarm("list", "--json", mine) == 0
    found = [json.loads(line) for line in place.out.splitlines()]
    assert [each["component"] for each in found] == ["sn", "sl", "ml", "swci", "license"]
    assert all(each["is_running"] for each in found)

    assert place.swarm("stop-swarm", "--sl", "--keep", mine) == 0
    assert [line.split()[0] for line in place.out.splitlines()] == ["sl", "ml"]
    assert len(place.left()) == 5
    assert place.swarm("list", mine) == 0
    assert len(re.findall(r"^(?:sl|ml) .* exited \(", place.out, re.MULTILINE)) == 2

    assert place.swarm("stop-swarm", mine) == 0
    lines = [(line.split()[0], line.split(None, 2)[2]) for line in place.out.splitlines()]
    assert lines == [
        ("swci", "stopped, removed"), ("sl", "removed"), ("ml", "removed"),
        ("sn", "stopped, removed"), ("license", "stopped, removed"),
    ]  # fmt: skip
    assert place.left() == []
    assert place.swarm("stop-swarm", mine) == 0
    assert place.out == "nothing of a swarm is here\n"


def test_an_ml_container_goes_with_its_sl(place):
    """It is on no network of the swarm's."""
    ml = ["--ml-image", TINY, "--ml-name", place.name("ml"), "--ml-stop-signal=KILL"]
    words = [f"--network={place.mark}", *ml, "--ml-cmd=sleep 600", *BUSY]
    assert place.run("sl", "sl", "-d", *words) == 0
    mine = f"--filter=network={place.mark}"
    assert place.swarm("list", "--json", mine) == 0
    assert [json.loads(line)["component"] for line in place.out.splitlines()] == ["sl", "ml"]
    assert place.swarm("stop-swarm", mine) == 0
    assert place.left() == []


def test_containers_of_others_are_left_alone(place):
    words = [
        "--label",
        "swarm.test=" + place.mark,
        "--name",
        place.name("other"),
        TINY,
        "sleep",
        "600",
    ]
    joined = [f"{words[0]}={words[1]}", f"{words[2]}={words[3]}", *words[4:]]
    place.docker("container", "create", *joined)
    assert place.swarm("stop-swarm", f"--filter=name={place.mark}") == 0
    assert place.left() == ["other"]


def test_the_script_does_the_same(place):
    words = ["-d", "-e", 'A=it\'s "so"', "--ml-image", TINY, "--ml-name", place.name("ml1")]
    assert place.run("sl", "sl1", *words, "--ml-cmd=sleep 600", *BUSY, "--dry-run") == 0
    assert place.left() == []
    done = subprocess.run(["sh"], input=place.out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sl, ml = place.inspect("sl1"), place.inspect("ml1")
    assert 'A=it\'s "so"' in sl["Config"]["Env"]
    assert ml["HostConfig"]["VolumesFrom"] == [sl["Id"]]
    assert sl["State"]["Running"] and ml["State"]["Running"]
    assert place.info_file("sl1") == f"{sl['Id']}\n{TINY}\n{sl['Image']}\n"


def test_the_options_of_the_docker_here_are_built_in():
    """What a newer one has besides is read from its help; then this test wants them."""
    if reason := docker_place.why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    words = ["docker", "container", "create", "--help"]
    found = parse_help(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert len(found) > 80
    assert {name: each for name, each in found.items() if BUILT_IN.get(name) != each} == {}
