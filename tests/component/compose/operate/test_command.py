"""The command itself, on a fake docker: what it asks for, and what it says."""

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from compose.operate import pack
from compose.plan import REPOSITORY
from tests.component.compose.operate.conftest import BUSY, TINY

SWARM = REPOSITORY / "compose" / "bin" / "swarm"


def test_without_docker(fake, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fake.swarm("run-swci") == 1
    assert "neither docker nor podman is installed here" in fake.err


def test_an_engine_that_does_not_run(fake):
    fake.set(runs=False)
    assert fake.swarm("run-swci") == 1
    assert "the Docker engine does not answer. Start it" in fake.err


def test_our_image_is_never_looked_for_in_a_registry(fake):
    assert fake.swarm("run-swci") == 1
    assert "image swarm-learning/swci:0.1.0 is not on this host" in fake.err
    assert fake.asked("pull") == fake.asked("container", "create") == []


def test_an_image_of_a_registry_is_fetched(fake, monkeypatch):
    monkeypatch.setenv("SWARM_IMAGES", "registry.example/org")
    monkeypatch.setenv("SWARM_TAG", "9")
    assert fake.swarm("run-swci") == 1
    assert fake.asked("pull") == [["pull", "--quiet", "registry.example/org/swci:9"]]


def test_an_option_that_only_this_docker_knows(fake):
    assert fake.run("sn", "x", "-d", "--brand-new", "1", *BUSY) == 0
    assert "--brand-new=1" in fake.asked("container", "create", "--label=swarm.component=sn")[0]


def test_what_goes_wrong_with_a_stop_is_said(fake):
    for name in ("sn1", "sn2"):
        assert fake.run("sn", name, "-d", *BUSY) == 0
    fake.set(stubborn=[fake.name("sn1")])
    assert fake.swarm("stop-swarm") == 1
    assert "did not stop: cannot stop container" in fake.out
    assert "1 of 2 did not stop" in fake.err
    assert fake.left() == ["sn1"]


def test_what_removes_itself_meanwhile_has_stopped(fake):
    assert fake.run("sn", "sn1", "-d", *BUSY) == 0
    fake.set(going=[fake.name("sn1")])
    assert fake.swarm("stop-swarm") == 0
    assert fake.out.endswith("stopped, removed\n")


def test_an_sl_without_an_sn(fake):
    assert fake.swarm("run-sl", "--host-ip=h", f"--image={TINY}") == 2
    assert "no SN runs on this host" in fake.err
    assert fake.swarm("run-sl", "--host-ip=h", "--sn-docker-name=gone") == 2
    assert "--sn-docker-name gone: there is no such container" in fake.err
    assert fake.run("sn", "sn1", "-d", *BUSY) == 0
    words = ("run-sl", "-d", "--name=sl1", "--host-ip=h", f"--image={TINY}", *BUSY)
    assert fake.swarm(*words) == 0
    assert "--env=SN_NODE_IP=10.0.0.9" in fake.asked("container", "create")[-1]


def test_a_spiffe_socket_in_a_volume(fake):
    fake.set(images=["swarm-learning/tools:0.1.0"], volumes={"spire": "/search/public/api.sock"})
    assert fake.swarm("run-swci", "--socket-path=spire", "--dry-run") == 0
    assert "--volume=spire:/tmp/spire-agent" in fake.out
    assert "SOCKET_PATH=/tmp/spire-agent/public/api.sock" in fake.out
    assert fake.swarm("run-swci", "--socket-path=other", "--dry-run") == 2
    assert "neither a socket of this host" in fake.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "usage: swarm COMMAND"), (("--help",), 0, "run-swop"),
        (("--version",), 0, "swarm 0."),
        (("run-everything",), 2, "there is no command run-everything"),
        (("run-sn", "--help"), 0, "usage: swarm run-sn (--sentinel | --sentinel-ip HOST)"),
        (("run-sn", "--nonsense"), 2, "Error: unknown option --nonsense"),
        (("run-sn",), 2, "mandatory parameter --host-ip not specified"),
    ],
)  # fmt: skip
def test_the_command_line(fake, words, code, text):
    assert fake.swarm(*words) == code
    assert text in fake.out + fake.err


def test_a_command_that_comes_later(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "compose.operate.collect", None)
    assert fake.swarm("collect-logs") == 2
    assert "this version of swarm has no collect-logs yet" in fake.err


# --- gen-cert


