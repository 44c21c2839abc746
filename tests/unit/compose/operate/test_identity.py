"""Identity and license servers."""

import pytest

from compose.operate.errors import UsageError
from tests.unit.compose.operate.place import FILES, FakeFiles, env, plan, values, words

ALL = ("--key=key.pem", "--cert", "./cert.pem", "--capath=capath", "--cacert=/home/me/cert.pem")


def test_files_are_mounted_read_only_at_their_own_paths():
    found = words("swci", *ALL)
    assert values(found, "volume") == [
        f"/home/me/{name}:/home/me/{name}:ro"
        for name in ("key.pem", "cert.pem", "cert.pem", "capath")
    ]
    assert env(found) == {
        "SWARM_ID_KEY": "/home/me/key.pem", "SWARM_ID_CERT": "/home/me/cert.pem",
        "SWARM_ID_CACERT": "/home/me/cert.pem", "SWARM_ID_CAPATH": "/home/me/capath",
    }  # fmt: skip
    assert plan("swci", *ALL).notes == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--key=no.pem", "--key: bad file /home/me/no.pem: there is no such file"),
        ("--cert=capath", "--cert: bad file /home/me/capath: it is a folder"),
        ("--capath=key.pem", "--capath: bad directory /home/me/key.pem"),
        ("--key=cert.pem", "it holds a certificate, not a private key"),
        ("--cert=key.pem", "it holds a private key, not a certificate"),
        ("--cacert=usr/profile.yaml", "it holds something else, not a certificate"),
        ("--capath=a:b", "no path with a colon"),
    ],
)
def test_files_that_cannot_be_meant(given, message):
    with pytest.raises(UsageError) as caught:
        words("swci", given)
    assert message in str(caught.value)


def test_a_key_that_only_root_may_read_is_left_to_the_node():
    found = plan("swci", "--key=secret.pem", "--cert=cert.pem", "--capath=capath")
    assert "you may not read /home/me/secret.pem" in found.notes[0]
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    ("given", "note"),
    [((), "no --key and --cert"), (("--key=key.pem",), "no --key and --cert"),
     (("--key=key.pem", "--cert=cert.pem"), "neither --capath nor --cacert")],
)  # fmt: skip
def test_what_is_missing_is_said(given, note):
    assert note in plan("swci", *given).notes[-1]


@pytest.mark.parametrize(
    ("given", "mount", "path"),
    [
        (
            "/run/spire/agent.sock",
            "/run/spire/agent.sock:/tmp/spire-agent/agent.sock",
            "agent.sock",
        ),
        ("spire-vol:public/api.sock", "spire-vol:/tmp/spire-agent", "public/api.sock"),
        ("spire-agent", "found:/tmp/spire-agent", "x/api.sock"),
    ],
)
def test_a_spiffe_socket(given, mount, path):
    found = words("sn", "--host-ip=h", "--sentinel", "--socket-path", given,
                  find_socket=lambda _: "found:x/api.sock")  # fmt: skip
    assert values(found, "volume") == [mount]
    assert env(found)["SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH"] == f"/tmp/spire-agent/{path}"
    assert "--label=swarm-node-type=sn" in found


@pytest.mark.parametrize("given", ["nowhere", "/run/none.sock", "vol:"])
def test_a_socket_that_is_nowhere(given):
    with pytest.raises(UsageError, match="neither a socket of this host"):
        words("swci", "--socket-path", given)


def test_license_servers():
    found = env(words("swci", "--apls-ip=a", "--apls-port=1", "--secondary-apls-ip=b",
                      "--secondary-apls-port=2"))  # fmt: skip
    stem = "SWARM_LICENSE_AUTOPASSJ_SERVER"
    assert found == {
        f"{stem}_PRIMARY_IP": "a", f"{stem}_PRIMARY_PORT": "1",
        f"{stem}_SECONDARY_IP": "b", f"{stem}_SECONDARY_PORT": "2",
    }  # fmt: skip
    primary = env(words("swci", "--primary-apls-ip=a", "--primary-apls-port=1"))
    assert primary == {f"{stem}_PRIMARY_IP": "a", f"{stem}_PRIMARY_PORT": "1"}


def test_a_license_port_that_is_none():
    with pytest.raises(UsageError, match="--secondary-apls-port x"):
        words("swci", "--secondary-apls-port=x")


def test_the_pdf_of_old_scripts_has_no_effect():
    assert words("swci", "--apls-pdf", "x") == words("swci")
    assert "--apls-pdf has no effect" in plan("swci", "--apls-pdf", "x").notes[-1]


def test_no_engine_socket_is_said():
    files = FakeFiles(FILES.files, FILES.folders)
    found = plan("swop", "--usr-dir=usr", "--profile-file-name=profile.yaml", files=files)
    assert "this SWOP cannot start containers" in found.notes[-1]
