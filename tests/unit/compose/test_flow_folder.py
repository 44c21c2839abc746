"""The files of a flow: what a folder asks for, and placeholders filled in."""

from pathlib import Path

import pytest
import yaml

from compose import flow_folder
from compose.plan import REPOSITORY, Layout, Ports
from services.common.errors import ConfigError

DIGITS = REPOSITORY / "examples" / "digits"
PORTS = Ports(5814, (30303,), (30304,), (21, 22, 23, 24))


def layout_in(folder):
    run = folder / "run"
    run.mkdir()
    return Layout(run, folder / "scratch", folder / "certs")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(folder, *profiles):
    write(folder / "swci" / "swci-init", "EXIT\n")
    for number, text in enumerate(profiles, start=1):
        write(folder / "swop" / f"swop{number}_profile.yaml", text)
    return folder


def test_digits_asks_for_two_swops_with_four_pairs():
    found = flow_folder.read(DIGITS)
    names = [profile.name for profile in found.profiles]
    assert names == ["swop1_profile.yaml", "swop2_profile.yaml"]
    assert found.pairs == 4


def test_digits_is_copied_and_filled(tmp_path):
    layout = layout_in(tmp_path)
    known = flow_folder.values(layout, PORTS)
    flow_folder.copy(flow_folder.read(DIGITS), layout, known)
    project = layout.run / "project"
    assert sorted(path.name for path in project.iterdir()) == [
        "model", "user-1", "user-2", "user-3", "user-4",
    ]  # fmt: skip
    assert sorted(path.name for path in (project / "model").iterdir()) == ["data.py", "train.py"]
    usr_dir = layout.node("swop-2")
    names = sorted(path.name for path in usr_dir.iterdir())
    assert names == ["swop2_profile.yaml", "swop_policy.yaml"]
    policy = yaml.safe_load((usr_dir / "swop_policy.yaml").read_text())
    assert policy["binds"] == [f"{project}/model"]
    profile = yaml.safe_load((usr_dir / "swop2_profile.yaml").read_text())
    assert profile["network"] == "default"
    assert profile["apls"]["locator"] == {"host": "127.0.0.1", "port": 5814}
    first = profile["nodes"][0]["slnodedef"]
    assert first["slport"] == 23
    assert first["privatedata"] == {"src": f"{project}/user-3", "mType": "BIND"}
    assert first["identity"][0]["attribute"]["src"] == f"{layout.certs}/sl-3-key.pem"
    script = (layout.run / "swci" / "swci-init").read_text()
    assert "WAIT FOR IP 127.0.0.1 30304\n" in script
    task = (layout.run / "swci" / "taskdefs" / "swarm_digits_task.yaml").read_text()
    assert yaml.safe_load(task)["Body"]["SharedContent"][0]["Src"] == f"{project}/model"


def test_data_of_an_organisation_is_copied(tmp_path):
    folder = make(tmp_path / "mine", "slport: <SL-1-PORT>\n")
    write(folder / "user-1" / "app-data" / "x.csv", "1\n")
    layout = layout_in(tmp_path)
    flow_folder.copy(flow_folder.read(folder), layout, flow_folder.values(layout, PORTS))
    assert (layout.run / "project" / "user-1" / "app-data" / "x.csv").read_text() == "1\n"
    assert not (layout.run / "project" / "model" / "user-1").exists()


def test_unknown_placeholder_is_named_with_its_line(tmp_path):
    folder = make(tmp_path, "# <WHATEVER>\nslport: <SL-1-PORT>\ndns: [<Bind9-IP>, <DNS>]\n")
    layout = layout_in(tmp_path)
    with pytest.raises(ConfigError, match=r"swop1_profile.yaml:3: nothing .* of <Bind9-IP>; known"):
        flow_folder.copy(flow_folder.read(folder), layout, flow_folder.values(layout, PORTS))


def test_comments_keep_what_they_say():
    filled = flow_folder.fill("a: <A> # as <B>\n", "x", {"<A>": "1"})
    assert filled == "a: 1 # as <B>\n"


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ((), r"no swop/\*profile.yaml"),
        (("slport: <SL-2-PORT>",), r"numbers \[2\]"),
        (("slport: <SL-1-PORT>", "slport: <SL-1-PORT>"), r"numbers \[1, 1\]"),
    ],
    ids=["none", "gap", "twice"],
)
def test_folders_that_are_no_flow(tmp_path, profiles, words):
    with pytest.raises(ConfigError, match=words):
        flow_folder.read(make(tmp_path, *profiles))


def test_no_script(tmp_path):
    with pytest.raises(ConfigError, match="it has no swci/swci-init"):
        flow_folder.read(tmp_path)


def test_binary_profile(tmp_path):
    make(tmp_path, "x")
    Path(tmp_path / "swop" / "swop1_profile.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no readable text"):
        flow_folder.read(tmp_path)
