"""Which containers are a swarm's, and how they are."""

import pytest

from compose.images.catalogue import IMAGES
from compose.operate.find import COMPONENTS, STOPPING, TITLE, TITLES, address_on, component_of, read
from compose.operate.listing import table
from compose.operate.ready import judge


def container(name="sn1", image="x", labels=None, **state):
    return {
        "Id": f"id-of-{name}", "Name": f"/{name}", "RestartCount": 0,
        "State": {"Status": "running", "Running": True, "ExitCode": 0,
                  "StartedAt": "2026-01-02T03:04:05.6Z", **state},
        "Config": {"Image": image, "Labels": labels},
        "NetworkSettings": {
            "Ports": {"30303/tcp": None, "30304/tcp": [
                {"HostIp": "0.0.0.0", "HostPort": "31"}, {"HostIp": "::", "HostPort": "31"},
            ]},
            "Networks": {"net": {"IPAddress": "10.0.0.2"}, "other": {"IPAddress": "10.1.0.2"}},
        },
    }  # fmt: skip


def test_titles_are_those_of_our_images():
    built = {f"Swarm Learning: {IMAGES[name].title}": name for name in TITLES.values()}
    assert dict(TITLES) == built


def test_every_component_is_stopped_once():
    assert sorted(each for group in STOPPING for each in group) == sorted(COMPONENTS)


@pytest.mark.parametrize(
    ("labels", "image", "component"),
    [
        ({}, "swarm-learning/sn:0.1.0", "sn"),
        ({}, "a.registry:5000/org/swarm-learning/swop@sha256:1", "swop"),
        ({}, "swarm-learning/license", "license"),
        ({}, "swarm-learning/ml-pytorch:0.1.0", ""),
        ({}, "my-swarm-learning/sn:1", ""),
        ({}, "org/mine/sl:9", "sl"),
        ({}, "nginx:latest", ""),
        ({TITLE: "Swarm Learning: Swarm Network node"}, "renamed:1", "sn"),
        ({TITLE: "Swarm Learning: PyTorch and client"}, "notebook", ""),
        ({"swarm.component": "ml"}, "anything", "ml"),
        ({"swarm.component": "board"}, "anything", "ml"),
        ({"swarm.role": "ML", TITLE: "Swarm Learning: Swarm Network node"}, "user-env", "ml"),
        ({"swarm.role": "SL"}, "whatever", "sl"),
    ],
)
def test_what_a_container_is(labels, image, component):
    assert component_of(labels, image, "org/mine") == component


def test_reading_what_docker_says():
    other = container("web", "nginx")
    done = container(
        "ml", labels={"swarm.component": "ml"}, Status="exited", Running=False, ExitCode=3
    )
    well = container("b", "swarm-learning/sn:1", None, Health={"Status": "healthy"})
    found = read([other, done, container("a", "swarm-learning/sn:1"), well])
    assert [each.name for each in found] == ["a", "b", "ml"]
    assert [each.state for each in found] == ["running", "running, healthy", "exited (3)"]
    assert found[0].ports == ("31->30304",)
    assert found[0].networks == ("net", "other")
    assert [each.is_running for each in found] == [True, True, False]
    assert read([{"Id": "x"}]) == []


@pytest.mark.parametrize("source", ["id-of-sl1", "sl1:ro"])
def test_what_has_an_sls_volumes_is_its_ml_container(source):
    sl = container("sl1", "swarm-learning/sl:1")
    ml = container("m", "user-env") | {"HostConfig": {"VolumesFrom": [source]}}
    other = container("o", "user-env") | {"HostConfig": {"VolumesFrom": ["id-of-m"]}}
    assert [(e.component, e.name) for e in read([other, ml, sl])] == [("sl", "sl1"), ("ml", "m")]


def test_the_table():
    lines = table(read([container("a", "swarm-learning/sn:1")])).splitlines()
    assert lines[0].split()[:3] == ["COMPONENT", "NAME", "STATE"]
    assert lines[1].split() == [
        "sn", "a", "running", "2026-01-02", "03:04:05", "31->30304", "net,", "other",
        "swarm-learning/sn:1",
    ]  # fmt: skip


def test_addresses():
    assert address_on(container()) == "10.0.0.2"
    assert address_on(container(), "other") == "10.1.0.2"
    assert address_on({}) == ""


LINE = "2026-01-02 03:04:05,678 : swarm.x : INFO : "


@pytest.mark.parametrize(
    ("component", "log", "state", "is_ready"),
    [
        ("sn", f"{LINE}Setting up\n", {}, False),
        ("sn", f"{LINE}Starting SWARM-API-SERVER on port: 30304\n{LINE}more", {}, True),
        ("sn", "", {"Health": {"Status": "healthy"}}, True),
        ("sl", f"{LINE}x", {"Health": {"Status": "starting"}}, False),
        ("sl", f"{LINE}x", {"Health": {"Status": "healthy"}}, True),
        ("sl", f"{LINE}x", {"Healthcheck": {"Status": "healthy"}}, True),
        ("ml", "", {}, True),
        ("ml", "", {"Status": "created", "Running": False}, False),
        ("license", f"{LINE}License server ready on port: 5814", {}, True),
    ],
)
def test_ready(component, log, state, is_ready):
    verdict = judge(component, container(**state), log)
    assert verdict.is_ready is is_ready
    assert not verdict.has_ended


def test_what_it_said_last():
    assert judge("sn", container(), f"{LINE}one\n{LINE}two\n\n").text == "INFO : two"


def test_what_has_ended():
    gone = judge("sn", {}, "")
    ended = judge("sn", container(Status="exited", Running=False, ExitCode=2), f"{LINE}no key\n")
    again = judge("license", container() | {"RestartCount": 1}, "")
    assert gone.has_ended and ended.has_ended and again.has_ended
    assert ended.text == "ended with 2: INFO : no key"
    assert again.text == "ended with 0: it said nothing"
