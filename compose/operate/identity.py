"""What a node gets to prove who it is, and the license servers it asks; pure."""

from __future__ import annotations

import posixpath

from compose.operate.errors import UsageError
from compose.operate.host import Host
from compose.operate.parse import Options

SPIFFE_FOLDER = "/tmp/spire-agent"  # noqa: S108 - HPE's, in the container

_ENVIRONMENT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PRIMARY_IP", ("apls-ip", "primary-apls-ip")),
    ("PRIMARY_PORT", ("apls-port", "primary-apls-port")),
    ("SECONDARY_IP", ("secondary-apls-ip",)),
    ("SECONDARY_PORT", ("secondary-apls-port",)),
)
_WANTED: dict[str, str] = {
    "key": "PRIVATE KEY-----",
    "cert": "-----BEGIN CERTIFICATE-----",
    "cacert": "-----BEGIN CERTIFICATE-----",
}


def port_of(name: str, text: str) -> int:
    """A port number.

    Raises:
        UsageError: it is none.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise UsageError(f"--{name} {text}: a port is a number from 1 to 65535")
    return int(text)


def license_words(options: Options) -> list[str]:
    """The license servers, as environment; nothing for what was not given."""
    words = []
    for suffix, names in _ENVIRONMENT:
        value = options.get(*names)
        if not value:
            continue
        if suffix.endswith("PORT"):
            port_of(names[0], value)
        words.append(f"--env=SWARM_LICENSE_AUTOPASSJ_SERVER_{suffix}={value}")
    return words


def identity_words(options: Options, component: str, host: Host) -> tuple[list[str], list[str]]:
    """Mounts and environment, and notes for the user.

    Raises:
        UsageError: a file is missing or is something else.
    """
    words, notes = [], []
    for name in ("key", "cert", "cacert", "capath"):
        given = options.get(name)
        if not given:
            continue
        path = host.absolute(given)
        notes += _check(name, path, host)
        words += [f"--volume={path}:{path}:ro", f"--env=SWARM_ID_{name.upper()}={path}"]
    if options.get("socket-path"):
        words += _spiffe(options.get("socket-path"), component, host)
    elif not options.get("key") or not options.get("cert"):
        notes.append("no --key and --cert, and no --socket-path: nodes end without an identity")
    elif not options.get("cacert") and not options.get("capath"):
        notes.append("neither --capath nor --cacert: the node cannot know whom to trust")
    return words, notes


def _check(name: str, path: str, host: Host) -> list[str]:
    if ":" in path:
        raise UsageError(f"--{name} {path}: Docker mounts no path with a colon in it; move it")
    if name == "capath":
        if not host.files.is_dir(path):
            raise UsageError(f"--capath: bad directory {path}: there is no such folder")
        return []
    if not host.files.is_file(path):
        why = "it is a folder" if host.files.is_dir(path) else "there is no such file"
        raise UsageError(f"--{name}: bad file {path}: {why}. `swarm gen-cert` makes certificates")
    text = host.files.begin(path)
    if text is None:
        return [
            f"--{name}: you may not read {path}. If the node cannot either, it ends: give the file "
            "to the user that it runs as (root, or that of --user)"
        ]
    if _WANTED[name] not in text:
        raise UsageError(f"--{name}: bad file {path}: {_what(text)}, not {_wish(name)} in PEM form")
    return []


def _what(text: str) -> str:
    for kind, mark in (
        ("a private key", "PRIVATE KEY-----"),
        ("a certificate", "BEGIN CERTIFICATE"),
    ):
        if mark in text:
            return f"it holds {kind}"
    return "it holds something else"


def _wish(name: str) -> str:
    return "a private key" if name == "key" else "a certificate"


def _spiffe(given: str, component: str, host: Host) -> list[str]:
    """The Workload API's socket."""
    path = host.absolute(given)
    if host.files.is_socket(path):
        inside = posixpath.join(SPIFFE_FOLDER, posixpath.basename(path))
        mount = f"{path}:{inside}"
    else:
        found = given if ":" in given else host.find_socket(given)
        volume, _, relative = found.partition(":")
        if not volume or not relative or "/" in volume:
            raise UsageError(
                f"--socket-path {given}: neither a socket of this host, nor VOLUME:PATH, nor a "
                "volume or container that has a socket in it. Does the SPIRE agent run?"
            )
        mount = f"{volume}:{SPIFFE_FOLDER}"
        inside = posixpath.join(SPIFFE_FOLDER, relative.lstrip("/"))
    return [
        f"--volume={mount}",
        f"--env=SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH={inside}",
        f"--label=swarm-node-type={component}",
    ]
