"""Two organisations on this machine's engine: two compose projects and networks, as on two hosts.

They are started from the environment files that users get, with names, addresses and ports of this
test's own; each "host" has an address of its own where a test wants that.
"""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.models.containers import Container
from docker.models.networks import Network

from compose.plan import REPOSITORY
from tests.containers.conftest import PATIENCE, TAG

FOLDER = REPOSITORY / "compose" / "multi-host"
PORTS, PROXY = "compose.yaml:ports.yaml", "compose.yaml:proxy.yaml:names.yaml"


class Organisation:
    """One of them.

    Args:
        letter: ``a`` or ``b``, as in the name of its environment file.
        mark: beginning of all names.
        folder: its own, for certificates and results.
        client: of the engine.
    """

    def __init__(self, letter: str, mark: str, folder: Path, client: docker.DockerClient) -> None:
        self.project = f"{mark}-{letter}"
        self.folder = folder
        self.capath = folder / "certs" / "ca" / "capath"
        self._file, self._client = FOLDER / f"org-{letter}.env", client
        self._environment = {
            **os.environ, "COMPOSE_PROJECT_NAME": self.project, "ORG_DIR": str(folder),
            "SWARM_UID": str(os.getuid()), "SWARM_GID": str(os.getgid()), "SWARM_TAG": TAG,
        }  # fmt: skip
        self.variables(COMPOSE_FILE=PORTS)

    def variables(self, **more: object) -> None:
        """Set variables of its environment file differently."""
        self._environment |= {name: str(value) for name, value in more.items()}

    def compose(self, *words: str, stdin: str = "") -> str:
        """Run a command of Compose, as the administrator does; what it printed."""
        done = subprocess.run(
            ["docker", "compose", "--env-file", self._file, *words],
            cwd=FOLDER, env=self._environment, text=True, timeout=PATIENCE, check=False,
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def service(self, name: str) -> Container:
        """The container of a service."""
        return self._client.containers.get(f"{self.project}-{name}")

    def address(self, name: str) -> str:
        """Of a container in the organisation's network."""
        networks = self.service(name).attrs["NetworkSettings"]["Networks"]
        assert set(networks) == {self.project}
        return str(networks[self.project]["IPAddress"])

    def published(self) -> dict[str, set[int]]:
        """Ports of the host that lead to each container."""
        found = {}
        for container in self._client.containers.list(
            filters={"label": f"com.docker.compose.project={self.project}"}
        ):
            ports = [each for bound in container.ports.values() for each in bound or ()]
            found[container.name.removeprefix(f"{self.project}-")] = {
                int(each["HostPort"]) for each in ports
            }
        return {name: ports for name, ports in found.items() if ports}

    def failed(self) -> str:
        """What the first pair's container that ended with an error printed."""
        for container in self._client.containers.list(
            all=True, filters={"name": rf"^/?{self.project}-(ml|sl)-", "status": "exited"}
        ):
            if code := container.attrs["State"]["ExitCode"]:
                return f"{container.name}: {code}\n{container.logs().decode()}"
        return ""

    def reaches(self, host: str, port: int, name: str = "sn-1") -> bool:
        """Whether one of its containers gets a TCP connection there."""
        words = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}"]
        return bool(self.service(name).exec_run(words).exit_code == 0)

    def python(self, program: str, name: str = "sn-1") -> tuple[int, str]:
        """Run a program in one of its containers; exit code and output."""
        done = self.service(name).exec_run(["python3", "-c", program])
        return int(done.exit_code), done.output.decode()

    def log(self, name: str) -> str:
        """What a container printed."""
        return self.service(name).logs().decode()

    def models(self) -> list[bytes]:
        """The models that its two programs ended with."""
        return [(self.folder / "results" / f"ml-{n}" / "model.pt").read_bytes() for n in (1, 2)]

    def clear(self) -> None:
        """Remove its containers, volumes and network."""
        self.compose("down", "--volumes", "--timeout", "2", "--remove-orphans")


class TwoOrganisations:
    """Both, on one engine.

    Args:
        folder: gets a folder of each.
        client: of the engine.
    """

    def __init__(self, folder: Path, client: docker.DockerClient) -> None:
        self.mark = f"swarmtest-{uuid.uuid4().hex[:8]}"
        self._client = client
        self._networks: list[Network] = []
        self.a = Organisation("a", self.mark, folder / "a", client)
        self.b = Organisation("b", self.mark, folder / "b", client)

    @property
    def both(self) -> tuple[Organisation, Organisation]:
        """In order."""
        return self.a, self.b

    def one_address(self) -> str:
        """An address of this machine that containers reach."""
        return gateway(self._client.networks.get("bridge"))

    def two_addresses(self) -> list[str]:
        """Two addresses of this machine, as if there were two: gateways of two more networks."""
        for letter in "ab":
            self._networks.append(self._client.networks.create(f"{self.mark}-host-{letter}"))
        for network in self._networks:
            network.reload()
        return [gateway(network) for network in self._networks]

    def exchange(self) -> None:
        """What the two administrators do before the start: make certificates, send the CA's."""
        for own, index in ((self.a, 1), (self.b, 2)):
            said = own.compose("run", "--rm", "prepare")
            assert f"trusts ca-{index}-cert.pem (ours: send this file to the others)" in said
            assert "trusts nobody else yet" in said
        shutil.copy(self.a.capath / "ca-1-cert.pem", self.b.capath)
        shutil.copy(self.b.capath / "ca-2-cert.pem", self.a.capath)

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait for a condition, while nothing fails."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            for each in self.both:
                assert not (failed := each.failed()), f"before {why}: {failed}"
            assert time.monotonic() < deadline, f"not in {PATIENCE} s: {why}"
            time.sleep(0.2)

    def assert_all_end_well(self) -> None:
        """Wait for programs and SLs; all end with 0, and with the same model."""
        for each in self.both:
            for name in ("ml-1", "ml-2", "sl-1", "sl-2"):
                code = each.service(name).wait(timeout=PATIENCE)["StatusCode"]
                assert code == 0, f"{each.project}-{name}: {code}\n{each.log(name)}"
        first, *others = [*self.a.models(), *self.b.models()]
        assert others == [first] * 3

    def assert_one_history(self, *sns: str) -> str:
        """The SNs hold the same blocks, verified from the first on; the training's history."""
        words = ["python3", "-m", "services.sn.history"]
        for sn in sns:
            words += ["--sn", sn]
        done = self.a.service("sn-1").exec_run(words)
        text = str(done.output.decode())
        assert done.exit_code == 0, text
        assert f"the same on {len(sns)} SNs" in text
        return text

    def clear(self) -> list[str]:
        """Remove everything; what is left nevertheless."""
        for each in self.both:
            each.clear()
        for network in self._networks:
            network.remove()
        things = [*self._client.containers.list(all=True), *self._client.volumes.list()]
        things += self._client.networks.list()
        return [each.name for each in things if self.mark in each.name]


def gateway(network: Network) -> str:
    """The host's own address in a network of containers."""
    network.reload()
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


def free_ports(host: str, count: int) -> list[int]:
    """Ports of an address of this machine that nobody uses now."""
    sockets = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@contextmanager
def two_organisations(folder: Path, url: str) -> Iterator[TwoOrganisations]:
    """Two that were not started; nothing is left of them afterwards."""
    client = docker.DockerClient(url, version="auto", timeout=120)
    made = TwoOrganisations(folder, client)
    try:
        yield made
    finally:
        left = made.clear()
        client.close()
    assert left == []
