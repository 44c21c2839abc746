"""Certificates for every node of a swarm, in the layout of HPE's gen-cert.

    python -m compose.certs OUT_DIR                    one host, all node kinds
    python -m compose.certs OUT_DIR --hosts 2          two hosts, each with its own CA
    python -m compose.certs OUT_DIR --index 2          only host 2 (run it on that host)
    python -m compose.certs --check DIR                what is wrong with certificates you have

A CA that is already in OUT_DIR signs the new certificates, so that one kind can be added later
and ``--force`` renews the nodes' certificates without the other hosts having to trust a new CA.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from compose.authority import BACKDATED, Authority, Issued, general_name
from compose.certs_check import check_folder
from services.common.errors import ConfigError
from services.common.ids import NodeKind

NODES = tuple(kind.lower() for kind in NodeKind)
"""Node kinds, as they appear in file names."""

CA_DAYS = 3650
"""A CA lives at least this long, so that renewing nodes never means renewing trust."""


def make_certificates(
    folder: Path,
    *,
    hosts: Iterable[int] = (1,),
    nodes: Sequence[str] = NODES,
    days: int = 365,
    use_rsa: bool = False,
    force: bool = False,
    names: Sequence[str] = (),
) -> list[Path]:
    """Make the certificates of some hosts; return the files written.

    Args:
        folder: gets ``{kind}-{host}-{key,cert}.pem``, ``ca/ca-{host}-key.pem`` and
            ``ca/capath/ca-{host}-cert.pem``. Give each host only its own keys, and all of
            ``ca/capath``.
        hosts: host indices; each gets a CA of its own.
        nodes: which node kinds, of :data:`NODES`.
        days: how long the nodes' certificates are valid.
        use_rsa: RSA 2048 instead of EC P-256.
        force: replace nodes' certificates that exist.
        names: names and addresses of the host, to stand in the nodes' certificates, too.

    Raises:
        ConfigError: a node kind or number is wrong, a file exists already (nothing is written
            then), or the CA in ``folder`` cannot be used.
    """
    hosts = list(hosts)
    _check_arguments(hosts, nodes, days)
    for name in names:
        general_name(name)
    targets = [_pair(folder, node, host) for host in hosts for node in nodes]
    present = [path for pair in targets for path in pair if path.exists()]
    if present and not force:
        raise ConfigError(
            f"{present[0]} exists already ({len(present)} files in all): choose another folder, or "
            "--force to replace the nodes' certificates"
        )
    now = datetime.now(UTC)
    try:
        (folder / "ca" / "capath").mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for host in hosts:
            authority, made = _authority(folder, host, now, days, use_rsa, force)
            written.extend(made)
            for node in nodes:
                pair = _pair(folder, node, host)
                _issue(authority, f"{node.upper()}-{host}", now, days, names).write(*pair)
                written.extend(pair)
    except OSError as exc:
        raise ConfigError(f"cannot write certificates to {folder}: {exc}") from exc
    return written


def _check_arguments(hosts: list[int], nodes: Sequence[str], days: int) -> None:
    unknown = [node for node in nodes if node not in NODES]
    if unknown or not nodes:
        raise ConfigError(f"unknown node kind {unknown}: choose of {', '.join(NODES)}")
    if not hosts or min(hosts) < 1:
        raise ConfigError("hosts are numbered from 1")
    if not 1 <= days <= 36_500:
        raise ConfigError("days must be from 1 to 36500")


def _pair(folder: Path, node: str, host: int) -> tuple[Path, Path]:
    return folder / f"{node}-{host}-key.pem", folder / f"{node}-{host}-cert.pem"


def _authority(
    folder: Path, host: int, now: datetime, days: int, use_rsa: bool, force: bool
) -> tuple[Authority, list[Path]]:
    """The CA of a host: the one that is there while it is valid, else a new one."""
    key = folder / "ca" / f"ca-{host}-key.pem"
    cert = folder / "ca" / "capath" / f"ca-{host}-cert.pem"
    if key.exists():
        authority = Authority.load(key, cert)
        if authority.issued.certificate.not_valid_after_utc > now:
            return authority, []
        if not force:
            raise ConfigError(f"{cert} has expired: --force makes a new CA, to be trusted anew")
    elif cert.exists():
        raise ConfigError(f"{cert} is there but not its key {key}: only who has it can sign")
    end = now + timedelta(days=max(days, CA_DAYS))
    authority = Authority.make(f"CA-{host}", now - BACKDATED, end, use_rsa)
    authority.issued.write(key, cert)
    return authority, [key, cert]


def _issue(
    authority: Authority, name: str, now: datetime, days: int, hosts: Sequence[str]
) -> Issued:
    end = min(now + timedelta(days=days), authority.issued.certificate.not_valid_after_utc)
    return authority.issue(name, now - BACKDATED, end, hosts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (0, or 2 for bad arguments or bad certificates)."""
    options = _parser().parse_args(arguments)
    try:
        if options.check is not None:
            return _check(options.check)
        written = make_certificates(
            options.out,
            hosts=range(1, options.hosts + 1) if options.index is None else [options.index],
            nodes=options.nodes.lower().split(","), days=options.days,
            use_rsa=options.rsa, force=options.force, names=options.host,
        )  # fmt: skip
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    for path in written:
        print(path)
    return 0


def _check(folder: Path) -> int:
    findings = check_folder(folder, datetime.now(UTC))
    for finding in findings:
        print(finding)
    return 0 if all(finding.usable for finding in findings) else ConfigError.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compose.certs", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("out", nargs="?", type=Path, metavar="OUT_DIR", help="folder to write to")
    what.add_argument("--check", type=Path, metavar="DIR", help="judge the certificates in DIR")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--hosts", type=int, default=1, help="for hosts 1 to this (default 1)")
    which.add_argument("--index", type=int, help="for this host index only")
    parser.add_argument("--nodes", default=",".join(NODES), help=f"default {','.join(NODES)}")
    parser.add_argument("--days", type=int, default=365, help="validity (default 365)")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="a name or address of the host, to stand in the nodes' certificates, too",
    )  # fmt: skip
    parser.add_argument("--rsa", action="store_true", help="RSA 2048 keys instead of EC P-256")
    parser.add_argument("--force", action="store_true", help="replace nodes' certificates")
    return parser


if __name__ == "__main__":
    sys.exit(main())
