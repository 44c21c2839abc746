"""Check identity, swarm and license server before a node starts; `swarm preflight` calls it.

python -m compose.preflight --role SL --key K --cert C --capath DIR --sn 10.0.0.1 --needs SL=2
"""

import argparse
import json
import sys
from pathlib import Path

from compose.operate.preflight_findings import FAIL, OK, Finding, exit_code, table
from compose.preflight import identity as identities
from compose.preflight import judge
from compose.preflight.knock import knock, tcp
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.settings import NodeSettings, service_address
from services.common.tls import Identity

API, FILES, P2P, LICENSE = 30304, 30305, 30303, 5814


def main(argv: list[str]) -> int:
    """Run the checks; 0 when all is well, 1 when something fails, 2 for bad arguments."""
    options = _parser().parse_args(argv)
    try:
        findings = check(options)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    if options.json:
        print(json.dumps([each.as_json() for each in findings]))
    else:
        print(table(findings))
    return exit_code(findings)


def check(options: argparse.Namespace) -> list[Finding]:
    """All findings.

    Raises:
        ConfigError: an address is none.
    """
    settings = NodeSettings.model_construct(
        swarm_id_key=options.key, swarm_id_cert=options.cert, swarm_id_cacert=options.cacert,
        swarm_id_capath=options.capath,
    )  # fmt: skip
    places = [(what, service_address(text, port)) for what, text, port in _places(options)]
    licence = [service_address(text, LICENSE) for text in options.license]
    identity, findings = identities.check(settings, options.role)
    if identity is not None:
        trusted = _names(identity)
        for what, (host, port) in places:
            role = NodeKind.SL if what == "SL file server" else NodeKind.SN
            findings += _node(what, host, port, identity, role, trusted)
        for host, port in licence:
            findings += _license(host, port, identity, trusted, dict(options.needs))
    for host, port in (service_address(text, P2P) for text in options.p2p):
        findings.append(_p2p(host, port))
    return findings


def _places(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    return [
        *(("sentinel", text, API) for text in options.sentinel),
        *(("SN", text, API) for text in options.sn),
        *(("SL file server", text, FILES) for text in options.sl),
    ]


def _names(identity: Identity) -> str:
    found = {identities.shown_name(ca.subject) for ca in identities.authorities(identity)}
    return ", ".join(sorted(found))


def _node(
    what: str, host: str, port: int, identity: Identity, role: NodeKind, trusted: str
) -> list[Finding]:
    where = f"{host}:{port}"
    is_sn = role is NodeKind.SN
    seen = knock(host, port, identity, "/is_up" if is_sn else "")
    findings = judge.address(what, where, seen, role, trusted)
    if is_sn:
        findings += [*judge.up(what, where, seen), *judge.clock(f"{what} {where}", seen)]
    return findings


def _license(
    host: str, port: int, identity: Identity, trusted: str, needs: dict[NodeKind, int]
) -> list[Finding]:
    where = f"{host}:{port}"
    seen = knock(host, port, identity, "/api/v1/features")
    return [
        *judge.address("license server", where, seen, NodeKind.LICENSE, trusted),
        *judge.licences(where, seen, needs),
        *judge.clock(f"license server {where}", seen),
    ]


def _p2p(host: str, port: int) -> Finding:
    subject = f"SN peer to peer {host}:{port}"
    problem = tcp(host, port)
    if problem:
        return Finding(FAIL, subject, f"no connection: {problem}",
                       "publish that SN's port 30303 and open the firewall for it")  # fmt: skip
    return Finding(OK, subject, "accepts connections")


def _need(text: str) -> tuple[NodeKind, int]:
    kind, _, count = text.partition("=")
    return NodeKind(kind.upper()), int(count or 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compose.preflight", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--role", type=lambda text: NodeKind(text.upper()), required=True, help="SN, SL, ...")
    add("--key", type=Path, help="private key (PEM)")
    add("--cert", type=Path, help="certificate (PEM)")
    add("--cacert", type=Path, help="file of trusted CAs (PEM)")
    add("--capath", type=Path, help="folder of trusted CAs (*.pem)")
    for name, what in (
        ("sentinel", "the SN to join"), ("sn", "an SN's API"), ("sl", "an SL's file server"),
        ("p2p", "an SN's peer-to-peer port"), ("license", "the license server"),
    ):  # fmt: skip
        add(f"--{name}", action="append", default=[], metavar="HOST[:PORT]", help=what)
    add("--needs", action="append", default=[], type=_need, metavar="KIND=N", help="nodes to start")
    add("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
