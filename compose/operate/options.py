"""The table of the run commands' own options: the parser and ``--help`` are made from it; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option."""

    name: str
    """Long name, without dashes."""
    metavar: str
    """What its value is; empty for a flag."""
    help: str
    short: str = ""
    is_optional: bool = False
    """Its value may be left out; if not, it follows ``=``."""


@dataclass(frozen=True)
class Group:
    """Options under one heading of the help."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Command:
    """A run command."""

    name: str
    component: str
    """Last part of its image's name."""
    summary: str
    usage: str
    groups: tuple[Group, ...]
    example: str
    has_sidecars: bool = False

    def options(self) -> dict[str, Option]:
        """All its own options, by name."""
        return {option.name: option for group in self.groups for option in group.options}


COMMON = Group(
    "Options of all run commands",
    (
        Option("image", "NAME", "image to use instead of $SWARM_IMAGES/COMPONENT:$SWARM_TAG"),
        Option("cmd", "WORDS", "arguments of the container, split into words as a shell would"),
        Option("detach", "", "start it and return; else its output is shown until it ends", "d"),
        Option(
            "wait", "SECONDS", "with -d: return when it is ready, 1 if it ends or does not become "
            "ready in SECONDS (default 300)", is_optional=True,
        ),
        Option("dry-run", "", "print the commands, as a script for sh, and run none of them"),
        Option("sudo", "", "run Docker with sudo (done anyway where its socket wants it)"),
        Option("help", "", "this text; -h is Docker's --hostname"),
    ),
)  # fmt: skip

IDENTITY = Group(
    "Identity",
    (
        Option("key", "FILE", "private key (PEM); mounted read-only at the same path"),
        Option("cert", "FILE", "its certificate (PEM)"),
        Option("cacert", "FILE", "trusted CA certificates (PEM)"),
        Option("capath", "DIR", "folder of trusted CA certificates (*.pem)"),
        Option(
            "socket-path", "SOCKET", "SPIFFE Workload API: a socket of this host, VOLUME:PATH, or "
            "a volume or container that has one",
        ),
    ),
)  # fmt: skip

LICENSE = Group(
    "License server",
    (
        Option("apls-ip", "HOST", "license server"),
        Option("apls-port", "PORT", "its port (the node's default is 5814)"),
        Option("primary-apls-ip", "HOST", "same as --apls-ip"),
        Option("primary-apls-port", "PORT", "same as --apls-port"),
        Option("secondary-apls-ip", "HOST", "a second one, asked when the first does not answer"),
        Option("secondary-apls-port", "PORT", "its port"),
        Option("apls-pdf", "FILE", "accepted for old scripts, without effect"),
    ),
)

_SN_API = (
    Option("sn-ip", "HOST", "the SN to use"),
    Option("sn-api-port", "PORT", "port of its API (default 30304)"),
    Option("sn-api-service", "FQDN[:PORT]", "the SN's API behind a proxy; default port 443"),
)

SN = Command(
    "run-sn", "sn", "start an SN node",
    "(--sentinel | --sentinel-ip HOST) --host-ip HOST [OPTION...]",
    (
        Group("SN", (
            Option("host-ip", "HOST", "how others reach this host; not needed where both "
                   "services are given"),
            Option("sentinel", "", "found the network: on the one SN that starts first; =false: "
                   "not"),
            Option("sentinel-ip", "HOST", "an SN that runs, to join its network"),
            Option("sentinel-api-port", "PORT", "port of that SN's API"),
            Option("sentinel-api-service", "FQDN[:PORT]", "that SN's API behind a proxy"),
            Option("sn-api-port", "PORT", "listen for the API on PORT and publish it"),
            Option("sn-api-service", "FQDN[:PORT]", "how others reach the API; publishes PORT "
                   "(30304)"),
            Option("sn-p2p-port", "PORT", "publish the link to other SNs on PORT"),
            Option("sn-p2p-service", "FQDN[:PORT]", "how other SNs reach it; publishes PORT "
                   "(30303)"),
        )),
        IDENTITY, LICENSE, COMMON,
    ),
    "swarm run-sn -d --wait --name=sn1 --network=net --host-ip=sn1 --sentinel \\\n"
    "    --key=cert/sn-1-key.pem --cert=cert/sn-1-cert.pem --capath=cert/ca/capath \\\n"
    "    -v sn1:/platform/swarm/SMLNODE --apls-ip=license",
)  # fmt: skip

