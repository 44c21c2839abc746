"""A host that exists in memory only."""

from compose.operate.host import Files, Host
from compose.operate.options import RUN_COMMANDS
from compose.operate.parse import parse
from compose.operate.plan import make_plan

KEY = "-----BEGIN PRIVATE KEY-----\n"
CERT = "-----BEGIN CERTIFICATE-----\n"
USERS = {"jane": 2000, "1007": 2000}


class FakeFiles(Files):
    """Files with their contents; None for those we may not read."""

    def __init__(self, files=None, folders=(), sockets=()):
        self.files, self.folders, self.sockets = files or {}, set(folders), set(sockets)

    def is_file(self, path):
        return path in self.files

    def is_dir(self, path):
        return path in self.folders

    def is_there(self, path):
        return path in {*self.files, *self.folders, *self.sockets}

    def is_socket(self, path):
        return path in self.sockets

    def begin(self, path):
        return self.files[path]


FILES = FakeFiles(
    files={
        "/home/me/key.pem": KEY, "/home/me/cert.pem": CERT, "/home/me/secret.pem": None,
        "/home/me/usr/profile.yaml": "", "/home/me/usr/swci-init": "",
    },
    folders=["/home/me", "/home/me/capath", "/home/me/usr", "/home/me/a:b", "/data"],
    sockets=["/var/run/docker.sock", "/run/spire/agent.sock", "/run/filter.sock"],
)  # fmt: skip


def host(**more):
    """A host of user 1000:1001."""
    return Host(
        **{"cwd": "/home/me", "uid": 1000, "gid": 1001, "files": FILES, "docker_gid": 998,
           "gid_of": USERS.get, "find_sn": lambda name: f"address-of-{name or 'any'}", **more}
    )  # fmt: skip


def plan(component, *words, **more):
    """What a command line comes to there."""
    command = RUN_COMMANDS[component]
    return make_plan(command, parse(words, command), host(**more))


def words(component, *given, **more):
    """What the node's container is created with."""
    return list(plan(component, *given, **more).containers[0].options)


def env(given):
    """Environment among words for Docker."""
    pairs = (word[len("--env=") :].partition("=") for word in given if word.startswith("--env="))
    return {name: value for name, _, value in pairs}


def values(given, option):
    """Values of an option among words for Docker."""
    return [word.partition("=")[2] for word in given if word.startswith(f"--{option}=")]
