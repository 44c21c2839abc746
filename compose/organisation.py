"""One organisation's folder in a swarm of several: its certificates, its CA, whom it trusts.

    python -m compose.organisation FOLDER --index 2            make what is missing, tell all
    python -m compose.organisation FOLDER --index 2 --renew    new certificates, under the same CA

    FOLDER/certs/              gen-cert's layout; ca/ca-N-key.pem never leaves it
    FOLDER/certs/ca/capath/    CA certificates: ours, and those that the others sent
    FOLDER/identity/NODE/      key.pem and cert.pem of one node, for its container alone
    FOLDER/results/ml-N/       what an ML program leaves
    FOLDER/swci/               SWCI's user folder

Each organisation has a number of its own, which is in the names of its files and certificates.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from compose.certs import make_certificates
from compose.certs_check import check_folder
from compose.flow_docker import give_to
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.whole_file import write_whole

KINDS = {"sn-1": NodeKind.SN, "swci": NodeKind.SWCI, "license": NodeKind.LICENSE}
"""Nodes of an organisation besides its SLs, and what each is."""


def prepare(folder: Path, index: int, pairs: int, *, renew: bool = False) -> list[str]:
    """Make what an organisation's folder lacks.

    Args:
        folder: of the organisation.
        index: its number.
        pairs: how many SLs it has; they share a certificate.
        renew: make new certificates for the nodes, under the same CA.

    Returns:
        Lines for its administrator: the trusted CAs, what to send to the others, what is wrong.

    Raises:
        ConfigError: the folder cannot be written, or something in it cannot be used.
    """
    certs = folder / "certs"
    nodes = KINDS | {f"sl-{number}": NodeKind.SL for number in range(1, pairs + 1)}
    for kind in sorted({kind.lower() for kind in nodes.values()}):
        if renew or not (certs / f"{kind}-{index}-cert.pem").exists():
            make_certificates(certs, hosts=[index], nodes=[kind], force=renew)
    try:
        for node, kind in nodes.items():
            _lay(certs, f"{kind.lower()}-{index}", folder / "identity" / node)
        for number in range(1, pairs + 1):
            (folder / "results" / f"ml-{number}").mkdir(parents=True, exist_ok=True)
        (folder / "swci").mkdir(exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"cannot write {folder}: {exc}") from exc
    return [*_trust(certs / "ca" / "capath", index), *_troubles(certs)]


def _lay(certs: Path, name: str, own: Path) -> None:
    """Give a node its key and certificate; whole files, which a running node may be reading."""
    own.mkdir(parents=True, exist_ok=True)
    for part in ("key.pem", "cert.pem"):
        content, target = (certs / f"{name}-{part}").read_bytes(), own / part
        if not target.exists() or target.read_bytes() != content:
            write_whole(target, content, 0o600 if part == "key.pem" else 0o644)


def _trust(capath: Path, index: int) -> list[str]:
    """What a folder of CAs says, with fingerprints to compare by telephone."""
    own = f"ca-{index}-cert.pem"
    lines = []
    for path in sorted(capath.glob("*.pem")):
        whose = "ours: send this file to the others" if path.name == own else "another's"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (ValueError, OSError) as exc:
            raise ConfigError(f"{path} is no certificate (PEM): {exc}") from exc
        lines.append(f"trusts {path.name} ({whose}), SHA-256 {_spelled(certificate)}")
    if len(lines) == 1:
        lines.append(
            "trusts nobody else yet: put the CA certificate of each other organisation beside "
            f"{own}, in certs/ca/capath, before you start"
        )
    return lines


def _spelled(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex(":").upper()


def _troubles(certs: Path) -> list[str]:
    findings = check_folder(certs, datetime.now(UTC))
    if unusable := [finding for finding in findings if not finding.usable]:
        raise ConfigError("\n".join(map(str, unusable)))
    return [str(finding) for finding in findings if finding.warnings]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        lines = prepare(given.folder, given.index, given.pairs, renew=given.renew)
        give_to(given.folder, *(given.owner or _owner_of(given.folder)))
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print("\n".join(lines))
    return 0


def _owner(text: str) -> tuple[int, int]:
    uid, _, gid = text.partition(":")
    return int(uid), int(gid or uid)


def _owner_of(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_uid, found.st_gid


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compose.organisation", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, help="the organisation's folder")
    parser.add_argument("--index", type=int, required=True, help="its number, from 1")
    parser.add_argument("--pairs", type=int, default=2, help="SL+ML pairs (default %(default)s)")
    parser.add_argument("--renew", action="store_true", help="new certificates for its nodes")
    parser.add_argument("--owner", type=_owner, help="UID:GID of all in it; default: the folder's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