SL = Command(
    "run-sl", "sl", "start an SL node, and an ML container beside it",
    "--sn-ip HOST --host-ip HOST [OPTION...] [--ml-image IMAGE [--ml-OPTION...]]",
    (
        Group("SL", (
            Option("host-ip", "HOST", "how others reach this host; not needed with "
                   "--sl-fs-service"),
            *_SN_API,
            Option("sn-docker-name", "NAME", "container of the SN, where neither of these is "
                   "given; else any SN of this host"),
            Option("sn-image", "IMAGE", "accepted for old scripts, without effect"),
            Option("sl-fs-port", "PORT", "publish the file server on PORT"),
            Option("sl-fs-service", "FQDN[:PORT]", "how others reach the file server; publishes "
                   "PORT (30305)"),
            Option("sidecar", "NAME", "one more container beside this SL, with options "
                   "--NAME-...; --ml-... need none"),
        )),
        IDENTITY, LICENSE, COMMON,
    ),
    "swarm run-sl -d --name=sl1 --network=net --host-ip=sl1 --sn-ip=sn1 --apls-ip=license \\\n"
    "    --key=cert/sl-1-key.pem --cert=cert/sl-1-cert.pem --capath=cert/ca/capath \\\n"
    "    --ml-image=swarm-learning/ml-pytorch:0.1.0 --ml-name=ml1 --ml-v=./model:/model \\\n"
    "    --ml-w=/model --ml-e=MIN_PEERS=2 --ml-cmd=train.py",
    has_sidecars=True,
)  # fmt: skip

SWOP = Command(
    "run-swop", "swop", "start a SWOP node",
    "--usr-dir DIR --profile-file-name FILE --sn-ip HOST [OPTION...]",
    (
        Group("SWOP", (
            Option("usr-dir", "DIR", "folder of the profile, mounted for reading and writing"),
            Option("profile-file-name", "FILE", "the profile, in that folder"),
            *_SN_API,
            Option("swop-uid", "UID", "user id of the containers that it starts (default: yours)"),
            Option("docker-socket-file", "SOCKET", "the engine's socket, or a filter's "
                   "(docs/socket-proxy.md)"),
            Option("docker-group-id", "GID", "group of that socket (default: of the group docker)"),
        )),
        IDENTITY, LICENSE, COMMON,
    ),
    "swarm run-swop -d --wait --name=swop1 --network=net --sn-ip=sn1 --apls-ip=license \\\n"
    "    --usr-dir=swop --profile-file-name=swop1_profile.yaml \\\n"
    "    --key=cert/swop-1-key.pem --cert=cert/swop-1-cert.pem --capath=cert/ca/capath",
)  # fmt: skip

SWCI = Command(
    "run-swci", "swci", "start SWCI, the operators' shell",
    "[--usr-dir DIR] [OPTION...] [-- ARGUMENT...]",
    (
        Group("SWCI", (
            Option("usr-dir", "DIR", "folder of the script and its files, mounted for reading "
                   "and writing"),
            Option("init-script-name", "FILE", "script in that folder that is run first (default "
                   "swci-init)"),
        )),
        IDENTITY, LICENSE, COMMON,
    ),
    "swarm run-swci --name=swci --network=net --usr-dir=swci --init-script-name=swci-init \\\n"
    "    --key=cert/swci-1-key.pem --cert=cert/swci-1-cert.pem --capath=cert/ca/capath \\\n"
    "    --apls-ip=license",
)  # fmt: skip

LICENSE_SERVER = Command(
    "run-license", "license", "start the license server (ours)", "[OPTION...]",
    (
        Group("License server", (
            Option("license-port", "PORT", "publish it on PORT of this host (documented: 5814)"),
            Option("data", "VOLUME|DIR", "volume or folder that keeps licences and history "
                   "(default: volume swarm-license)"),
        )),
        IDENTITY, COMMON,
    ),
    "swarm run-license -d --wait --name=license --network=net --license-port=5814 \\\n"
    "    --key=cert/lic-1-key.pem --cert=cert/lic-1-cert.pem --capath=cert/ca/capath",
)  # fmt: skip

RUN_COMMANDS: dict[str, Command] = {
    command.component: command for command in (SN, SL, SWOP, SWCI, LICENSE_SERVER)
}
"""By their components."""
