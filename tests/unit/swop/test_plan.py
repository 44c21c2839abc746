"""Names, volumes, variables and mounts of a pair's containers."""

import re
from dataclasses import replace

import pytest

from services.common.errors import ConfigError
from services.common.ids import NodeId
from services.common.task_api import TaskType
from services.common.task_body import MountType, RunSwarm, SharedContent
from services.common.task_definition import TaskDefinition
from services.swop.core.engine import ContainerOptions, Mount, MountKind, Role
from services.swop.core.node_definition import Attribute, NodeDefinition, PrivateData
from services.swop.core.plan import PairPlan, Surroundings, plan_pair, sn_of
from services.swop.core.profile import ApiServer, Apls, Profile

PEER, SWOP = NodeId("cc4936c40dfcbd00" * 2), NodeId("a" * 32)
AROUND = Surroundings(
    swop=SWOP, sl_image="hub/org/sl:1", sn={"SN_NODE_IP": "sn1", "SN_API_SERVER_PORT": "30304"},
    user="1000:1000", proxies={"http_proxy": "http://p"},
)  # fmt: skip
IDENTITY = (
    Attribute("KEY", MountType.BIND, "/host/key.pem", "/swarm-cert/key.pem"),
    Attribute("CERT", MountType.VOLUME, "certs", "/certs", "sl/cert.pem"),
    Attribute("CACERT", MountType.VOLUME, "certs", "/certs", "ca.pem"),
    Attribute("SPIFFE_SOCKETPATH", MountType.BIND, "/run/spire", "/tmp/spire", "agent.sock"),
)
NODE = NodeDefinition(
    idx=3, identity=IDENTITY, slhostname="sl3", slhostip="10.0.0.1", slport=16000,
    slenvvars=(("SL_LOG_LEVEL", "DEBUG"),), sllabels=(("spiffe", "x"), ("swarm.idx", "forged")),
    slip="172.1.1.3", privatedata=PrivateData("/host/data", MountType.BIND), usrhostname="ml3",
    usrenvvars=(("MAX_EPOCHS", "7"), ("EMPTY", "")), usrlabels=(("a", "b"),), usrip="172.1.1.4",
    usroptions=ContainerOptions(shm_size="1G"),
)  # fmt: skip
BODY = RunSwarm(
    command="model/train.py --name 'a b'", entrypoint="python3 -u", working_dir="/tmp/test",
    envvars=(("MAX_EPOCHS", "5"), ("MIN_PEERS", "2"), ("SL_REQUEST_CHANNEL", "mine")),
    private_content="/tmp/test/",
    shared_content=(
        SharedContent("/host/model", "/tmp/test/model", MountType.BIND),
        SharedContent("content", "/data", MountType.VOLUME),
    ),
)  # fmt: skip
PROFILE = Profile(
    groupname="demo", nodes=(NODE,), network="host-1-net", apls=Apls("apls", 5000),
    envvars=(("SL_LOG_LEVEL", "INFO"), ("SWARM_NODE_UID", "mine"), ("no_proxy", "sn1")),
    dns=("10.0.0.53",),
)  # fmt: skip


def plan(profile=PROFILE, node=NODE, body=BODY, name="run mnist/é", around=AROUND) -> PairPlan:
    task = TaskDefinition(name, TaskType.RUN_SWARM, "author", "build", "result", body)
    return plan_pair(
        profile, node, task, "user-ml", "runner/4", PEER, around, {"content": "content-3"}
    )


def test_names_are_the_documented_ones():
    made = plan(name="run")
    assert made.sl.name == "demo-run-s-3-cc4936c40dfcbd00"
    assert made.ml.name == "demo-run-u-3-cc4936c40dfcbd00"
    assert made.volume == "swop-demo-swif-3"
    channel = made.ml.env["SL_REQUEST_CHANNEL"]
    assert channel == "/tmp/hpe-swarm/demo.3.cc4936c40dfcbd00.request.pipe"
    assert made.ml.env["SL_RESPONSE_CHANNEL"].endswith(".response.pipe")


@pytest.mark.parametrize("name", ["run mnist/é", "..", "-x", "a" * 160, "ü", "x\u3042"])
def test_names_are_names_for_docker(name):
    made = plan(replace(PROFILE, groupname=name), name=name)
    for each in (made.sl.name, made.ml.name, made.volume):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]+", each)
        assert len(each) < 200


def test_names_can_be_looked_up():
    """Without slhostip others reach the SL by its name; a label in it has at most 63 characters."""
    node = replace(NODE, slhostip=None)
    made = plan(profile=replace(PROFILE, groupname="g" * 60), node=node, name="t" * 160)
    for each, role in ((made.sl, "s"), (made.ml, "u")):
        assert len(each.name) <= 63
        assert each.name.endswith(f"-{role}-3-cc4936c40dfcbd00")
        each.name.encode("idna")
    assert made.sl.env["THIS_NODE_IP"] == made.sl.name


