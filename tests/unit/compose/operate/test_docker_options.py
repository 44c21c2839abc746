"""Docker's options, built in and read from its help."""

from compose.operate.docker_options import BUILT_IN, DockerOption, parse_help

HELP = """
Usage:  docker container create [OPTIONS] IMAGE [COMMAND] [ARG...]

Options:
      --add-host list                    Add a custom host-to-IP mapping
                                         (host:ip)
      --annotation map                   Add an annotation to the
                                         container (default map[])
      --cgroupns string                  Cgroup namespace to use
                                         --not-an-option
      --disable-content-trust            Skip image verification (default
                                         true)
  -e, --env list                         Set environment variables
      --help                             Print usage
  -i, --interactive                      Keep STDIN open even if not attached
      --systemd
"""


def test_reading_the_help():
    assert parse_help(HELP) == {
        "add-host": DockerOption("add-host", True),
        "annotation": DockerOption("annotation", True),
        "cgroupns": DockerOption("cgroupns", True),
        "disable-content-trust": DockerOption("disable-content-trust", False),
        "env": DockerOption("env", True, "e"),
        "interactive": DockerOption("interactive", False, "i"),
        "systemd": DockerOption("systemd", False),
    }


def test_no_two_have_the_same_letter():
    letters = [option.short for option in BUILT_IN.values() if option.short]
    assert len(letters) == len(set(letters)) == 14
