"""Whether a node can start with its identity files."""

import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from compose.certs_check import handshake_problems
from compose.operate.preflight_findings import FAIL, OK, WARN, Finding
from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import Identity, expiry_notice, load_identity

MAKE = "swarm gen-cert (python -m compose.certs) makes new ones"


def check(settings: NodeSettings, role: NodeKind) -> tuple[Identity | None, list[Finding]]:
    """Judge the files; the identity is None where they cannot be used.

    Args:
        settings: name them.
        role: of the node that is to start with them.
    """
    try:
        identity = load_identity(settings, role)
    except ConfigError as exc:
        return None, [
            Finding(FAIL, "identity", str(exc), f"correct the option or the file; {MAKE}")
        ]
    peer = identity.certificate
    findings = [
        Finding(OK, "identity", f"{peer.common_name}, role {peer.role}, until "
                f"{peer.not_after:%Y-%m-%d %H:%M} UTC")
    ]  # fmt: skip
    for problem in handshake_problems(identity):
        findings.append(Finding(FAIL, "own CA", f"{identity.cert}: {problem}",
            "put the certificate of the CA that signed it into --capath"))  # fmt: skip
    if notice := expiry_notice(identity):
        findings.append(Finding(WARN, "identity ends", notice, MAKE))
    if settings.swarm_id_key is not None:  # SPIFFE has no file
        findings.append(_mode(settings.swarm_id_key))
    findings.extend(_authorities(identity))
    return identity, findings


def authorities(identity: Identity) -> list[x509.Certificate]:
    """The CAs that it trusts."""
    return list(identity.material.trusted)


def shown_name(name: x509.Name) -> str:
    """A CA's or node's common name, else the whole name."""
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else name.rfc4514_string()


def _mode(key: Path) -> Finding:
    mode = key.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding(WARN, "key", f"{key}: mode {mode:o} lets others read it", f"chmod 600 {key}")
    readable = os.access(key, os.R_OK)
    return Finding(OK, "key", f"{key}: mode {mode:o}" + ("" if readable else ", read as root"))


def _authorities(identity: Identity) -> list[Finding]:
    now, findings, names = datetime.now(UTC), [], []
    for ca in authorities(identity):
        name = shown_name(ca.subject)
        names.append(name)
        if not ca.not_valid_before_utc <= now <= ca.not_valid_after_utc:
            findings.append(Finding(FAIL, "CA", f"{name} is valid from "
                f"{ca.not_valid_before_utc:%Y-%m-%d} to {ca.not_valid_after_utc:%Y-%m-%d}",
                "ask who owns that CA for its new certificate, or correct this clock"))  # fmt: skip
    alone = "; one CA is right only where one organisation made all certificates"
    text = f"trusts {', '.join(sorted(names))}{alone if len(names) == 1 else ''}"
    return [*findings, Finding(OK, "CAs", text)]
