"""What each component's options come to; the tables are those of the documentation."""

import pytest

from compose.operate.errors import UsageError
from compose.operate.first_sign_in import SETUP_CODE, hints
from tests.unit.compose.operate.place import env, plan, values, words

SENTINEL = ("--host-ip", "h", "--sentinel")
TO_SN = ("--host-ip", "h", "--sn-ip", "s")
USR = ("--usr-dir", "usr", "--profile-file-name", "profile.yaml")


@pytest.mark.parametrize(
    ("given", "published", "variables"),
    [
        ((), [], {}),
        (("--sn-api-port", "31000"), ["31000:31000"], {"SN_API_SERVER_PORT": "31000"}),
        (("--sn-api-service", "f"), ["30304:30304"], {"SN_API_SERVICE": "f"}),
        (("--sn-api-service", "f:444"), ["444:30304"], {"SN_API_SERVICE": "f:444"}),
        (("--sn-p2p-port", "31001"), ["31001:30303"], {"SN_ETH_PORT_EXT": "31001"}),
        (("--sn-p2p-service", "f"), ["30303:30303"], {"SN_ETH_P2P_SERVICE": "f"}),
        (("--sn-p2p-service", "f:9"), ["9:30303"], {"SN_ETH_P2P_SERVICE": "f:9"}),
        (("--sn-p2p-service", "[fd00::1]"), ["30303:30303"], {"SN_ETH_P2P_SERVICE": "[fd00::1]"}),
    ],
)
def test_ports_of_an_sn(given, published, variables):
    found = words("sn", *SENTINEL, *given)
    assert values(found, "publish") == published
    assert env(found) == {"THIS_NODE_IP": "h", "SN_I_AM_SENTINEL": "true", **variables}


def test_an_sn_that_joins():
    found = env(words("sn", "--host-ip=h", "--sentinel-ip=s", "--sentinel-api-port=7"))
    assert found == {
        "THIS_NODE_IP": "h", "SENTINEL_NODE_IP": "s", "SENTINEL_API_SERVER_PORT": "7",
    }  # fmt: skip
    service = env(words("sn", "--host-ip=h", "--sentinel-api-service=f:443"))
    assert service["SENTINEL_API_SERVICE"] == "f:443"
    assert "SN_I_AM_SENTINEL" not in service


def test_an_sn_with_both_services_needs_no_address():
    given = ("--sn-api-service=a", "--sn-p2p-service=b", "--sentinel")
    assert "THIS_NODE_IP" not in env(words("sn", *given))


@pytest.mark.parametrize(
    ("component", "given", "message"),
    [
        ("sn", ("--sentinel",), "mandatory parameter --host-ip not specified"),
        ("sn", ("--sn-api-service=a", "--sentinel"), "mandatory parameter --host-ip not specified"),
        ("sn", ("--host-ip=h",), "either --sentinel or --sentinel-ip must be specified"),
        ("sn", ("--host-ip=h", "--sentinel=false"), "either --sentinel or --sentinel-ip must be"),
        ("sn", (*SENTINEL, "--sn-api-port=x"), "--sn-api-port x: a port is a number"),
        ("sn", (*SENTINEL, "--sn-api-service=f:0"), "--sn-api-service 0: a port is a number"),
        ("sl", ("--sn-ip=s",), "mandatory parameter --host-ip not specified"),
        ("swop", (), "mandatory parameter --usr-dir not specified"),
        ("swop", ("--usr-dir=usr",), "mandatory parameter --profile-file-name not specified"),
        ("swop", (*USR[:2], "--profile-file-name=x/y"), "only its name, it stands in /home/me/usr"),
        ("swop", (*USR[:2], "--profile-file-name=no"), "bad file no: there is none in"),
        ("swop", ("--usr-dir=no", *USR[2:]), "bad directory /home/me/no"),
        ("swop", (*USR, "--swop-uid=jane"), "--swop-uid jane: give a number"),
        ("swop", (*USR, "--docker-socket-file=usr"), "bad file /home/me/usr: it is no socket"),
        ("swci", ("--init-script-name=x",), "name its folder, too: --usr-dir"),
        ("swci", ("--usr-dir=usr", "--init-script-name=x"), "bad file x: there is none in"),
        ("license", ("--data=./no",), "bad directory /home/me/no: make it first"),
        ("license", ("--license-port=99999",), "a port is a number from 1 to 65535"),
    ],
)  # fmt: skip
def test_what_is_refused(component, given, message):
    with pytest.raises(UsageError) as caught:
        words(component, *given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "published", "variables"),
    [
        ((), [], {}),
        (("--sl-fs-port", "31002"), ["31002:30305"], {"SL_FS_PORT": "31002"}),
        (("--sl-fs-service", "f"), ["30305:30305"], {"SL_FS_SERVICE": "f"}),
        (("--sl-fs-service", "f:444"), ["444:30305"], {"SL_FS_SERVICE": "f:444"}),
        (("--sn-api-port", "7"), [], {"SN_API_SERVER_PORT": "7"}),
    ],
)
def test_ports_of_an_sl(given, published, variables):
    found = words("sl", *TO_SN, *given)
    assert values(found, "publish") == published
    assert env(found) == {"THIS_NODE_IP": "h", "SN_NODE_IP": "s", **variables}
    assert values(found, "volume") == []


