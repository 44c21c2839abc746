"""``swarm gen-cert``: a host's certificates, in the layout of HPE's gen-cert.

``compose.certs`` in the tools image makes them, as the user who asked, so that their files are his.
"""

from __future__ import annotations

import argparse
import os

from compose.operate.engine import Engine
from compose.operate.errors import OperateError, UsageError
from compose.operate.explain import missing_image
from compose.operate.host import Host

NODES = ("sn", "sl", "swop", "swci", "lic")
CERTS = os.path.join("workspace", "{example}", "cert")


def main(argv: list[str]) -> int:
    """Run the command."""
    options = _parser().parse_args(argv)
    folder, nodes = prepare(options)
    if not nodes:
        print(f"all certificates of host {options.index} are in {folder}")
        return 0
    host = Host(os.getcwd(), os.getuid(), os.getgid(), images=os.environ.get("SWARM_IMAGES", ""),
                tag=os.environ.get("SWARM_TAG", ""))  # fmt: skip
    image = options.image or host.image("tools")
    words = run_words(options, folder, nodes, host, image)
    engine = Engine(options.sudo)
    if engine.is_podman and host.uid:
        words.insert(1, "--userns=keep-id")
    if not engine.has_image(image):
        engine.run("version", "--format={{.Server.Version}}")
        raise OperateError(missing_image(image))
    os.makedirs(folder, exist_ok=True)
    print(engine.run(*words))
    print(f"To the other hosts goes {folder}/ca/capath/ca-{options.index}-cert.pem, into their "
          "ca/capath; theirs come here. Keys stay.")  # fmt: skip
    return 0


def run_words(
    options: argparse.Namespace, folder: str, nodes: list[str], host: Host, image: str
) -> list[str]:
    """The command that makes them; pure."""
    words = ["run", "--rm", "--network=none", "--cap-drop=ALL", f"--user={host.uid}:{host.gid}"]
    if not host.uid:
        words.append("--cap-add=DAC_OVERRIDE")  # root with sudo, in somebody's folder
    words += [f"--volume={folder}:{folder}", "--pull=never", image, "compose.certs", folder]
    words += [f"--index={options.index}", f"--days={options.days}", f"--nodes={','.join(nodes)}"]
    words += [f"--host={name}" for name in options.host]
    return [*words, *(["--rsa"] if options.rsa else []), *(["--force"] if options.force else [])]


def prepare(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The folder, and for which nodes certificates are to be made.

    Raises:
        UsageError: nothing says what to do with certificates that exist.
    """
    where = options.out or CERTS.format(example=options.example)
    folder = os.path.abspath(where)
    if ":" in folder:
        raise UsageError(f"{folder}: Docker mounts no path with a colon in it")
    nodes = [name.strip().lower() for name in options.nodes.split(",") if name.strip()]
    pairs = {
        node: [_path(folder, node, options.index, kind) for kind in ("key", "cert")]
        for node in nodes
    }
    complete = [node for node, files in pairs.items() if all(map(os.path.exists, files))]
    half = [
        node
        for node, files in pairs.items()
        if any(map(os.path.exists, files)) and node not in complete
    ]
    if options.keep and half:
        raise UsageError(
            f"of {half[0]}-{options.index} only one of key and certificate is in {folder}: bring "
            "the other one back, or remove this one"
        )
    if options.keep:
        return folder, [node for node in nodes if node not in complete]
    if (complete or half) and not options.force:
        raise UsageError(
            f"certificates of host {options.index} are in {folder} already. --keep makes only "
            "those that are missing; --force replaces them (the CA stays, so that others need not "
            "trust anew)"
        )
    return folder, nodes


def _path(folder: str, node: str, index: int, kind: str) -> str:
    return os.path.join(folder, f"{node}-{index}-{kind}.pem")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarm gen-cert", description="Make a CA of this host and certificates of its nodes, "
        "in workspace/EXAMPLE/cert below the folder you are in. A CA that is there is used.",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-e", "--example", metavar="EXAMPLE", help="folder below workspace/")
    where.add_argument("--out", metavar="DIR", help="this folder instead; ours")
    parser.add_argument(
        "-i", "--index", type=int, required=True, help="number of this host, from 1"
    )
    parser.add_argument("--days", type=int, default=365, help="validity (default 365); ours")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="a name or address of this host, to stand in the certificates, too; ours",
    )  # fmt: skip
    parser.add_argument("--nodes", default=",".join(NODES), help=f"default {','.join(NODES)}; ours")
    parser.add_argument(
        "--rsa", action="store_true", help="RSA 2048 keys instead of EC P-256; ours"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="make only what is missing; ours")
    what.add_argument("--force", action="store_true", help="replace certificates of nodes; ours")
    parser.add_argument("--image", help="the tools image; ours")
    parser.add_argument("--sudo", action="store_true", help="run Docker with sudo")
    return parser
