"""A network of the test's own: a router and hosts behind it, each in a network namespace.

Nothing else on this machine is touched. The namespaces have no names: each belongs to a process
that ends with the test, also with one that crashes, and vanishes with it; so tests side by side do
not meet either. The test itself moves to the router (:meth:`Network.entered`), from where it
reaches every host whatever is cut between them.

A cut is a routing rule that swallows packets, as a pulled cable or a firewall does: nobody gets a
RST or an ICMP message, the other end is just silent.

Needs the right to make namespaces: root, or the whole test run under
``unshare --map-root-user --net``.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product

CLONE_NEWNET = 0x40000000
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""The command behind it is killed when the thread that started it ends."""
_STAY = "ip link set lo up && echo up && exec sleep infinity"
_RULE = "rule {verb} prio 100 iif {source} to {target} blackhole\n"
"""Swallows what comes from an interface for an address."""


class NotAllowedError(Exception):
    """This user may not make network namespaces."""


class Namespace:
    """A network namespace, alive as long as its process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [*ENDS_WITH_US, "unshare", "--net", "sh", "-c", _STAY],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "up\n":
            raise NotAllowedError(self.process.communicate()[1].strip())
        self.path = f"/proc/{self.process.pid}/ns/net"

    def command(self, *words: str) -> list[str]:
        """The command, inside; its process id is that of what it starts."""
        return [*ENDS_WITH_US, "nsenter", f"--net={self.path}", "--", *words]

    def run(self, *words: str, text: str = "") -> None:
        """Run a command inside and wait for it."""
        done = subprocess.run(self.command(*words), input=text, capture_output=True, text=True)
        assert done.returncode == 0, (words, text, done.stderr)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Host(Namespace):
    """One machine of the network: an address, a default route to the router."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.address = f"10.77.{number}.2"
        self.port = f"host{number}"
        """The router's interface towards it."""
        self.gateway = f"10.77.{number}.1"

    def plug(self, router: Namespace) -> None:
        pid = self.process.pid
        router.run(
            "ip", "-batch", "-",
            text=f"link add {self.port} type veth peer name eth0 netns {pid}\n"
            f"addr add {self.gateway}/24 dev {self.port}\nlink set {self.port} up\n",
        )  # fmt: skip
        self.run(
            "ip", "-batch", "-",
            text=f"addr add {self.address}/24 dev eth0\nlink set eth0 up\n"
            f"route add default via {self.gateway}\n",
        )  # fmt: skip


class Network:
    """See the module. Close it at the end.

    Raises:
        NotAllowedError: this user may not make network namespaces.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._router = Namespace()
        self._router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._cut: set[tuple[str, str]] = set()

    def host(self, name: str) -> Host:
        """The host called so, plugged in at its first mention."""
        if name not in self.hosts:
            self.hosts[name] = made = Host(len(self.hosts) + 1)
            made.plug(self._router)
        return self.hosts[name]

    def split(self, *sides: Iterable[str]) -> None:
        """Let no packet pass between hosts of different sides; adds to what is cut already."""
        given = [list(side) for side in sides]
        pairs = {
            pair
            for one in given
            for other in given
            if one is not other
            for pair in product(one, other)
        }
        self._change("add", pairs - self._cut)
        self._cut |= pairs

    def cut_off(self, name: str) -> None:
        """Cut one host off from all the others."""
        self.split([name], [other for other in self.hosts if other != name])

    def heal(self) -> None:
        """Mend all cuts."""
        self._change("del", self._cut)
        self._cut = set()

    def _change(self, verb: str, pairs: Iterable[tuple[str, str]]) -> None:
        rules = [
            _RULE.format(
                verb=verb, source=self.hosts[source].port, target=self.hosts[target].address
            )
            for source, target in sorted(pairs)
        ]
        self._router.run("ip", "-batch", "-", text="".join(rules))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread at the router: sockets and processes that it makes are there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(self._router.path)
            yield
        finally:
            _enter(f"/proc/self/fd/{home}")
            os.close(home)

    def close(self) -> None:
        """Take everything down; what still runs in it loses its network."""
        for each in (*self.hosts.values(), self._router):
            each.close()


def _enter(path: str) -> None:
    """``os.setns``, which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {path}")
    finally:
        os.close(handle)
