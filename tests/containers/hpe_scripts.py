"""The part that HPE's run scripts play in a container's life, written from ``compat/02`` alone.

We do not have the scripts. What is here: create with their options, variables and mounts, copy the
three-line ``/tmp/container_info_file`` into the container before it starts, start, attach; stop by
the image that a container was made of; run-sl's search of a local SN; the ML sidecar.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.containers.hpe_options import DockerOptions, Parsed, parse, published

COMPONENTS = ("sn", "sl", "swop", "swci")
_APLS = {
    "apls-ip": "PRIMARY_IP", "primary-apls-ip": "PRIMARY_IP",
    "apls-port": "PRIMARY_PORT", "primary-apls-port": "PRIMARY_PORT",
    "secondary-apls-ip": "SECONDARY_IP", "secondary-apls-port": "SECONDARY_PORT",
}  # fmt: skip
_IDENTITY = {"key": "KEY", "cert": "CERT", "cacert": "CACERT", "capath": "CAPATH"}
_OPTIONS = {
    "sn": ("host-ip", "sentinel-ip", "sentinel-api-port", "sentinel-api-service", "sn-api-port",
           "sn-api-service", "sn-p2p-port", "sn-p2p-service"),
    "sl": ("host-ip", "sn-ip", "sn-api-port", "sn-api-service", "sl-fs-port", "sl-fs-service",
           "sn-docker-name", "sn-image"),
    "swop": ("usr-dir", "profile-file-name", "docker-socket-file", "swop-uid", "docker-group-id",
             "sn-ip", "sn-api-port", "sn-api-service"),
    "swci": ("usr-dir", "init-script-name"),
}  # fmt: skip
_VARIABLES = {
    "sn": {"host-ip": "THIS_NODE_IP", "sentinel": "SN_I_AM_SENTINEL",
           "sentinel-ip": "SENTINEL_NODE_IP", "sentinel-api-port": "SENTINEL_API_SERVER_PORT",
           "sentinel-api-service": "SENTINEL_API_SERVICE", "sn-api-port": "SN_API_SERVER_PORT",
           "sn-api-service": "SN_API_SERVICE", "sn-p2p-port": "SN_ETH_PORT_EXT",
           "sn-p2p-service": "SN_ETH_P2P_SERVICE"},
    "sl": {"host-ip": "THIS_NODE_IP", "sn-ip": "SN_NODE_IP", "sn-api-port": "SN_API_SERVER_PORT",
           "sn-api-service": "SN_API_SERVICE", "sl-fs-port": "SL_FS_PORT",
           "sl-fs-service": "SL_FS_SERVICE"},
    "swop": {"profile-file-name": "SWOP_PROFILE", "sn-ip": "SN_NODE_IP",
             "sn-api-port": "SN_API_SERVER_PORT", "sn-api-service": "SN_API_SERVICE"},
    "swci": {"init-script-name": "SWCI_STARTUP_SCRIPT"},
}  # fmt: skip
CHANNELS = {
    "SL_REQUEST_CHANNEL": "/tmp/channel/request.channel",
    "SL_RESPONSE_CHANNEL": "/tmp/channel/response.channel",
}


class ScriptError(Exception):
    """A script refused its command line."""


def docker(*words: str, check: bool = True, timeout: float = 600) -> str:
    """Output of a docker command, both streams of it."""
    done = subprocess.run(
        ["docker", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    if check and done.returncode:
        raise ScriptError(f"docker {' '.join(words)}: {done.stdout}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Started:
    """What a script leaves running."""

    id: str
    ml: str = ""
    """Id of the sidecar."""


class Scripts:
    """The run scripts of one host.

    Args:
        hub: what stands before ``/sn:TAG`` in the images' names.
        tag: of the images.
        tty: whether the launcher has a terminal.
    """

    def __init__(self, hub: str, tag: str, *, tty: bool = False) -> None:
        self._hub, self._tag, self._tty = hub, tag, tty
        self._docker = DockerOptions.from_help(docker("container", "create", "--help"))

    def image(self, component: str) -> str:
        """Full name of a component's image."""
        return f"{self._hub}/{component}:{self._tag}"

    def run_sn(self, *words: str) -> Started:
        """``run-sn``."""
        given = self._parse("sn", words)
        if not given.get("host-ip") and not (
            given.get("sn-api-service") and given.get("sn-p2p-service")
        ):
            raise ScriptError("mandatory parameter --host-ip not specified")
        if not any(given.get(n) for n in ("sentinel", "sentinel-ip", "sentinel-api-service")):
            raise ScriptError("either --sentinel or --sentinel-ip must be specified")
        ports = published(
            given.get("sn-api-port"), given.get("sn-api-service"), 30304, changes_inside=True
        ) + published(
            given.get("sn-p2p-port"), given.get("sn-p2p-service"), 30303, changes_inside=False
        )
        return self._start(self._create("sn", given, ports))

    def run_sl(self, *words: str) -> Started:
        """``run-sl``, with the sidecar where an option ``--ml-...`` is given."""
        given = self._parse("sl", words)
        if not given.get("host-ip") and not given.get("sl-fs-service"):
            raise ScriptError("mandatory parameter --host-ip not specified")
        if not given.get("sn-ip") and not given.get("sn-api-service"):
            given.own["sn-ip"] = self._local_sn(given)
        more = published(
            given.get("sl-fs-port"), given.get("sl-fs-service"), 30305, changes_inside=False
        )
        channels = [word for pair in CHANNELS.items() for word in ("--env", "=".join(pair))]
        if given.ml:
            more += ["--volume", "/tmp/channel", *channels]
        sl = self._create("sl", given, more)
        if not given.ml:
            return self._start(sl)
        return self._start(sl, self._sidecar(given, sl, channels))

    def run_swop(self, *words: str) -> Started:
        """``run-swop``."""
        given = self._parse("swop", words)
        for name in ("usr-dir", "profile-file-name"):
            if not given.get(name):
                raise ScriptError(f"mandatory parameter --{name} not specified")
        socket = given.get("docker-socket-file") or "/var/run/docker.sock"
        variables = {
            "SWOP_UID": given.get("swop-uid") or str(os.getuid()), "SWOP_GID": str(os.getgid()),
            "SWOP_DOCKER_GID": given.get("docker-group-id"),
        }  # fmt: skip
        more = [w for pair in variables.items() for w in ("--env", "=".join(pair))]
        more += ["--volume", f"{given.get('usr-dir')}:/platform/swarm/usr"]
        if Path(socket).is_socket():
            more += ["--volume", f"{socket}:/var/run/docker.sock"]
        return self._start(self._create("swop", given, more))

    def run_swci(self, *words: str) -> Started:
        """``run-swci``: removed when it ends, unless ``--rm`` says something else."""
        given = self._parse("swci", words)
        more = [] if any(w.startswith("--rm") for w in given.docker) else ["--rm=true"]
        if given.get("usr-dir"):
            more += ["--volume", f"{given.get('usr-dir')}:/platform/swarm/usr"]
        return self._start(self._create("swci", given, more))

    def stop_swarm(self, *components: str, keep: bool = False) -> list[str]:
        """``stop-swarm``: whatever was made of our images is stopped, and removed."""
        found: list[str] = []
        for component in components or COMPONENTS:
            found += self.ancestors(component)
        for container in found:
            docker("stop", container)
            if not keep:
                docker("rm", "--volumes", container, check=False)  # one with --rm is gone already
        return found

    def ancestors(self, component: str) -> list[str]:
        """Running containers of an image, as all scripts look for them."""
        return docker("ps", "-q", "--filter", f"ancestor={self.image(component)}").split()

    # --- the common part

    def _parse(self, component: str, words: Sequence[str]) -> Parsed:
        options = [*_OPTIONS[component], *_APLS, *_IDENTITY, "socket-path", "image", "cmd"]
        given = parse(words, self._docker, options, ("sentinel", "sudo"))
        unknown = [word for word in given.command if word.startswith("--ml")]
        if unknown:
            raise ScriptError(f"Error: {unknown[0]} is an unsupported option.")
        return given

    def _create(self, component: str, given: Parsed, more: list[str]) -> str:
        words = list(more)
        for option, suffix in _APLS.items():
            if value := given.get(option):
                words += ["--env", f"SWARM_LICENSE_AUTOPASSJ_SERVER_{suffix}={value}"]
        for option, suffix in _IDENTITY.items():
            if path := given.get(option):
                if not Path(path).exists():
                    raise ScriptError(f"bad file {path}")
                bind = f"type=bind,source={path},target={path},readonly"
                words += ["--mount", bind, "--env", f"SWARM_ID_{suffix}={path}"]
        for option, variable in _VARIABLES[component].items():
            if value := given.get(option):
                words += ["--env", f"{variable}={value}"]
        image = given.get("image") or self.image(component)
        return self._make(given.docker, words, image, given.command)

    def _make(self, options: list[str], more: list[str], image: str, command: Sequence[str]) -> str:
        words = [*options, *more]
        if not any(word.startswith(("--interactive", "-i")) for word in words):
            words.append("--interactive=true")
        if self._tty and not any(word.startswith(("--tty", "-t")) for word in words):
            words.append("--tty=true")
        name = _value(words, "--name")
        if name and not _value(words, "--hostname") and not _value(words, "-h"):
            words += ["--hostname", name]
        words = [word for word in words if word not in ("-d", "--detach", "--detach=true")]
        container = docker("container", "create", *words, image, *command).splitlines()[-1]
        self._tell_it_who_it_is(container)
        return container

    @staticmethod
    def _tell_it_who_it_is(container: str) -> None:
        """The three lines that each container finds in /tmp/container_info_file."""
        text = docker("inspect", "--format", "{{.Id}}\n{{.Config.Image}}\n{{.Image}}", container)
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write(text + "\n")
        Path(file.name).chmod(0o644)
        try:
            docker("cp", file.name, f"{container}:/tmp/container_info_file")
        finally:
            Path(file.name).unlink()

    @staticmethod
    def _start(container: str, ml: str = "") -> Started:
        for each in (container, ml):
            if each:
                docker("container", "start", each)
        return Started(container, ml)

    # --- run-sl

    def _local_sn(self, given: Parsed) -> str:
        """Address of an SN on this host, as that container itself gives it."""
        name = given.get("sn-docker-name")
        found = [name] if name else self.ancestors("sn")
        if not found:
            raise ScriptError("no SN container found")
        return docker("exec", found[0], "hostname", "-i").split()[0]

    def _sidecar(self, given: Parsed, sl: str, channels: list[str]) -> str:
        ml = parse(given.ml, self._docker, ("image", "cmd"), ())
        words = ["--volumes-from", sl, *channels]
        if user := _value(ml.docker, "--user"):
            at = ml.docker.index("--user")
            ml.docker[at + 1] = f"{user}:{_group_of(user)}"
        else:
            words += ["--user", f"{os.getuid()}:{os.getgid()}"]
        return self._make(ml.docker, words, ml.get("image"), ml.command)


def _value(words: Sequence[str], option: str) -> str:
    for at, word in enumerate(words):
        if word == option:
            return words[at + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""


def _group_of(user: str) -> str:
    done = subprocess.run(["id", "-g", user], capture_output=True, text=True, check=False)
    return done.stdout.strip()