def test_an_sl_finds_the_sn_of_its_host():
    assert env(words("sl", "--host-ip=h"))["SN_NODE_IP"] == "address-of-any"
    named = env(words("sl", "--host-ip=h", "--sn-docker-name=sn1"))
    assert named["SN_NODE_IP"] == "address-of-sn1"
    service = env(words("sl", "--host-ip=h", "--sn-api-service=f"))
    assert service == {"THIS_NODE_IP": "h", "SN_API_SERVICE": "f"}


def test_a_swop():
    found = words("swop", *USR, "--sn-ip=s")
    assert env(found) == {
        "SWOP_PROFILE": "profile.yaml", "SWOP_UID": "1000", "SWOP_GID": "1001",
        "SWOP_DOCKER_GID": "998", "SN_NODE_IP": "s",
    }  # fmt: skip
    assert values(found, "volume") == [
        "/home/me/usr:/platform/swarm/usr", "/var/run/docker.sock:/var/run/docker.sock",
    ]  # fmt: skip


def test_a_swop_of_another_user_and_socket():
    found = words(
        "swop", *USR, "--swop-uid=1007", "--docker-group-id=5",
        "--docker-socket-file=/run/filter.sock",
    )  # fmt: skip
    assert env(found)["SWOP_UID"] == "1007"
    assert env(found)["SWOP_GID"] == "2000"
    assert env(found)["SWOP_DOCKER_GID"] == "5"
    assert "/run/filter.sock:/var/run/docker.sock" in values(found, "volume")


def test_a_swop_without_a_group_docker():
    assert env(words("swop", *USR, docker_gid=None))["SWOP_DOCKER_GID"] == ""


def test_swci():
    assert "--rm=true" in words("swci")
    found = words("swci", "--usr-dir", "/home/me/usr", "--init-script-name", "swci-init")
    assert env(found) == {"SWCI_STARTUP_SCRIPT": "swci-init"}
    assert values(found, "volume") == ["/home/me/usr:/platform/swarm/usr"]


@pytest.mark.parametrize("given", ["--rm", "--rm=false"])
def test_swci_keeps_an_rm_that_was_given(given):
    assert [word for word in words("swci", given) if word.startswith("--rm")] == [given]


def test_the_license_server():
    found = words("license", "--license-port=5814", "-d")
    assert values(found, "volume") == ["swarm-license:/hpe"]
    assert values(found, "publish") == ["5814:5814"]
    assert values(found, "restart") == ["unless-stopped"]
    assert values(words("license", "--data=/data"), "volume") == ["/data:/hpe"]


@pytest.mark.parametrize(
    ("given", "page"),
    [
        (["--license-port=6000"], "https://THIS-HOST:6000/"),
        (["-p", "127.0.0.1:6001:5814/tcp"], "https://127.0.0.1:6001/"),
        (["-p", "0.0.0.0:6002:5814"], "https://THIS-HOST:6002/"),
        (["-p", "80:80"], "https://lic:5814/ inside its network"),
        ([], "https://lic:5814/ inside its network"),
    ],
)
def test_where_the_license_servers_page_and_setup_code_are(given, page):
    (node,) = plan("license", "--name=lic", *given).containers
    first, second = hints(node, ["sudo", "docker"])
    assert first.startswith(f"page: {page}")
    assert f"sudo docker exec lic cat {SETUP_CODE}" in second
    (other,) = plan("swci", "--name=c").containers
    assert hints(other, ["docker"]) == []


@pytest.mark.parametrize("given", ["--restart=no", "--rm", "--rm=true"])
def test_the_license_server_keeps_what_is_given_about_restarts(given):
    assert "--restart=unless-stopped" not in words("license", "-d", given)


def test_a_license_server_that_one_watches_does_not_go_on_behind_ones_back():
    assert values(words("license"), "restart") == []
