"""Help, scripts, and what Docker's refusals mean."""

import shlex

import pytest

from compose.images.catalogue import PREFIX, VERSION
from compose.operate import host, main
from compose.operate.docker_options import BUILT_IN
from compose.operate.explain import explain
from compose.operate.options import RUN_COMMANDS
from compose.operate.parse import parse
from compose.operate.script import render
from compose.operate.usage import render as render_usage
from tests.unit.compose.operate.place import plan


def test_our_images_are_those_that_are_built():
    assert (host.IMAGES, host.VERSION) == (PREFIX, VERSION)


@pytest.mark.parametrize("component", RUN_COMMANDS)
def test_the_help_has_every_option(component):
    command = RUN_COMMANDS[component]
    text = render_usage(command)
    for name in (*command.options(), *BUILT_IN):
        assert f"--{name}" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("component", RUN_COMMANDS)
def test_the_example_in_the_help_can_be_read(component):
    command = RUN_COMMANDS[component]
    words = shlex.split(command.example.replace("\\\n", " "))
    assert words[:2] == ["swarm", command.name]
    assert parse(words[2:], command).words == []


def test_every_command_is_in_the_usage():
    text = main.usage()
    for name, (_, summary) in main.COMMANDS.items():
        assert f"{name:14}{summary}" in text
    for command in RUN_COMMANDS.values():
        assert command.name in main.COMMANDS


def test_a_script_for_a_pair():
    made = plan("sl", "--host-ip=h", "--sn-ip=s", "--ml-image=i", "-d", "-e", "A=it's")
    lines = render(made, ["sudo", "docker"]).splitlines()
    assert lines[0] == "set -eu"
    assert lines[1].startswith("sl=$(sudo docker container create --label=swarm.component=sl")
    assert """'--env=A=it'"'"'s'""" in lines[1]
    (ml,) = [line for line in lines if line.startswith("ml=$(")]
    assert '--volumes-from="$sl" i)' in ml
    assert lines[-2:] == [
        'sudo docker container start "$sl"', 'sudo docker container start "$ml"',
    ]  # fmt: skip


def test_a_script_that_shows_the_node():
    made = plan("sl", "--host-ip=h", "--sn-ip=s", "--ml-image=i")
    assert render(made, ["docker"]).splitlines()[-2:] == [
        'docker container start "$ml"',
        'exec docker container start --attach --interactive "$sl"',
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Error response from daemon: No such image: swarm-learning/sn:9\n",
         "image swarm-learning/sn:9 is not on this host. Build it"),
        ('Error response from daemon: Conflict. The container name "/sn1" is already in use by '
         'container "abc". You have to remove it', "there is a container sn1 already"),
        ("Error response from daemon: driver failed programming external connectivity on endpoint "
         "x: Bind for 0.0.0.0:30304 failed: port is already allocated",
         "port 30304 of this host is taken: container other has it"),
        ("Error: listen tcp4 0.0.0.0:99: bind: address already in use",
         "port 99 of this host is taken: `ss -ltnp 'sport = :99'` shows"),
        ("Error response from daemon: network net9 not found", "docker network create net9"),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
         "systemctl start docker"),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///x",
         "added to the group docker"),
        ('Error response from daemon: could not select device driver "" with capabilities: [[gpu]]',
         "no GPU for containers here"),
        ("Error response from daemon: something new\nSee 'docker run --help'.", "something new"),
        ("error: 'x' is no name\n", "'x' is no name"),
        ("", "did not say why"),
    ],
)  # fmt: skip
def test_what_docker_meant(said, meant):
    found = explain(said, {30304: "other"}.get if "30304" in said else lambda _: "")
    assert meant in found
    assert "Error response" not in found
