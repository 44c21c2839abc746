"""What is prepared on the host for the flow in containers."""

import os
from pathlib import Path

import pytest
import yaml

from compose import flow_docker
from compose.flow_docker import give_to, main, prepare, values
from compose.plan import REPOSITORY
from services.common.errors import ConfigError
from services.swop.core.policy import parse_policy
from services.swop.core.profile import parse

DIGITS = REPOSITORY / "examples" / "digits"


@pytest.fixture
def run(tmp_path):
    """A prepared folder."""
    run = tmp_path / "run"
    prepare(DIGITS, run, values(run, "net", "sn-1", "license"))
    return run


def test_profiles_are_for_one_network(run):
    for index in (1, 2):
        usr_dir = run / "nodes" / f"swop-{index}"
        name = f"swop{index}_profile.yaml"
        profile, warnings = parse((usr_dir / name).read_text(), name)
        assert warnings == []
        assert (profile.network, profile.apls.host, profile.apls.port) == ("net", "license", 5814)
        for number, node in enumerate(profile.nodes, start=2 * index - 1):
            assert (node.slport, node.slhostip) == (None, None)
            assert [each.src for each in node.identity] == [
                f"{run}/identity/sl/sl-{number}-key.pem",
                f"{run}/identity/sl/sl-{number}-cert.pem",
                f"{run}/certs/ca/capath",
            ]
            assert node.privatedata.src == f"{run}/project/user-{number}"
            for each in (*node.identity, node.privatedata):
                assert Path(each.src).exists()
        policy = parse_policy((usr_dir / "swop_policy.yaml").read_text(), "policy")
        assert policy.binds == (f"{run}/project/model",)


def test_the_script_speaks_to_the_sn(run):
    assert "WAIT FOR IP sn-1 30304\n" in (run / "swci" / "swci-init").read_text()
    task = yaml.safe_load((run / "swci" / "taskdefs" / "swarm_digits_task.yaml").read_text())
    assert task["Body"]["SharedContent"][0]["Src"] == f"{run}/project/model"
    assert (run / "project" / "model" / "train.py").is_file()


def test_each_node_has_its_own_key(run):
    keys = {path.read_bytes() for path in (run / "identity").glob("*/*key.pem")}
    nodes = ("lic-1", "swci-1", "sn-1", "sn-2", "sn-3", "swop-1", "swop-2")
    assert len(keys) == len(nodes) + 4
    for name in nodes:
        assert {path.name for path in (run / "identity" / name).iterdir()} == {
            "key.pem",
            "cert.pem",
        }
        assert (run / "identity" / name / "key.pem").stat().st_mode & 0o777 == 0o600


def test_prepared_again(run):
    before = (run / "identity" / "sn-1" / "key.pem").read_bytes()
    folder, script = run / "swci", run / "swci" / "swci-init"
    mounted = folder.stat().st_ino
    script.write_text("old")
    (run / "nodes" / "swop-1" / "uid").write_text("remembered")
    (run / "project" / "user-1" / "result.json").write_text("{}")
    prepare(DIGITS, run, values(run, "net", "sn-1", "license"))
    assert (run / "identity" / "sn-1" / "key.pem").read_bytes() == before
    assert folder.stat().st_ino == mounted  # a container that runs still sees it
    assert script.read_text() != "old"
    assert (run / "nodes" / "swop-1" / "uid").read_text() == "remembered"
    assert (run / "project" / "user-1" / "result.json").exists()
    assert sorted(path.name for path in run.iterdir()) == [
        "certs", "identity", "nodes", "project", "swci",
    ]  # fmt: skip


def test_the_command(tmp_path, capsys):
    run, wheel = tmp_path / "run", tmp_path / "wheel"
    owner = f"{os.getuid()}:{os.getgid()}"
    assert main([str(DIGITS), str(run), "--wheel", str(wheel), "--owner", owner]) == 0
    assert "certificates of lic-1, swci-1, sn-1" in capsys.readouterr().out
    assert [path.suffix for path in wheel.iterdir()] == [".whl"]


@pytest.mark.parametrize(
    ("flow", "run", "text"),
    [
        ("nothing", "/tmp/run", "is no flow: it has no swci/swci-init"),
        (str(DIGITS), "runs/x", "SWARM_RUN_DIR=runs/x: must be an absolute path of the host"),
    ],
    ids=["flow", "run"],
)
def test_what_cannot_work(flow: str, run: str, text: str, capsys):
    assert main([flow, run]) == 2
    assert text in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write"):
        prepare(DIGITS, tmp_path / "run", values(tmp_path / "run", "net", "sn-1", "license"))


def test_owners_are_numbers(capsys):
    with pytest.raises(SystemExit):
        main([str(DIGITS), "/tmp/run", "--owner", "me:us"])
    assert "--owner" in capsys.readouterr().err


def test_links_are_not_followed(tmp_path, monkeypatch):
    """Else a program that leaves a link is given any file of the host."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    asked = []
    monkeypatch.setattr(
        flow_docker.os,
        "chown",
        lambda name, *ids, dir_fd=None, follow_symlinks=True: asked.append(
            (name, ids, dir_fd is not None, follow_symlinks)
        ),
    )
    give_to(tmp_path, 5, 6)
    assert sorted(asked) == [(".", (5, 6), True, False), ("link", (5, 6), True, False)]


def test_a_link_that_a_program_left_is_not_written_through(run, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (run / "project" / "model" / "train.py").unlink()
    (run / "project" / "model" / "train.py").symlink_to(tmp_path / "precious")
    prepare(DIGITS, run, values(run, "net", "sn-1", "license"))
    assert (tmp_path / "precious").read_text() == "mine"
    assert "SwarmCallback" in (run / "project" / "model" / "train.py").read_text()
