"""Paths of the host, compared as they are written.

Whether a folder is a symbolic link to somewhere else cannot be seen here, nor by a SWOP that runs
in a container. So a folder is allowed by its exact path, as long as the list does not say ``/*``.
"""

from collections.abc import Iterable
from posixpath import normpath

_POWER = (
    *("/proc", "/sys", "/dev", "/etc", "/boot", "/root/.ssh", "/root/.docker"),
    *("/run/docker.sock", "/run/containerd", "/run/podman", "/run/crio", "/run/user"),
    *("/var/run/docker.sock", "/var/run/containerd", "/var/run/podman", "/var/run/crio"),
    *("/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/var/run/user"),
)
"""Paths of the host that give power over it: never mounted, nor any folder that holds them."""
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "dockershim.sock")


def _plain(path: str) -> str:
    return "/" + normpath(path).lstrip("/")


def _is_in(path: str, folder: str) -> bool:
    path, folder = _plain(path), _plain(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether an absolute path is one of these folders or lies in one."""
    return path.startswith("/") and any(_is_in(path, folder) for folder in folders)


def is_listed(path: str, entries: Iterable[str]) -> bool:
    """Whether an absolute path is one of these folders, or lies in a folder listed with ``/*``."""
    below = [entry[:-2] or "/" for entry in entries if entry.endswith("/*")]
    exact = {_plain(entry) for entry in entries}
    return is_below(path, below) or (path.startswith("/") and _plain(path) in exact)


def overlap(one: str, other: str) -> bool:
    """Whether one of two paths is the other, or lies in it."""
    return _is_in(one, other) or _is_in(other, one)


def gives_power(path: str) -> bool:
    """Whether who mounts this path of the host has power over the host."""
    socket = _plain(path).rpartition("/")[2] in _SOCKETS
    return socket or any(overlap(path, power) for power in _POWER)
