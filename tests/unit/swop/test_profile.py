import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.common.task_body import MountType
from services.swop.core.engine import ContainerOptions, Gpus
from services.swop.core.node_definition import Attribute, NodeDefinition, PrivateData
from services.swop.core.profile import ApiServer, Apls, Profile, parse
from tests.unit.swop.profiles import FULL, SMALL


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        parse(text, "p.yaml")
    return str(caught.value).splitlines()


def options(text):
    profile, warnings = parse(SMALL.replace("idx: 0", f"idx: 0, usrcontaineropts: {text}"), "p")
    assert len(warnings) == 1  # that the node has no certificate
    return profile.nodes[0].usroptions


def test_a_full_profile():
    profile, warnings = parse(FULL, "p.yaml")
    assert warnings == []
    assert profile == Profile(
        groupname="demo",
        taskrunner="runner.taskdb.sml.hpe",
        policy=None,
        network="host-1-net",
        apls=Apls("10.0.0.9", 5000),
        apisrv=ApiServer("sn1", None, None),
        envvars=(("SL_LOG_LEVEL", "INFO"), ("http_proxy", "")),
        dns=("10.0.0.53",),
        nodes=(
            NodeDefinition(
                idx=0,
                identity=(
                    Attribute(
                        "KEY",
                        MountType.BIND,
                        "/site/cert/sl-1-key.pem",
                        "/swarm-cert/sl-1-key.pem",
                    ),
                    Attribute(
                        "CERT",
                        MountType.BIND,
                        "/site/cert/sl-1-cert.pem",
                        "/swarm-cert/sl-1-cert.pem",
                    ),
                    Attribute("CAPATH", MountType.VOLUME, "certs", "/swarm-cert", "ca/capath"),
                ),
                slhostname="sl1",
                slhostip="10.0.0.1",
                slport=16000,
                slenvvars=(("SL_LOG_LEVEL", "DEBUG"), ("A", "True")),
                sllabels=(("swarm-sl", ""), ("team=a", "")),
                slip="172.18.0.4",
                privatedata=PrivateData("/site/user1", MountType.BIND),
                usrhostname="user1",
                usrenvvars=(("DATA_DIR", "app-data"), ("MAX_EPOCHS", "2")),
                usrlabels=(("hospital", "one"), ("beds", "200"), ("empty", "")),
                usroptions=ContainerOptions(
                    gpus=Gpus(ids=("3", "5")), shm_size="16G", ipc="private"
                ),
            ),
            NodeDefinition(
                idx=1,
                identity=(
                    Attribute(
                        "SPIFFE_SOCKETPATH",
                        MountType.BIND,
                        "/run/spire/sockets",
                        "/spire",
                        "agent.sock",
                    ),
                ),
                slhostname="sl2",
                slhostip="10.0.0.1",
                usrhostname="user1",
            ),
        ),
    )


def test_where_the_sl_finds_its_identity():
    nodes = parse(FULL, "p.yaml")[0].nodes
    assert {each.variable: each.path for node in nodes for each in node.identity} == {
        "SWARM_ID_KEY": "/swarm-cert/sl-1-key.pem",
        "SWARM_ID_CERT": "/swarm-cert/sl-1-cert.pem",
        "SWARM_ID_CAPATH": "/swarm-cert/ca/capath",
        "SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH": "/spire/agent.sock",
    }


def test_what_is_missing_has_defaults():
    profile, warnings = parse(SMALL, "p.yaml")
    assert profile == Profile("demo", (NodeDefinition(0),))
    assert (profile.taskrunner, profile.network) == ("defaulttaskbb.taskdb.sml.hpe", "default")
    assert warnings == [
        "p.yaml:3: nodes[0].slnodedef.identity: has no KEY and CERT, and no SPIFFE_SOCKETPATH:"
        " the SL will have no certificate"
    ]


def test_null_is_as_if_missing():
    schema = Path(__file__).parents[3] / "services/swop/core/profile.schema.json"
    known = json.loads(schema.read_text())
    top = [key for key in known["properties"] if key not in ("groupname", "nodes")]
    node = [key for key in known["$defs"]["slnodedef"]["properties"] if key != "idx"]
    text = SMALL.replace("idx: 0", "idx: 0, " + ", ".join(f"{key}: ~" for key in node))
    text += "".join(f"{key}: null\n" for key in top)
    assert parse(text, "p.yaml") == parse(SMALL, "p.yaml")


@pytest.mark.parametrize(
    ("apls", "expected"),
    [("{host: a}", Apls("a", 5814)), ("{host: a, port: ~}", Apls("a", 5814)), ("{host: ~}", None)],
)
def test_the_license_server(apls, expected):
    assert parse(f"{SMALL}apls: {{locator: {apls}}}", "p")[0].apls == expected


