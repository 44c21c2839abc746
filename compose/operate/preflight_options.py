"""The arguments of ``preflight``: those of run-sn, run-sl, run-swop and run-swci; and what follows
from them."""  # noqa: D205, D209

from __future__ import annotations

import argparse
import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from compose.operate.collect_host import VERSION

ROLES = ("sn", "sl", "swop", "swci", "license")
API, P2P, FILES, LICENSE = 30304, 30303, 30305, 5814
_SERVICE = 443
_PORTS = 65536


@dataclass(frozen=True)
class Wanted:
    """What is to start, and what it needs."""

    role: str
    needs: dict[str, int]
    """Nodes to start, by role."""
    host_ip: str
    services: tuple[str, ...]
    """Names that others are told for this host's nodes."""
    ports: tuple[int, ...]
    """To be published here."""
    addresses: dict[str, tuple[str, ...]]
    """``HOST:PORT`` of other nodes, by the option of `compose.preflight`."""
    key: str
    cert: str
    cacert: str
    capath: str
    network: str
    prefix: str
    tag: str
    image: str
    json: bool
    embedded: bool

    @property
    def files(self) -> list[str]:
        """Absolute paths of the identity files."""
        given = (self.key, self.cert, self.cacert, self.capath)
        return [str(Path(each).resolve()) for each in given if each and Path(each).exists()]

    @property
    def hosts(self) -> list[str]:
        """Names and addresses of the swarm."""
        found = [each.rpartition(":")[0].strip("[]") for v in self.addresses.values() for each in v]
        return sorted({*found, *([self.host_ip] if self.host_ip else []), *self.services})

    def image_of(self, kind: str) -> str:
        """The name of an image."""
        if self.image and kind == self.role:
            return self.image
        return f"{self.prefix}/{kind}:{self.tag}"

    def remote(self) -> list[str]:
        """The arguments of `compose.preflight`."""
        words = ["--role", "lic" if self.role == "license" else self.role]
        for option in ("key", "cert", "cacert", "capath"):
            value = getattr(self, option)
            words += [f"--{option}", str(Path(value).resolve())] if value else []
        for option, places in self.addresses.items():
            words += [word for place in places for word in (f"--{option}", place)]
        for kind, count in self.needs.items():
            words += ["--needs", f"{kind}={count}"] if kind != "license" else []
        return words


def parse(argv: list[str], description: str, role_of: Callable[[str], str]) -> Wanted:
    """What the arguments say; ends the program with exit code 2 where they are wrong.

    Args:
        argv: the arguments.
        description: for ``--help``.
        role_of: tells the role of a certificate's file.
    """
    parser = _parser(description)
    options, others = parser.parse_known_args(argv)
    _no_misspelling(parser, others)
    role = options.role or ("sn" if _is_sn(options) else role_of(options.cert or ""))
    if role == "lic":
        role = "license"
    if not role and options.license_port:
        role = "license"
    if role not in ROLES:
        parser.error("which node is to start? --role sn, sl, swop, swci or license")
    return Wanted(
        role=role, needs=dict(options.needs) or {role: 1}, host_ip=options.host_ip or "",
        services=tuple(filter(None, (_host(options.sn_p2p_service),
                                     _host(options.sl_fs_service)))),
        ports=_ports(options), addresses=_addresses(options, role),
        key=options.key or "", cert=options.cert or "", cacert=options.cacert or "",
        capath=options.capath or "", network=options.network or "",
        prefix=os.environ.get("SWARM_IMAGES") or "swarm-learning",
        tag=os.environ.get("SWARM_TAG") or VERSION, image=options.image or "",
        json=options.json, embedded=options.embedded,
    )  # fmt: skip


def _is_sn(options: argparse.Namespace) -> bool:
    return bool(options.sentinel or options.sentinel_ip or options.sentinel_api_service)


def _ports(options: argparse.Namespace) -> tuple[int, ...]:
    own = [options.sn_p2p_port, options.sl_fs_port, options.license_port, *options.publish]
    if _is_sn(options):
        own.append(options.sn_api_port)
    return tuple(sorted({each for each in own if each}))