def test_the_sl():
    sl = plan().sl
    assert (sl.role, sl.image, sl.entrypoint, sl.user) == (Role.SL, "hub/org/sl:1", None, None)
    assert (sl.hostname, sl.network, sl.ip, sl.dns) == (
        "sl3", "host-1-net", "172.1.1.3", ("10.0.0.53",),
    )  # fmt: skip
    assert sl.ports == {16000: 30305}
    assert sl.mounts == (
        Mount(MountKind.VOLUME, "swop-demo-swif-3", "/tmp/hpe-swarm"),
        Mount(MountKind.BIND, "/host/key.pem", "/swarm-cert/key.pem", read_only=True),
        Mount(MountKind.VOLUME, "certs", "/certs", read_only=True),
        Mount(MountKind.BIND, "/run/spire", "/tmp/spire", read_only=True),
    )
    assert sl.env | {"SL_REQUEST_CHANNEL": "", "SL_RESPONSE_CHANNEL": ""} == {
        "SN_NODE_IP": "sn1", "SN_API_SERVER_PORT": "30304", "THIS_NODE_IP": "10.0.0.1",
        "SWARM_CONTAINER_NAME": sl.name,
        "SL_FS_PORT": "16000", "SWARM_NODE_UID": PEER, "SL_LOG_LEVEL": "DEBUG",
        "SWARM_ID_KEY": "/swarm-cert/key.pem", "SWARM_ID_CERT": "/certs/sl/cert.pem",
        "SWARM_ID_CACERT": "/certs/ca.pem",
        "SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH": "/tmp/spire/agent.sock",
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP": "apls",
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT": "5000",
        "http_proxy": "http://p", "no_proxy": "sn1",
        "SL_REQUEST_CHANNEL": "", "SL_RESPONSE_CHANNEL": "",
    }  # fmt: skip


def test_the_ml_program():
    ml = plan().ml
    assert (ml.role, ml.image, ml.user) == (Role.ML, "user-ml", "1000:1000")
    assert ml.entrypoint == ("python3", "-u")
    assert ml.command == ("model/train.py", "--name", "a b")
    assert (ml.working_dir, ml.hostname, ml.ip) == ("/tmp/test", "ml3", "172.1.1.4")
    assert ml.options.shm_size == "1G"
    assert ml.mounts == (
        Mount(MountKind.VOLUME, "swop-demo-swif-3", "/tmp/hpe-swarm"),
        Mount(MountKind.BIND, "/host/data", "/tmp/test/"),
        Mount(MountKind.BIND, "/host/model", "/tmp/test/model"),
        Mount(MountKind.VOLUME, "content-3", "/data"),
    )
    env = dict(ml.env)
    assert env.pop("SL_REQUEST_CHANNEL").startswith("/tmp/hpe-swarm/"), "not the task's"
    del env["SL_RESPONSE_CHANNEL"]
    assert env == {
        "MAX_EPOCHS": "7", "MIN_PEERS": "2", "EMPTY": "", "http_proxy": "http://p",
        "no_proxy": "sn1",
    }  # fmt: skip


def test_labels():
    made = plan()
    ours = {
        "swarm.group": "demo", "swarm.swop": SWOP, "swarm.task": "run mnist/é",
        "swarm.run": "runner/4", "swarm.idx": "3", "swarm.peer": PEER,
    }  # fmt: skip
    assert made.sl.labels == {"spiffe": "x", **ours, "swarm.role": "SL"}
    assert made.ml.labels == {"a": "b", **ours, "swarm.role": "ML"}


def test_what_is_left_out():
    node = NodeDefinition(idx=0)
    made = plan(Profile("demo", (node,)), node, around=replace(AROUND, license={"L": "own"}))
    assert (made.sl.network, made.sl.ports, made.sl.env["L"]) == (None, {}, "own")
    assert made.sl.env["THIS_NODE_IP"] == made.sl.name
    assert [mount.target for mount in made.ml.mounts] == [
        "/tmp/hpe-swarm", "/tmp/test/model", "/data",
    ]  # fmt: skip
    assert "SL_ML_CONNECT_TIMEOUT" not in made.sl.env


@pytest.mark.parametrize(
    ("service", "ports"), [("fs.sl-1.swarm", {}), ("fs.sl-1.swarm:30331", {30331: 30305})]
)
def test_service_names(service, ports):
    made = plan(node=replace(NODE, slport=None, slfsservice=service))
    assert (made.sl.env["SL_FS_SERVICE"], made.sl.ports) == (service, ports)


@pytest.mark.parametrize("value", ["True", "true"])
def test_a_program_in_loopback_never_comes(value):
    node = replace(NODE, usrenvvars=(("SWARM_LOOPBACK", value),))
    assert int(plan(node=node).sl.env["SL_ML_CONNECT_TIMEOUT"]) > 1_000_000


OWN = {"SN_NODE_IP": "own", "SN_API_SERVER_PORT": "1", "SN_API_SERVICE": ""}


@pytest.mark.parametrize(
    ("server", "own", "found"),
    [
        (ApiServer(), OWN, {"SN_NODE_IP": "own", "SN_API_SERVER_PORT": "1"}),
        (ApiServer(host="h", port=2), OWN, {"SN_NODE_IP": "h", "SN_API_SERVER_PORT": "2"}),
        (ApiServer(host="h"), OWN, {"SN_NODE_IP": "h", "SN_API_SERVER_PORT": "1"}),
        (ApiServer(service="f:3"), OWN, {"SN_API_SERVICE": "f:3"}),
        (ApiServer(), OWN | {"SN_API_SERVICE": "s"}, {"SN_API_SERVICE": "s"}),
    ],
    ids=["own", "profile", "profile-without-port", "profile-service", "own-service"],
)
def test_the_profile_says_which_sn(server, own, found):
    assert sn_of(replace(PROFILE, apisrv=server), own) == found


def test_no_sn():
    with pytest.raises(ConfigError, match="no SN to use: set SN_NODE_IP"):
        sn_of(PROFILE, {"SN_NODE_IP": "", "SN_API_SERVER_PORT": "30304", "SN_API_SERVICE": ""})