def test_certificates_are_made_by_the_tools_image_as_me(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake.set(images=["swarm-learning/tools:0.1.0"])
    words = (
        "gen-cert",
        "-e",
        "mnist",
        "-i",
        "2",
        "--days=90",
        "--host=a.example",
        "--host=10.0.0.1",
    )
    assert fake.swarm(*words) == 0
    folder = str(tmp_path / "workspace/mnist/cert")
    as_root = [] if os.getuid() else ["--cap-add=DAC_OVERRIDE"]
    assert fake.asked("run") == [[
        "run", "--rm", "--network=none", "--cap-drop=ALL", f"--user={os.getuid()}:{os.getgid()}",
        *as_root, f"--volume={folder}:{folder}", "--pull=never", "swarm-learning/tools:0.1.0",
        "compose.certs", folder, "--index=2", "--days=90", "--nodes=sn,sl,swop,swci,lic",
        "--host=a.example", "--host=10.0.0.1",
    ]]  # fmt: skip
    assert Path(folder).stat().st_uid == os.getuid()


def test_certificates_that_exist(fake, tmp_path):
    fake.set(images=["swarm-learning/tools:0.1.0"])
    words = ("gen-cert", f"--out={tmp_path}", "-i1")
    for kind in ("key", "cert"):
        (tmp_path / f"sn-1-{kind}.pem").write_text("mine")
    assert fake.swarm(*words) == 2
    assert "--keep makes only those that are missing; --force replaces them" in fake.err
    assert fake.swarm(*words, "--keep") == 0
    assert "--nodes=sl,swop,swci,lic" in fake.asked("run")[-1]
    assert fake.swarm(*words, "--force") == 0
    assert fake.asked("run")[-1][-2:] == ["--nodes=sn,sl,swop,swci,lic", "--force"]
    (tmp_path / "sl-1-key.pem").write_text("mine")
    assert fake.swarm(*words, "--keep") == 2
    assert "of sl-1 only one of key and certificate" in fake.err
    assert fake.swarm(*words, "--keep", "--nodes=sn") == 0
    assert f"all certificates of host 1 are in {tmp_path}" in fake.out


# --- carried around


def other_pythons():
    """Pythons of other versions on this machine."""
    roots = [Path(sys.base_prefix).parent, *(Path(p) for p in os.environ["PATH"].split(os.pathsep))]
    found = {}
    for version in ("3.8", "3.9", "3.10", "3.12", "3.13"):
        places = [path for root in roots for path in root.glob(f"{version}.*/bin/python{version}")]
        places += [path for root in roots for path in root.glob(f"python{version}")]
        for path in places:
            told = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
            if told.stdout.startswith(f"Python {version}."):
                found[version] = path
                break
    return found


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "swarm.pyz"
    assert pack.main([str(out)]) == 0
    return out


def test_one_file_runs_on_all_pythons_here(packed, fake, tmp_path):
    words = ["run-sl", "--host-ip=h", "--sn-ip=s", "-d", f"--image={TINY}", f"--ml-image={TINY}",
             "--cmd", "sleep 600"]  # fmt: skip
    for version, python in {"own": sys.executable, **other_pythons()}.items():
        done = subprocess.run([python, packed, *words, f"--name=sl-{version}"], cwd=tmp_path,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, f"{version}: {done.stderr}"
        assert len(done.stdout.split()) == 2
        helped = subprocess.run([python, packed, "run-sn", "--help"], cwd=tmp_path,
                                capture_output=True, text=True, check=False)  # fmt: skip
        assert helped.stdout.startswith("usage: swarm run-sn")
    assert subprocess.run([packed, "list"], cwd=tmp_path, check=False).returncode == 0


def test_one_file_has_nothing_else_in_it_and_is_the_same_each_time(packed, tmp_path):
    names = zipfile.ZipFile(packed).namelist()
    assert all(name == "__main__.py" or name.startswith("compose/") for name in names)
    assert [name for name in names if name.endswith("authority.py")] == []
    pack.pack(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()
    assert packed.stat().st_mode & stat.S_IXUSR


def test_a_place_where_it_cannot_be_written(capsys, tmp_path):
    assert pack.main([str(tmp_path / "no" / "swarm.pyz")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_checkouts_command_runs_from_anywhere(fake, tmp_path):
    link = tmp_path / "swarm"
    link.symlink_to(SWARM)
    done = subprocess.run([link, "--version"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
