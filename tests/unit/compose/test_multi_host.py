"""The compose files of several organisations: powers, names, and what is published."""

import re
from typing import Any

import pytest
import yaml

from compose.images.catalogue import TAG
from compose.plan import REPOSITORY

FOLDER = REPOSITORY / "compose" / "multi-host"
FILES = ("compose.yaml", "ports.yaml", "proxy.yaml", "names.yaml")
ENVIRONMENTS = ("org-a.env", "org-b.env")
SET_ELSEWHERE = {
    "SWARM_IMAGES", "SWARM_TAG", "SWARM_UID", "SWARM_GID", "SWARM_PATIENCE", "ORG_DIR", "ML_IMAGE",
    "PROXY_IMAGE", "PUBLISH_IP", "LICENSE_SERVER", "LICENSE_PORT", "QUORUM_SECONDS", "HTTPS_PORT",
    "P2P_PORT", "JOIN_IP", "JOIN_API_PORT", "JOIN_SERVICE",
}  # fmt: skip
"""Variables that an environment file need not set; docs/multi-host.md names each."""


def text_of(name: str) -> str:
    return re.sub(r"^\s*#.*", "", (FOLDER / name).read_text(), flags=re.MULTILINE)


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of(name))["services"]
    return found


def environment(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text_of(name).splitlines() if line)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_variable_is_set_has_a_default_or_is_asked_for(name: str):
    used = set(re.findall(r"\$\{(\w+)", "".join(map(text_of, FILES))))
    assert used - set(environment(name)) <= SET_ELSEWHERE
    assert set(environment(name)) - used <= {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    bare = set(re.findall(r"\$\{(\w+)\}", "".join(map(text_of, FILES))))
    assert bare <= set(environment(name))


def test_the_documentation_names_every_variable():
    document = (REPOSITORY / "docs" / "multi-host.md").read_text()
    used = set(re.findall(r"\$\{(\w+)", "".join(map(text_of, FILES))))
    assert {each for each in used if f"`{each}" not in document} == set()


def test_the_two_environments_fit_together():
    a, b = (environment(name) for name in ENVIRONMENTS)
    assert a["ORG_INDEX"] != b["ORG_INDEX"]
    assert (a["SENTINEL"], b["SENTINEL"]) == ("true", "false")
    assert (b["JOIN_IP"], b["JOIN_API_PORT"]) == (a["HOST_IP"], a["SN_API_PORT"])
    assert (a["OTHER_DOMAIN"], a["OTHER_PROXY_IP"]) == (b["DOMAIN"], b["PROXY_IP"])
    assert (b["OTHER_DOMAIN"], b["OTHER_PROXY_IP"]) == (a["DOMAIN"], a["PROXY_IP"])
    assert b["JOIN_SERVICE"] == f"api.sn-1.{a['DOMAIN']}"
    nodes = [each[f"ML_{number}_NODE"] for each in (a, b) for number in (1, 2)]
    assert len(set(nodes)) == 4
    for name in ("ML_COMMAND", "MIN_PEERS", "MAX_EPOCHS"):
        assert a[name] == b[name]


def test_the_version_is_one():
    assert set(re.findall(r"\$\{SWARM_TAG:-([^}]*)\}", "".join(map(text_of, FILES)))) == {TAG}


def test_no_container_has_more_power_than_it_needs():
    found = services("compose.yaml")
    found["proxy"] = services("proxy.yaml")["proxy"]
    for name, service in found.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "pid", "ipc"} & set(service), name
    assert "cap_add" not in found["proxy"]
    assert found["proxy"]["read_only"]


def test_ml_programs_have_no_network_and_nobodys_key():
    found = services("compose.yaml")
    for name in ("ml-1", "ml-2"):
        assert found[name]["network_mode"] == "none"
        assert not any("/identity/" in each for each in found[name]["volumes"])


def test_a_node_sees_its_own_key_and_no_other():
    found = services("compose.yaml")
    for name in ("license", "sn-1", "sl-1", "sl-2", "swci"):
        keys = [each for each in found[name]["volumes"] if "/identity/" in each]
        assert [each.partition("/identity/")[2] for each in keys] == [f"{name}:/identity:ro"]


def test_what_is_published():
    assert not any("ports" in each for each in services("compose.yaml").values())
    published = {n for n, each in services("ports.yaml").items() if "ports" in each}
    assert published == {"sn-1", "sl-1", "sl-2"}
    behind = {n for n, each in services("proxy.yaml").items() if "ports" in each}
    assert behind == {"proxy"}


def test_nginx_leads_to_the_nodes_and_nowhere_else():
    """The maps' regular expressions are Python's as well, but for how a group gets its name."""
    conf = (REPOSITORY / "compose" / "images" / "proxy" / "nginx.conf").read_text()
    conf = conf.replace("(?<", "(?P<")
    rules = re.findall(r"~\*(\S+)\s+\$node:(\d+);", conf)
    assert len(rules) == 3
    led = {}
    for name in (
        "api.sn-1.org-a.swarm", "fs.sl-12.org-a.swarm", "p2p.sn-1.x", "API.SN-1.org-a.swarm",
        "api.license.x", "fs.sn-1.x", "api.sn-1", "sn-1.x", "x.api.sn-1.x", "api.sn-1.5814.x", "",
    ):  # fmt: skip
        hits = [(re.match(rule, name, re.IGNORECASE), port) for rule, port in rules]
        led[name] = [f"{hit['node']}:{port}" for hit, port in hits if hit]
    assert {name: to for name, to in led.items() if to} == {
        "api.sn-1.org-a.swarm": ["sn-1:30304"], "fs.sl-12.org-a.swarm": ["sl-12:30305"],
        "p2p.sn-1.x": ["sn-1:30303"], "API.SN-1.org-a.swarm": ["SN-1:30304"],
        "api.sn-1.5814.x": ["sn-1:30304"],
    }  # fmt: skip
