"""What each component's own options mean for its container; pure.

Addresses and ports as HPE's run scripts have them (``compat/02``, 4.1): an SN listens on
``--sn-api-port`` itself, all other ports are only published under another number.
"""

from __future__ import annotations

from typing import Callable

from compose.operate.errors import UsageError
from compose.operate.host import Host
from compose.operate.identity import port_of
from compose.operate.parse import Parsed

USER_FOLDER = "/platform/swarm/usr"
CHANNEL = "/tmp/channel"  # noqa: S108 - HPE's, in the container
CHANNEL_WORDS = (
    f"--env=SL_REQUEST_CHANNEL={CHANNEL}/request.channel",
    f"--env=SL_RESPONSE_CHANNEL={CHANNEL}/response.channel",
)
API, P2P, FILES, LICENSE = 30304, 30303, 30305, 5814


def sn(given: Parsed, host: Host) -> list[str]:
    """Words for the SN's container."""
    if not given.get("host-ip") and not (
        given.get("sn-api-service") and given.get("sn-p2p-service")
    ):
        raise UsageError(
            "mandatory parameter --host-ip not specified: how others reach this host "
            "(or both --sn-api-service and --sn-p2p-service)"
        )
    joins = given.get("sentinel-ip") or given.get("sentinel-api-service")
    if not given.flag("sentinel") and not joins:
        raise UsageError(
            "either --sentinel or --sentinel-ip must be specified: --sentinel for the SN that "
            "starts first, --sentinel-ip HOST (or --sentinel-api-service) for all others"
        )
    words = _environment(given, {"host-ip": "THIS_NODE_IP"})
    if given.flag("sentinel"):
        words.append("--env=SN_I_AM_SENTINEL=true")
    words += _environment(
        given,
        {
            "sentinel-ip": "SENTINEL_NODE_IP",
            "sentinel-api-port": "SENTINEL_API_SERVER_PORT",
            "sentinel-api-service": "SENTINEL_API_SERVICE",
            "sn-api-port": "SN_API_SERVER_PORT",
            "sn-api-service": "SN_API_SERVICE",
            "sn-p2p-port": "SN_ETH_PORT_EXT",
            "sn-p2p-service": "SN_ETH_P2P_SERVICE",
        },
    )
    if given.get("sn-api-port"):
        port = port_of("sn-api-port", given.get("sn-api-port"))
        words.append(f"--publish={port}:{port}")
    words += _published(given, "", "sn-api-service", API)
    return words + _published(given, "sn-p2p-port", "sn-p2p-service", P2P)


def sl(given: Parsed, host: Host) -> list[str]:
    """Words for the SL's container."""
    if not given.get("host-ip") and not given.get("sl-fs-service"):
        raise UsageError(
            "mandatory parameter --host-ip not specified: how others reach this host "
            "(or --sl-fs-service)"
        )
    words = _environment(
        given,
        {"host-ip": "THIS_NODE_IP", "sl-fs-port": "SL_FS_PORT", "sl-fs-service": "SL_FS_SERVICE"},
    )
    words += _sn_address(given)
    if not given.get("sn-ip") and not given.get("sn-api-service"):
        words.append(f"--env=SN_NODE_IP={host.find_sn(given.get('sn-docker-name'))}")
    words += _published(given, "sl-fs-port", "sl-fs-service", FILES)
    if given.sidecars:
        words += [f"--volume={CHANNEL}", *CHANNEL_WORDS]
    return words


def swop(given: Parsed, host: Host) -> list[str]:
    """Words for the SWOP's container."""
    folder = _user_folder(given, host, is_mandatory=True)
    profile = given.get("profile-file-name")
    if not profile:
        raise UsageError("mandatory parameter --profile-file-name not specified")
    _check_inside("profile-file-name", profile, folder, host)
    uid = _number(given, "swop-uid")
    gid = host.gid
    if uid and (found := host.gid_of(uid)) is not None:
        gid = found
    group = _number(given, "docker-group-id")
    if not group and host.docker_gid is not None:
        group = str(host.docker_gid)
    words = [
        f"--volume={folder}:{USER_FOLDER}",
        *_socket(given, host),
        f"--env=SWOP_PROFILE={profile}",
        f"--env=SWOP_UID={uid or host.uid}",
        f"--env=SWOP_GID={gid}",
        f"--env=SWOP_DOCKER_GID={group}",
    ]
    return words + _sn_address(given)


