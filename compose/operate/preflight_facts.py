"""Looks at this host for the checks before a run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from pathlib import Path
from typing import Iterator

from compose.operate import collect_engine as engine
from compose.operate import collect_host
from compose.operate.preflight_checks import Docker, Image

KINDS = ("license", "sn", "sl", "swop", "swci", "tools")
_CONFIGURED = {"httpproxy": "http_proxy", "httpsproxy": "https_proxy", "noproxy": "no_proxy"}
_LISTEN = "0A"


def docker() -> Docker:
    """What Docker's command says of itself."""
    try:
        told = engine.ask_json("version", "--format", "{{json .}}", seconds=20)
    except engine.EngineError as exc:
        return Docker(error=str(exc))
    server, client = told.get("Server") or {}, told.get("Client") or {}
    try:
        compose = engine.ask("compose", "version", "--short", seconds=20).strip()
    except engine.EngineError:
        compose = ""
    return Docker(str(server.get("Version", "")), str(client.get("Version", "")), compose)


def images(prefix: str, tag: str) -> list[Image]:
    """Our images on this host."""
    found = []
    for kind in KINDS:
        name = f"{prefix}/{kind}:{tag}"
        try:
            labels = (engine.ask_json("image", "inspect", name)[0].get("Config") or {}).get(
                "Labels"
            )
        except (engine.EngineError, IndexError):
            found.append(Image(name, present=False))
            continue
        told = labels or {}
        version = told.get("org.opencontainers.image.version", "")
        found.append(Image(name, True, version, told.get("swarm.base", "")))
    return found


def data_folder() -> str:
    """Where the engine keeps its data, if it is on this host."""
    try:
        root = engine.ask("info", "--format", "{{.DockerRootDir}}", seconds=20).strip()
    except engine.EngineError:
        return "/"
    return root if Path(root).is_dir() else "/"


def holder_of(port: int) -> str | None:
    """Who listens on a port of this host; None where nobody does."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return _named(port)
            if exc.errno == errno.EACCES:
                return "nobody, but this user may not open it (ports below 1024)"
    return None


def _named(port: int) -> str:
    try:
        lines = engine.ask("ps", "--format", "{{.Names}}\t{{.Ports}}", seconds=20).splitlines()
    except engine.EngineError:
        lines = []
    for line in lines:
        name, _, ports = line.partition("\t")
        if f":{port}->" in ports:
            return f"container {name}"
    return _process(port) or "another program (sudo ss -ltnp shows which)"


def _process(port: int) -> str:
    """The program behind a port, where we may see it."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in collect_host.lines(Path("/proc/net") / table)[1:]:
            parts = line.split()
            if parts[3] == _LISTEN and int(parts[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{parts[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        if sockets.intersection(_links(process / "fd")):
            return f"{collect_host.first_line(process / 'comm')} (pid {process.name})"
    return ""


def _links(folder: Path) -> Iterator[str]:
    """What the links in a folder name, as far as we may see them."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            yield os.readlink(entry)


def proxy_variables() -> dict[str, str]:
    """Proxies of this shell, and those that Docker's command gives to containers."""
    found: dict[str, str] = {}
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text())
        for name, value in ((config.get("proxies") or {}).get("default") or {}).items():
            found[_CONFIGURED.get(name.lower(), name)] = str(value)
    except (OSError, ValueError, AttributeError):
        pass
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name, value in os.environ.items():
        if name.lower() in names and value:
            found[name.lower()] = value
    return found


def addresses(name: str) -> set[str] | None:
    """What a name means here; None where nothing."""
    try:
        return {str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return None


def leftovers() -> int:
    """Entries of ``/tmp/hpe-swarm``."""
    try:
        return len(list(Path("/tmp/hpe-swarm").iterdir()))  # noqa: S108 - HPE's folder
    except OSError:
        return 0


def running(kind: str) -> int:
    """Containers of a kind that run."""
    try:
        names = engine.ask("ps", "--filter=label=swarm.sources", "--format={{.Image}}").split()
    except engine.EngineError:
        return 0
    return sum(f"/{kind}:" in name for name in names)


def mtu() -> tuple[int, int]:
    """Of the interface that leads out, and of Docker's bridge; 0 where unknown."""
    outside = 0
    for line in collect_host.lines(Path("/proc/net/route"))[1:]:
        parts = line.split()
        if len(parts) > 1 and parts[1] == "00000000":
            outside = collect_host.mtu(Path("/sys/class/net") / parts[0])
            break
    return outside, collect_host.mtu(Path("/sys/class/net/docker0"))
