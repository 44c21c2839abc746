"""The options of ``docker container create``; pure.

Those of Docker 28 are built in, so that a plan can be made without an engine. What another version
(or podman) has besides is read from its help, when somebody uses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable

_FLAGS = """
    disable-content-trust init interactive:i no-healthcheck oom-kill-disable privileged
    publish-all:P quiet:q read-only rm tty:t use-api-socket
"""
_WITH_VALUE = """
    add-host annotation attach:a blkio-weight blkio-weight-device cap-add cap-drop
    cgroup-parent cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period
    cpu-rt-runtime cpu-shares:c cpus cpuset-cpus cpuset-mems device device-cgroup-rule
    device-read-bps device-read-iops device-write-bps device-write-iops dns dns-opt dns-option
    dns-search domainname entrypoint env:e env-file expose gpus group-add health-cmd
    health-interval health-retries health-start-interval health-start-period health-timeout
    hostname:h io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label:l label-file
    link link-local-ip log-driver log-opt mac-address memory:m memory-reservation memory-swap
    memory-swappiness mount name net net-alias network network-alias oom-score-adj pid pids-limit
    platform publish:p pull restart runtime security-opt shm-size stop-signal
    stop-timeout storage-opt sysctl tmpfs ulimit user:u userns
    uts volume:v volume-driver volumes-from workdir:w
"""
_HELP = re.compile(
    r"^ {1,6}(?:-(\w), )?--([a-z0-9][a-z0-9-]*)(?: (\S+))?(?: {2,}| *$)", re.MULTILINE
)


@dataclass(frozen=True)
class DockerOption:
    """One option of ``docker container create``."""

    name: str
    """Long name, without dashes."""
    has_value: bool
    short: str = ""


def parse_help(text: str) -> dict[str, DockerOption]:
    """The options that ``docker container create --help`` (or podman's) lists."""
    found = {}
    for short, name, kind in _HELP.findall(text):
        if name != "help":
            found[name] = DockerOption(name, bool(kind), short)
    return found


def _listed(text: str, has_value: bool) -> Iterable[DockerOption]:
    for word in text.split():
        name, _, short = word.partition(":")
        yield DockerOption(name, has_value, short)


BUILT_IN: dict[str, DockerOption] = {
    option.name: option for option in (*_listed(_FLAGS, False), *_listed(_WITH_VALUE, True))
}
"""By their long names."""
