"""What must be true of a host before a node starts on it: facts in, findings out; pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Iterable, Mapping

from compose.operate.preflight_findings import FAIL, OK, WARN, Finding

ENGINE, COMPOSE = (20, 10), (2, 20)
"""Oldest versions that are known to do."""
DISK_FAIL, DISK_WARN = 1 << 30, 5 << 30
"""Bytes free where the engine keeps images and volumes."""
MEMORY = {"sn": 512 << 20, "sl": 1 << 30, "swop": 2 << 30, "swci": 256 << 20, "license": 256 << 20}
"""Bytes of memory that a node should find free; an SL needs several times the model's size more."""
HANDOVER = "/tmp/hpe-swarm"  # noqa: S108 - HPE's folder
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class Docker:
    """What Docker's command said."""

    engine: str = ""
    client: str = ""
    compose: str = ""
    error: str = ""


@dataclass(frozen=True)
class Image:
    """An image that is here, or not."""

    name: str
    present: bool
    version: str = ""
    sources: str = ""
    """Digest of what all services share; empty where it is not built on that."""


def docker(found: Docker, user: str) -> list[Finding]:
    """The engine answers, and is new enough."""
    if found.error:
        return [
            Finding(FAIL, "docker", found.error.splitlines()[-1][:200], _docker_help(found, user))
        ]
    findings = [_version("docker engine", found.engine, ENGINE, FAIL)]
    if found.compose:
        findings.append(_version("docker compose", found.compose, COMPOSE, WARN))
    else:
        findings.append(Finding(WARN, "docker compose", "there is no compose plugin", "install "
                        "docker-compose-plugin, if you want to use the compose files"))  # fmt: skip
    return findings


def _docker_help(found: Docker, user: str) -> str:
    error = found.error.lower()
    if "permission denied" in error or "password is required" in error:
        return f"sudo usermod -aG docker {user}, then log out and in again (or use sudo)"
    if "no docker command" in error:
        return "install Docker Engine"
    return "start it: sudo systemctl start docker"


def _version(what: str, text: str, oldest: tuple[int, int], level: str) -> Finding:
    numbers = re.match(r"v?(\d+)\.(\d+)", text)
    wanted = ".".join(map(str, oldest))
    if numbers is None:
        return Finding(WARN, what, f"version {text!r}", f"check that it is at least {wanted}")
    if (int(numbers[1]), int(numbers[2])) < oldest:
        return Finding(level, what, f"version {text} is too old", f"install {wanted} or newer")
    return Finding(OK, what, f"version {text}")


def images(found: Iterable[Image], needed: Iterable[str]) -> list[Finding]:
    """The images that are needed are here, and all are of one version.

    Args:
        found: of this release.
        needed: names that this host cannot do without.
    """
    needs, every = set(needed), list(found)
    missing = [each.name for each in every if not each.present]
    findings = []
    fatal = [name for name in missing if name in needs]
    if fatal:
        findings.append(Finding(FAIL, "images", f"missing: {', '.join(fatal)}",
            "make images, or docker load -i the archive that your partner made"))  # fmt: skip
    here = [each for each in every if each.present]
    versions, sources = {each.version for each in here}, {each.sources for each in here} - {""}
    for what, values in (("versions", versions), ("sources", sources)):
        if len(values) > 1:
            findings.append(Finding(FAIL if what == "versions" else WARN, "images",
                f"of different {what}: {', '.join(sorted(v[:12] or '?' for v in values))}",
                "build or load all of them again, on all hosts the same"))  # fmt: skip
    if not findings:
        others = f"; not here, and not needed: {', '.join(missing)}" if missing else ""
        shown = ", ".join(each or "?" for each in versions)
        findings.append(Finding(OK, "images", f"{len(here)} of version {shown}{others}"))
    return findings


def disk(place: str, free: int | None) -> Finding:
    """There is room for images, chain and models."""
    subject = f"disk {place}"
    if free is None:
        return Finding(WARN, subject, "cannot be looked at", "check it yourself: df -h")
    text = f"{free / (1 << 30):.1f} GB free"
    if free < DISK_WARN:
        return Finding(FAIL if free < DISK_FAIL else WARN, subject, text,
                       "make room: docker image prune, old runs")  # fmt: skip
    return Finding(OK, subject, text)


def memory(available: int | None, needs: Mapping[str, int]) -> Finding:
    """There is memory for the nodes that are to start.

    Args:
        available: bytes.
        needs: how many nodes of each kind.
    """
    if available is None:
        return Finding(WARN, "memory", "cannot be looked at", "check it yourself: free -m")
    wanted = sum(MEMORY.get(kind, 1 << 30) * count for kind, count in needs.items())
    text = f"{available / (1 << 30):.1f} GB available, about {wanted / (1 << 30):.1f} GB needed"
    if available < wanted:
        return Finding(WARN, "memory", text, "start fewer nodes here, or stop other programs")
    return Finding(OK, "memory", f"{text}, and what your ML programs take")