def test_an_sn_without_service_as_in_older_profiles():
    profile, _ = parse(SMALL + "apisrv: {locator: {host: sn1, port: 30304}}", "p")
    assert profile.apisrv == ApiServer("sn1", 30304)


@pytest.mark.parametrize(
    ("uri", "path"),
    [("/site/policy.yaml", "/site/policy.yaml"), ("file:///site/p.yaml", "/site/p.yaml"),
     ("policy.yaml", "policy.yaml"), ("''", None)],
)  # fmt: skip
def test_the_policy_file(uri, path):
    assert parse(f"{SMALL}policyuri: {uri}", "p")[0].policy == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[gpus: "all"]', ContainerOptions(gpus=Gpus(count=-1))),
        ("[gpus: 2]", ContainerOptions(gpus=Gpus(count=2))),
        ("[gpus: '2']", ContainerOptions(gpus=Gpus(count=2))),
        ("[gpus: 0]", ContainerOptions()),
        ("""[gpus: '"device=0,GPU-3a2b"']""", ContainerOptions(gpus=Gpus(ids=("0", "GPU-3a2b")))),
        ("[gpus: device=1]", ContainerOptions(gpus=Gpus(ids=("1",)))),
        (
            "[device: [/dev/kfd, /dev/dri], ipc: host, shm-size: 16G, group-add: [video, 44],"
            " cap-add: [SYS_PTRACE], security-opt: [seccomp=unconfined], privileged: True]",
            ContainerOptions(
                devices=("/dev/kfd", "/dev/dri"),
                ipc="host",
                shm_size="16G",
                group_add=("video", "44"),
                cap_add=("SYS_PTRACE",),
                security_opt=("seccomp=unconfined",),
                privileged=True,
            ),
        ),
        ("[{gpus: all, shm-size: 1024}]", ContainerOptions(gpus=Gpus(-1), shm_size="1024")),
        ("[{privileged: no, ipc: ~}]", ContainerOptions()),
    ],
)
def test_container_options(text, expected):
    assert options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gpus: dev3]", 'gpus: \'dev3\' does not fit; expected: "all", a number, or "device=0,1"'),
        ("[gpus: -2]", "gpus: -2 is less than -1"),
        ("[gpus: [0]]", "gpus: is a list; expected text or a whole number or nothing"),
        ("[shm-size: lots]", "shm-size: 'lots' does not fit; expected: a size such as 16G"),
        ("[privileged: 'yes']", "privileged: 'yes' is not true or false or nothing"),
        ("[cap-add: ALL]", "cap-add: 'ALL' is not a list or nothing"),
    ],
)
def test_wrong_container_options(text, message):
    lines = refusal(SMALL.replace("idx: 0", f"idx: 0, usrcontaineropts: {text}"))
    assert lines == ["p.yaml:3: nodes[0].slnodedef.usrcontaineropts[0]." + message]


def test_an_option_given_twice():
    text = SMALL.replace("idx: 0", "idx: 0, usrcontaineropts: [gpus: 1, gpus: 2]")
    assert refusal(text) == [
        "p.yaml:3: nodes[0].slnodedef.usrcontaineropts[1].gpus: gpus is given above already"
    ]


@pytest.mark.parametrize(
    ("known", "typed"),
    [
        ("usrenvvars", "userenvvars"),
        ("slhostname", "slHostname"),
        ("usrcontaineropts", "usercontaineropts"),
        ("subPath", "subpath"),
    ],
)
def test_an_unknown_key_is_a_warning(known, typed):
    line = FULL.count("\n", 0, FULL.index(known)) + 1
    profile, warnings = parse(FULL.replace(known, typed, 1), "p.yaml")
    assert profile.groupname == "demo"
    assert warnings[0].startswith(f"p.yaml:{line}: nodes[0].slnodedef.")
    assert f"{typed}: nobody knows this key; did you mean {known}?" in warnings[0]