def swci(given: Parsed, host: Host) -> list[str]:
    """Words for SWCI's container."""
    words = []
    folder = _user_folder(given, host, is_mandatory=False)
    script = given.get("init-script-name")
    if folder:
        words.append(f"--volume={folder}:{USER_FOLDER}")
    if script:
        if not folder:
            raise UsageError(f"--init-script-name {script}: name its folder, too: --usr-dir")
        _check_inside("init-script-name", script, folder, host)
        words.append(f"--env=SWCI_STARTUP_SCRIPT={script}")
    if given.given("rm") is None and ("rm", None) not in given.docker:
        words.append("--rm=true")
    return words


def license_server(given: Parsed, host: Host) -> list[str]:
    """Words for the license server's container."""
    data = given.get("data") or "swarm-license"
    if "/" in data or data.startswith("."):
        data = host.absolute(data)
        if not host.files.is_dir(data):
            raise UsageError(f"--data: bad directory {data}: make it first (mkdir -p {data})")
    words = [f"--volume={data}:/hpe"]
    if given.get("license-port"):
        words.append(f"--publish={port_of('license-port', given.get('license-port'))}:{LICENSE}")
    is_told = given.given("restart", "rm") is not None or ("rm", None) in given.docker
    is_watched = not given.flag("detach")  # whoever sees it fail does not want it to go on
    return words if is_told or is_watched else [*words, "--restart=unless-stopped"]


NODES: dict[str, Callable[[Parsed, Host], list[str]]] = {
    "sn": sn, "sl": sl, "swop": swop, "swci": swci, "license": license_server,
}  # fmt: skip
"""By component."""


def _environment(given: Parsed, names: dict[str, str]) -> list[str]:
    words = []
    for option, variable in names.items():
        value = given.get(option)
        if not value:
            continue
        if option.endswith("-port"):
            port_of(option, value)
        words.append(f"--env={variable}={value}")
    return words


def _sn_address(given: Parsed) -> list[str]:
    return _environment(
        given,
        {
            "sn-ip": "SN_NODE_IP",
            "sn-api-port": "SN_API_SERVER_PORT",
            "sn-api-service": "SN_API_SERVICE",
        },
    )


def _published(given: Parsed, port: str, service: str, inside: int) -> list[str]:
    words = []
    if port and given.get(port):
        words.append(f"--publish={port_of(port, given.get(port))}:{inside}")
    if given.get(service):
        _, colon, number = given.get(service).rpartition(":")
        outside = port_of(service, number) if colon and "]" not in number else inside
        words.append(f"--publish={outside}:{inside}")
    return words


def _number(given: Parsed, name: str) -> str:
    value = given.get(name)
    if value and not (value.isascii() and value.isdigit()):
        raise UsageError(f"--{name} {value}: give a number; `id` shows them")
    return value


def _user_folder(given: Parsed, host: Host, is_mandatory: bool) -> str:
    asked = given.get("usr-dir")
    if not asked:
        if is_mandatory:
            raise UsageError("mandatory parameter --usr-dir not specified: folder of the profile")
        return ""
    folder = host.absolute(asked)
    if not host.files.is_dir(folder):
        raise UsageError(f"--usr-dir: bad directory {folder}: there is no such folder")
    return folder


def _check_inside(option: str, name: str, folder: str, host: Host) -> None:
    if "/" in name:
        raise UsageError(f"--{option} {name}: only its name, it stands in {folder} itself")
    if not host.files.is_file(f"{folder}/{name}"):
        raise UsageError(f"--{option}: bad file {name}: there is none in {folder}")


def _socket(given: Parsed, host: Host) -> list[str]:
    asked = given.get("docker-socket-file")
    path = host.absolute(asked) if asked else host.engine_socket
    if host.files.is_socket(path):
        return [f"--volume={path}:/var/run/docker.sock"]
    if asked:
        raise UsageError(f"--docker-socket-file: bad file {path}: it is no socket")
    return []
