"""What the containers of ``compose.swop.yaml`` find on the host: made before they start.

    python -m compose.flow_docker FLOW_FOLDER RUN_FOLDER --wheel FOLDER

``RUN_FOLDER`` has the same path in this container as on the host, because SWOP's binds are paths of
the host. It may be prepared again: certificates that are there stay, the flow's files are written
over in place.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compose import certs, flow_folder
from compose.plan import Layout
from compose.wheel import make_wheel
from services.common.errors import ConfigError
from services.common.ids import NodeKind

LEFT_OUT = "~"
"""YAML's null: an SL without published port is reached in the network by its container's name."""
USR_DIR = "/platform/swarm/usr"
SNS = 3


def values(run: Path, network: str, sn: str, license_server: str) -> dict[str, str]:
    """What the placeholders of a flow stand for in one network of containers.

    Args:
        run: path of the run folder on the host.
        network: its name.
        sn: host name of the SN.
        license_server: host name of the license server.
    """
    project = str(run / "project")
    found = {
        "PROJECT": project, "PROJECT-MODEL": f"{project}/model",
        "PROJECT-CERTS": str(run / "identity" / "sl"),
        "PROJECT-CACERTS": str(run / "certs" / "ca" / "capath"),
        "SN-IP": sn, "SN-API-PORT": "30304", "SWARM_USER_DIRECTORY": USR_DIR,
        "LICENSE-SERVER-ADDRESS": license_server, "APLS-IP": license_server,
        "LICENSE-SERVER-PORT": "5814", "HOST_ADDRESS": LEFT_OUT, "HOST-IP": LEFT_OUT,
    }  # fmt: skip
    found |= dict.fromkeys(("SWARM-NETWORK", "NETWORK-NAME", "NETWORK"), network)
    found |= {f"SL-{index}-PORT": LEFT_OUT for index in range(1, 100)}
    return {f"<{name}>": value for name, value in found.items()}


def prepare(source: Path, run: Path, known: dict[str, str]) -> list[str]:
    """Make or renew what is in the run folder.

    Args:
        source: the flow's folder.
        run: the run folder.
        known: values of placeholders.

    Returns:
        Names of the nodes that have certificates.

    Raises:
        ConfigError: the flow is none, or the folder cannot be written.
    """
    if not run.is_absolute():
        raise ConfigError(f"SWARM_RUN_DIR={run}: must be an absolute path of the host")
    flow = flow_folder.read(source)
    wanted = {
        NodeKind.LICENSE: 1, NodeKind.SWCI: 1, NodeKind.SN: SNS, NodeKind.SL: flow.pairs,
        NodeKind.SWOP: len(flow.profiles),
    }  # fmt: skip
    nodes = []
    try:
        run.mkdir(parents=True, exist_ok=True)
        for kind, count in wanted.items():
            for index in range(1, count + 1):
                nodes.append(_identity(run, kind, index))
        with tempfile.TemporaryDirectory(prefix=".new-", dir=run) as new:
            staged = Path(new)
            flow_folder.copy(flow, Layout(staged, staged, run / "certs"), known)
            shutil.copytree(staged, run, copy_function=_put, dirs_exist_ok=True)
        run.chmod(0o755)  # copytree gave it the temporary folder's mode
    except (OSError, shutil.Error) as exc:
        raise ConfigError(f"cannot write {run}: {exc}") from exc
    return nodes


def _put(source: str, target: str) -> None:
    """Copy a file; a link that a program left in its place is not written through."""
    Path(target).unlink(missing_ok=True)
    shutil.copy2(source, target)


def _identity(run: Path, kind: NodeKind, index: int) -> str:
    """Make a node's key and certificate, and copy them to where its container sees no others'."""
    name = f"{kind.lower()}-{index}"
    if not (run / "certs" / f"{name}-cert.pem").exists():
        certs.make_certificates(run / "certs", hosts=[index], nodes=[kind.lower()])
    # SWOPs mount those of SLs one by one
    own = run / "identity" / ("sl" if kind is NodeKind.SL else name)
    own.mkdir(parents=True, exist_ok=True)
    for part in ("key.pem", "cert.pem"):
        copy = f"{name}-{part}" if kind is NodeKind.SL else part
        shutil.copy2(run / "certs" / f"{name}-{part}", own / copy)
    return name


def give_to(folder: Path, uid: int, gid: int) -> None:
    """Make somebody the owner of all that lies in a folder; links are not followed.

    Raises:
        ConfigError: it is not allowed.
    """
    try:
        for _, _, files, here in os.fwalk(folder):
            for each in (".", *files):
                os.chown(each, uid, gid, dir_fd=here, follow_symlinks=False)
    except OSError as exc:
        raise ConfigError(f"cannot give {folder} to {uid}:{gid}: {exc}") from exc


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        known = values(given.run, given.network, given.sn, given.license)
        nodes = prepare(given.flow, given.run, known)
        if given.wheel is not None:
            make_wheel(given.wheel)
        if given.owner is not None:
            give_to(given.run, *given.owner)
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"{given.run} is ready: certificates of {', '.join(nodes)}; the flow's files filled in")
    return 0


def _owner(text: str) -> tuple[int, int]:
    uid, _, gid = text.partition(":")
    return int(uid), int(gid or uid)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compose.flow_docker", description=__doc__.split("\n")[0])
    parser.add_argument("flow", type=Path, help="folder with swci/ and swop/")
    parser.add_argument("run", type=Path, help="run folder, as the host calls it")
    parser.add_argument("--network", default="swarm-swop", help="default %(default)s")
    parser.add_argument("--sn", default="sn-1", help="host name of the SN, default %(default)s")
    parser.add_argument("--license", default="license", help="of the license server, %(default)s")
    parser.add_argument("--wheel", type=Path, help="folder that gets the client's wheel")
    parser.add_argument("--owner", type=_owner, help="UID:GID that all of it shall belong to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
