"""The emulated scripts' options themselves; needs no engine."""

import pytest

from tests.containers.hpe_options import DockerOptions, parse, published

HELP = """
Options:
  -e, --env list                         Set environment variables
  -i, --interactive                      Keep STDIN open even if not attached
      --init                             Run an init
      --name string                      Assign a name to the container
      --rm                               Automatically remove
  -t, --tty                              Allocate a pseudo-TTY
  -v, --volume list                      Bind mount a volume
"""
DOCKER = DockerOptions.from_help(HELP)


def test_dockers_help_is_read():
    assert DOCKER.takes_value["--name"]
    assert DOCKER.takes_value["-v"]
    assert not DOCKER.takes_value["--rm"]
    assert not DOCKER.takes_value["-t"]


def test_options_are_sorted():
    words = [
        "--name",
        "sn1",
        "--HOST-IP=10.0.0.1",
        "--e",
        "A=B",
        "-it",
        "--sentinel=1",
        "-v",
        "x:/y",
    ]
    found = parse([*words, "-serverAddress", "x"], DOCKER, ["host-ip"], ["sentinel"])
    assert found.own == {"host-ip": "10.0.0.1", "sentinel": "1"}
    assert found.docker == ["--name", "sn1", "-e", "A=B", "-i", "-t", "-v", "x:/y"]
    assert found.command == ["-serverAddress", "x"]


def test_the_sidecars_options_and_the_rest():
    found = parse(["--ml-image", "ml:1", "--ml-e=A=1", "--", "--name", "n"], DOCKER, [], [])
    assert found.ml == ["--image", "ml:1", "--e=A=1"]
    assert found.command == ["--name", "n"]
    assert parse(["--cmd", "a 'b c'"], DOCKER, ["cmd"], []).command == ["a", "b c"]


@pytest.mark.parametrize(
    ("port", "service", "inside", "changes", "expected"),
    [
        ("30404", "", 30304, True, ["--publish", "30404:30404"]),
        ("30404", "", 30305, False, ["--publish", "30404:30305"]),
        ("", "a.b", 30304, True, ["--publish", "30304:30304"]),
        ("", "a.b:443", 30304, True, ["--publish", "443:30304"]),
        ("", "", 30304, True, []),
    ],
)
def test_ports(port: str, service: str, inside: int, changes: bool, expected: list[str]):
    assert published(port, service, inside, changes_inside=changes) == expected