def port(number: int, holder: str | None) -> Finding:
    """A port of this host is free.

    Args:
        number: the port.
        holder: who has it; None where it is free.
    """
    if holder is None:
        return Finding(OK, f"port {number}", "free")
    return Finding(FAIL, f"port {number}", f"taken by {holder}",
                   "stop that, or publish another port")  # fmt: skip


def proxies(variables: Mapping[str, str], hosts: Iterable[str]) -> Finding:
    """No proxy stands between this host and the swarm.

    Args:
        variables: of the environment, and of Docker's own configuration.
        hosts: names and addresses of the swarm.
    """
    lower = {name.lower(): value for name, value in variables.items()}
    given = [name for name in PROXIES if lower.get(name)]
    if not given:
        return Finding(OK, "proxies", "none is set")
    exceptions = [_bare(word.strip()) for word in lower.get("no_proxy", "").split(",")]
    caught = sorted({host for host in hosts if not _excepted(host, exceptions)})
    if caught:
        return Finding(WARN, "proxies", f"{', '.join(given)} would catch {', '.join(caught)}",
            f"set NO_PROXY={','.join(caught)} here and in ~/.docker/config.json")  # fmt: skip
    return Finding(OK, "proxies", f"{', '.join(given)} set, the swarm's addresses are excepted")


def _bare(word: str) -> str:
    """``.example`` and ``*.example`` mean what ``example`` does."""
    return word if word == "*" else word.lstrip(".*")


def _excepted(host: str, exceptions: list[str]) -> bool:
    return any(
        word == "*" or host == word or host.endswith(f".{word}") or _in_network(host, word)
        for word in exceptions
        if word
    )


def _in_network(host: str, network: str) -> bool:
    """Whether an address lies in ``10.0.0.0/8`` or the like."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def clock_kept(synchronised: bool | None) -> Finding:
    """Something keeps this host's clock right."""
    if synchronised:
        return Finding(OK, "clock is kept", "the kernel says that it is synchronised")
    said = "is not synchronised" if synchronised is False else "cannot be asked"
    return Finding(WARN, "clock is kept", f"the kernel {said}",
                   "set up NTP, e.g. install chrony; all hosts need the same time")  # fmt: skip


def security(enforcing: bool) -> Finding:
    """SELinux does not keep the containers from their files."""
    if not enforcing:
        return Finding(OK, "SELinux", "not enforcing")
    return Finding(WARN, "SELinux", "is enforcing: containers may not read your folders",
        "chcon -Rt svirt_sandbox_file_t WORKSPACE; for SWOP --security-opt="
        "label=type:container_runtime_t")  # fmt: skip


def leftovers(entries: int, sls: int) -> Finding:
    """No earlier SL has left files for the ML program behind.

    Args:
        entries: in ``/tmp/hpe-swarm`` of this host.
        sls: SL containers that run.
    """
    if entries and not sls:
        return Finding(WARN, HANDOVER, f"{entries} files of an earlier run, no SL runs",
                       "remove the folder, if nothing of yours uses it")  # fmt: skip
    return Finding(OK, HANDOVER, "in use by an SL" if entries else "nothing left there")


def mtu(interface: int, docker_networks: int) -> Finding:
    """Packets of containers fit this host's network."""
    if interface and docker_networks > interface:
        text = f"containers send {docker_networks}, this host {interface}: large messages may hang"
        return Finding(WARN, "MTU", text,
            f'set {{"mtu": {interface}}} in /etc/docker/daemon.json, and make networks with '
            f"--opt com.docker.network.driver.mtu={interface}")  # fmt: skip
    return Finding(OK, "MTU", f"{docker_networks or '?'} in containers, {interface or '?'} here")


def resolved(name: str, addresses: Iterable[str] | None, *, own: bool = False) -> Finding:
    """A name means something on this host."""
    if addresses is None:
        return Finding(FAIL, f"name {name}", "is not known here",
                       "correct it, or add it to DNS or /etc/hosts")  # fmt: skip
    shown = ", ".join(sorted(addresses))
    local = own and all(each.startswith("127.") or each == "::1" for each in addresses)
    if local:
        return Finding(WARN, f"name {name}", f"is {shown}: others cannot reach that",
                       "name an address that the other hosts can reach")  # fmt: skip
    return Finding(OK, f"name {name}", shown if shown != name else "is an address")