def _addresses(options: argparse.Namespace, role: str) -> dict[str, tuple[str, ...]]:
    sentinel = _of(options.sentinel_ip, options.sentinel_api_port, options.sentinel_api_service)
    sn = _of(options.sn_ip, options.sn_api_port, options.sn_api_service) if role != "sn" else []
    license_server = [
        _with_port(host, port or LICENSE)
        for host, port in (
            (options.apls_ip, options.apls_port),
            (options.secondary_apls_ip, options.secondary_apls_port),
        )
        if host
    ]
    p2p = [_with_port(each, P2P) for each in options.p2p]
    if options.sentinel_ip and not p2p:
        p2p.append(f"{options.sentinel_ip}:{P2P}")
    peers = tuple(_with_port(each, FILES) for each in options.peer)
    return {"sentinel": tuple(sentinel), "sn": tuple(sn), "license": tuple(license_server),
            "p2p": tuple(p2p), "sl": peers}  # fmt: skip


def _of(address: str | None, port: int | None, service: str | None) -> list[str]:
    """An SN's API by address and port, by service, or both."""
    found = [f"{address}:{port or API}"] if address else []
    return found + ([_with_port(service, _SERVICE)] if service else [])


def _with_port(text: str, port: int) -> str:
    host, colon, given = text.rpartition(":")
    return text if colon and given.isdigit() and host and "]" not in given else f"{text}:{port}"


def _host(service: str | None) -> str:
    return _with_port(service, 1).rpartition(":")[0] if service else ""


def _need(text: str) -> tuple[str, int]:
    kind, _, count = text.lower().partition("=")
    if kind not in ROLES or not (count or "1").isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: KIND=N, KIND one of {', '.join(ROLES)}")
    return kind, int(count or 1)


def _port(text: str) -> int:
    number = int(text.partition("/")[0])
    if not 0 < number < _PORTS:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def _published(text: str) -> int:
    """Port of this host in Docker's ``[[ADDRESS:]PORT:]PORT[/tcp]``."""
    return _port((text.rpartition(":")[0] or text).rpartition(":")[2].partition("-")[0])


def _no_misspelling(parser: argparse.ArgumentParser, others: list[str]) -> None:
    """Pass over what only the run commands look at, but not what was meant for us."""
    for word in (each.partition("=")[0] for each in others):
        known = [name for action in parser._actions for name in action.option_strings]
        close = difflib.get_close_matches(word, known, 1, 0.85) if word.startswith("--") else []
        if close:
            parser.error(f"unknown option {word}: did you mean {close[0]}?")


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarm preflight", description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Other options of the run commands and of Docker are passed over.",
    )  # fmt: skip
    add = parser.add_argument
    add("--role", choices=ROLES, help="what is to start (default: what the certificate says)")
    add("--needs", action="append", default=[], type=_need, metavar="KIND=N",
        help="nodes to start here (repeat it), for licences and memory")  # fmt: skip
    for name in ("key", "cert", "cacert"):
        add(f"--{name}", metavar="FILE")
    add("--capath", metavar="FOLDER")
    add("--host-ip", metavar="ADDRESS", help="of this host, as others reach it")
    add("--sentinel", nargs="?", const="1", help="this SN makes the network")
    for name in ("sentinel-ip", "sn-ip", "secondary-apls-ip"):
        add(f"--{name}", metavar="ADDRESS")
    add("--apls-ip", "--primary-apls-ip", metavar="ADDRESS", help="the license server")
    add("--apls-port", "--primary-apls-port", type=_port, metavar="PORT")
    for name in (
        "sentinel-api-port",
        "sn-api-port",
        "sn-p2p-port",
        "sl-fs-port",
        "license-port",
        "secondary-apls-port",
    ):
        add(f"--{name}", type=_port, metavar="PORT")
    for name in ("sentinel-api-service", "sn-api-service", "sn-p2p-service", "sl-fs-service"):
        add(f"--{name}", metavar="NAME[:PORT]")
    add("--peer", action="append", default=[], metavar="HOST[:PORT]",
        help="the file server of an SL elsewhere (repeat it)")  # fmt: skip
    add("--p2p", action="append", default=[], metavar="HOST[:PORT]",
        help="an SN's peer-to-peer port (default: the sentinel's, 30303)")  # fmt: skip
    add("--publish", "-p", action="append", default=[], type=_published, metavar="PORT",
        help="must be free here (repeat it); as Docker has it, PORT:INSIDE, too")  # fmt: skip
    add("--network", metavar="NAME", help="Docker's network that the node will be in")
    add("--image", metavar="NAME", help="of the node; others by SWARM_IMAGES and SWARM_TAG")
    add("--embedded", action="store_true", help="no Docker: processes on this machine")
    add("--json", action="store_true", help="for programs")
    return parser
