"""What is said of an address that was asked; pure."""

from collections.abc import Mapping

from compose.operate.preflight_findings import FAIL, OK, WARN, Finding
from compose.preflight.seen import Seen, detail, features
from services.common.ids import NodeKind
from services.common.license_api import Feature

CLOCK_WARN, CLOCK_FAIL = 2.0, 60.0
"""Seconds that two clocks may differ."""
_HTTP_OK, _NOT_SIGNED_IN, _FORBIDDEN, _BUSY = 200, 401, 403, 503


def address(what: str, where: str, seen: Seen, role: NodeKind, trusted: str) -> list[Finding]:
    """Both sides accept each other, and it is what it is taken for.

    Args:
        what: e.g. ``sentinel``.
        where: ``host:port``.
        seen: what was seen of it.
        role: that its certificate must have.
        trusted: names of our CAs.
    """
    subject = f"{what} {where}"
    if not seen.connected:
        return [Finding(FAIL, subject, seen.error, _unreachable(seen))]
    findings = []
    holder = _holder(seen)
    if seen.distrust:
        findings.append(Finding(FAIL, subject,
            f"we do not trust its certificate ({holder}): {seen.distrust}; we trust {trusted}",
            _distrust(seen)))  # fmt: skip
    if seen.refusal:
        findings.append(Finding(FAIL, subject, "it does not accept our certificate: "
            f"{seen.refusal}",
            "give its owner our CA's certificate (ca/capath/ca-N-cert.pem) for their --capath, and "
            "check that ours has not expired by their clock"))  # fmt: skip
    if seen.error:
        findings.append(Finding(FAIL, subject, seen.error, "check the port: is it a node's API?"))
    findings += _refused(subject, seen)
    if seen.certificate is not None and seen.certificate.role is not role:
        findings.append(Finding(FAIL, subject, f"its certificate ({holder}) has role "
            f"{seen.certificate.role or 'none'}, not {role}",
            "check address and port: another node answers there"))  # fmt: skip
    return findings or [Finding(OK, subject, f"{holder}; both sides accept each other")]


def _refused(subject: str, seen: Seen) -> list[Finding]:
    """What a server without need of a certificate (the license server) has against ours.

    It says so by HTTP, after a handshake that went well.
    """
    told = detail(seen.body)
    if seen.status == _NOT_SIGNED_IN:
        return [Finding(FAIL, subject, f"it saw no certificate of ours (HTTP 401: {told})",
            "a proxy between here and there ends TLS: let it pass TLS on as it is")]  # fmt: skip
    if seen.status == _FORBIDDEN:
        return [Finding(FAIL, subject, f"it refuses our certificate (HTTP 403: {told})",
            "use a certificate whose CN begins with its role, like SL-, or whose OU is it "
            "(swarm gen-cert)")]  # fmt: skip
    return []


def up(what: str, where: str, seen: Seen) -> list[Finding]:
    """An SN says that it is up."""
    if seen.status in (0, _NOT_SIGNED_IN, _FORBIDDEN):  # 0: no answer; all told by address()
        return []
    if seen.status == _HTTP_OK and seen.body == "OK":
        return []
    return [Finding(FAIL, f"{what} {where}", f"GET /is_up answers {seen.status}: "
                    f"{seen.body[:80]!r}", "wait until it is ready, see its log")]  # fmt: skip


def clock(what: str, seen: Seen) -> list[Finding]:
    """Its clock and ours agree."""
    if seen.ahead is None:
        return []
    off = max(0.0, abs(seen.ahead) - seen.sure)
    side = "behind" if seen.ahead > 0 else "ahead of"
    subject = f"clock, {what}"
    if off <= CLOCK_WARN:
        return [Finding(OK, subject, f"agrees within {abs(seen.ahead) + seen.sure:.1f} s")]
    return [Finding(FAIL if off > CLOCK_FAIL else WARN, subject,
                    f"this clock is {abs(seen.ahead):.0f} s {side} its clock",
                    "set both hosts' clocks by NTP (chrony)")]  # fmt: skip


def licences(where: str, seen: Seen, needs: Mapping[NodeKind, int]) -> list[Finding]:
    """There are units of the licence for the nodes that are to start.

    Args:
        where: the license server.
        seen: its answer to ``/api/v1/features``.
        needs: how many nodes of each kind.
    """
    if seen.status in (0, _NOT_SIGNED_IN, _FORBIDDEN):  # 0: no answer; all told by address()
        return []
    told = features(seen.body) if seen.status == _HTTP_OK else None
    subject = f"licence, {where}"
    if seen.status == _BUSY:
        return [Finding(FAIL, subject, f"it cannot answer now (HTTP 503: {detail(seen.body)})",
                        "look at the license server's log and disk, then try again")]  # fmt: skip
    if told is None:
        text = f"answers {seen.status} and not its features: {seen.body[:80]!r}"
        return [Finding(FAIL, subject, text, "check address and port: is it the license server?")]
    by_id = {str(each.get("feature")): each for each in told}
    findings = []
    for kind, wanted in needs.items():
        feature = Feature[kind.name] if kind.name in Feature.__members__ else None
        if feature is not None and wanted:
            findings.append(_units(subject, kind, wanted, by_id.get(feature.value)))
    return findings


def _units(
    subject: str, kind: NodeKind, wanted: int, feature: Mapping[str, object] | None
) -> Finding:
    install = "install a licence for it on the license server"
    if feature is None:
        return Finding(FAIL, subject, f"no licence for {kind} (error 6002)", install)
    free = feature.get("free")
    count = free if isinstance(free, int) else 0
    if not feature.get("usable", True):
        return Finding(FAIL, subject, f"the licence for {kind} has ended or not begun", install)
    if count < wanted:
        return Finding(FAIL, subject, f"{count} of {feature.get('capacity')} units for {kind} are "
            f"free, {wanted} needed", "stop nodes that hold some (the license server's page "
            f"lists them), or {install}")  # fmt: skip
    return Finding(OK, subject, f"{count} of {feature.get('capacity')} units for {kind} are free")


def _holder(seen: Seen) -> str:
    if seen.certificate is None:
        return "none shown"
    found = seen.certificate
    return f"{found.common_name} by {seen.issuer}, until {found.not_after:%Y-%m-%d}"


def _unreachable(seen: Seen) -> str:
    if not seen.addresses:
        return "correct the name, or add it to DNS or /etc/hosts"
    return "start it, publish its port, open the firewall; from there, try the same address"


def _distrust(seen: Seen) -> str:
    if "expired" in seen.distrust or "not yet valid" in seen.distrust:
        return "its owner must renew it (swarm gen-cert); check both clocks"
    return f"put the certificate of {seen.issuer or 'its CA'} into our --capath (CA exchange)"
