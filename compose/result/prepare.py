"""What the containers of ``compose.yaml`` find on the host: certificates, folders, SWCI's script.

    python -m compose.result.prepare RUN_FOLDER --pairs 4 [--owner UID:GID]

It may run again: certificates that are there stay, and so do results.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from compose import certs
from compose.flow_docker import give_to
from services.common.errors import ConfigError
from services.common.ids import NodeKind

SNS = 3
SWCIS = 2
"""The first is SWCI's, the second the ``result`` service's."""
SWCI_INIT = """\
# Run before the web mode starts. Each context goes on with another SN when its own one dies.
{contexts}
"""


def nodes(pairs: int) -> list[tuple[NodeKind, int]]:
    """Who gets a certificate: kind and number of each node."""
    counts = {
        NodeKind.LICENSE: 1, NodeKind.SN: SNS, NodeKind.SWCI: SWCIS, NodeKind.SL: pairs,
    }  # fmt: skip
    return [(kind, index) for kind, count in counts.items() for index in range(1, count + 1)]


def swci_init() -> str:
    """SWCI's init script: a context for each SN; the last one that works is the active one."""
    names = [f"sn-{index}" for index in range(SNS, 0, -1)]
    lines = [f"CREATE CONTEXT {name} WITH IP {name}\nSWITCH CONTEXT {name}" for name in names]
    return SWCI_INIT.format(contexts="\n".join(lines))


def prepare(run: Path, pairs: int) -> list[str]:
    """Make what is missing in the run folder.

    Args:
        run: the run folder.
        pairs: how many SL/ML pairs there are.

    Returns:
        Names of the nodes that have certificates.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        names = [_identity(run, kind, index) for kind, index in nodes(pairs)]
        for index in range(1, pairs + 1):
            (run / "results" / f"pair-{index}").mkdir(parents=True, exist_ok=True)
        (run / "swci").mkdir(exist_ok=True)
        (run / "swci" / "swci-init").write_text(swci_init())
    except OSError as exc:
        raise ConfigError(f"cannot write {run}: {exc}") from exc
    return names


def _identity(run: Path, kind: NodeKind, index: int) -> str:
    """Make a node's key and certificate, and copy them to where its container sees no others'."""
    name = f"{kind.lower()}-{index}"
    if not (run / "certs" / f"{name}-cert.pem").exists():
        certs.make_certificates(run / "certs", hosts=[index], nodes=[kind.lower()])
    own = run / "identity" / name
    own.mkdir(parents=True, exist_ok=True)
    for part in ("key.pem", "cert.pem"):
        shutil.copy2(run / "certs" / f"{name}-{part}", own / part)
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="compose.result.prepare", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--pairs", type=int, default=4, help="default %(default)s")
    parser.add_argument("--owner", help="UID:GID that all of it shall belong to")
    given = parser.parse_args(arguments)
    try:
        names = prepare(given.run, given.pairs)
        if given.owner:
            uid, _, gid = given.owner.partition(":")
            give_to(given.run, int(uid), int(gid or uid))
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"the run folder is ready: certificates of {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