def test_unknown_keys_that_resemble_nothing_and_at_every_level():
    text = SMALL + "xyzzy: 1\nresourcemgr: {qqq: 1, accessinfo: {www: 2}}\n"
    assert [line for line in parse(text, "p")[1] if "nobody" in line] == [
        "p:4: xyzzy: nobody knows this key",
        "p:5: resourcemgr.qqq: nobody knows this key",
        "p:5: resourcemgr.accessinfo.www: nobody knows this key",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("groupname : demo\n", "", "p.yaml:1: groupname: missing; expected: prefix of the names"),
        ("demo", "a/b", "p.yaml:1: groupname: 'a/b' does not fit; expected: prefix of the names"),
        ("nodes :", "nods :", "p.yaml:1: nodes: missing; expected: a list of slnodedef maps"),
        (
            "mgrtype : DOCKER",
            "mgrtype : K8S",
            "p.yaml:LINE: resourcemgr.mgrtype: 'K8S' is not one of",
        ),
        ("port : 5000", "port : 70000", "p.yaml:LINE: apls.locator.port: 70000 is more than 65535"),
        ("port : 5000", "port : x", "p.yaml:LINE: apls.locator.port: 'x' is not a whole number"),
        (
            "10.0.0.9",
            "<LICENSE-SERVER-ADDRESS>",
            "p.yaml:LINE: apls.locator.host: still holds the placeholder <LICENSE-SERVER-ADDRESS>",
        ),
        (
            "idx : 1",
            "idx : 0",
            "p.yaml:LINE: nodes[1].slnodedef.idx: idx 0 belongs to another node",
        ),
        ("idx : 0\n", "idx : -1\n", "p.yaml:LINE: nodes[0].slnodedef.idx: -1 is less than 0"),
        (
            "slport : 0",
            "slport : 16000",
            "p.yaml:LINE: nodes[1].slnodedef.slport: port 16000 belongs to another node (idx 0)",
        ),
        (
            "usrnetworkopts : ~",
            "usrnetworkopts : [ip: 172.18.0.4]",
            "p.yaml:LINE: nodes[0].slnodedef.usrnetworkopts: address 172.18.0.4 belongs to",
        ),
        (
            "KEY\n",
            "KEYS\n",
            "p.yaml:LINE: nodes[0].slnodedef.identity[0].attribute.aType: 'KEYS' is",
        ),
        (
            "aType : CERT",
            "aType : KEY",
            "p.yaml:LINE: nodes[0].slnodedef.identity[1].attribute.aType: this node has a KEY",
        ),
        (
            "src : /site/user1",
            "src : user1",
            "p.yaml:LINE: nodes[0].slnodedef.privatedata.src: 'user1' is not an absolute path",
        ),
        (
            "src: certs",
            "src: /certs",
            "p.yaml:LINE: nodes[0].slnodedef.identity[2].attribute.src: '/certs' is not the name",
        ),
        (
            "policyuri : ~",
            "policyuri : https://x/y",
            "p.yaml:LINE: policyuri: https://x/y is not the path of a file",
        ),
    ],
    ids=range(16),
)
def test_what_is_wrong(old, new, message):
    line = FULL.count("\n", 0, FULL.index(old)) + 1
    lines = refusal(FULL.replace(old, new, 1))
    message = message.replace("LINE", str(line))
    assert any(line.startswith(message) for line in lines), lines


def test_a_node_whose_keys_are_not_indented():
    assert refusal("groupname: a\nnodes:\n- slnodedef:\n  idx: 0\n") == [
        "p.yaml:3: nodes[0].slnodedef: nothing is given; expected a mapping"
    ]


def test_placeholders_in_an_example():
    """Where a number should stand, too: one line says it."""
    text = FULL.replace("slport : 16000", "slport : <SL-PORT>")
    text = text.replace("host-1-net", "<SWARM-NETWORK>").replace("/site/user1", "<PROJECT>/user1")
    assert [line.split(": ")[1] for line in refusal(text)] == [
        "network",
        "nodes[0].slnodedef.slport",
        "nodes[0].slnodedef.privatedata.src",
    ]


def test_many_unknown_keys_do_not_hide_what_is_wrong():
    nodes = "".join(f"- slnodedef: {{idx: {n}, zzz: 1}}\n" for n in range(300))
    assert refusal(f"groupname: a\nnodes:\n{nodes}- slnodedef: {{idx: x}}\n") == [
        "p.yaml:303: nodes[300].slnodedef.idx: 'x' is not a whole number"
    ]
    warnings = parse(f"groupname: a\nnodes:\n{nodes}", "p.yaml")[1]
    assert len([line for line in warnings if "zzz: nobody" in line]) == 100


@settings(deadline=None)
@given(st.text(alphabet=" \n-:[]{}~'\"#0adx", max_size=40), st.integers(0, len(FULL)))
def test_any_profile_is_read_or_refused(junk, at):
    try:
        profile, warnings = parse(FULL[:at] + junk + FULL[at:], "p")
    except ConfigError as exc:
        assert str(exc).startswith("p:")
    else:
        assert profile.groupname
        assert all(line.startswith("p:") for line in warnings)
