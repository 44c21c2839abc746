"""Whether a block of the embedded engine is final: a quorum of the signers voted for it."""

from collections.abc import Sequence
from typing import Any

from eth_utils.exceptions import ValidationError

from services.sn.adapters.audit_headers import Header
from services.sn.adapters.evm_votes import Vote, certifies
from services.sn.adapters.json_params import number, unhex
from services.sn.core.agreement import Accepted
from services.sn.core.verdict import Violation


def check_certificate(
    header: Header, certificate: object, genesis: bytes, signers: Sequence[str], sentinel: bytes
) -> None:
    """Check the votes that an SN shows for a block.

    Args:
        header: of the block, not the first one.
        certificate: as ``swarm_getCertificate`` answers.
        genesis: hash of block 0.
        signers: accounts that might vote on the block.
        sentinel: signer of block 0.

    Raises:
        Violation: they do not make the block final.
    """
    if not isinstance(certificate, dict):
        raise Violation(header.number, "no votes are shown that make it final")
    who = sorted(bytes.fromhex(signer[2:]) for signer in signers)
    try:
        votes = _votes(header, certificate)
        final = certifies(votes, header.number, header.hash, genesis, who, sentinel)
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise Violation(header.number, f"the votes shown for it are none: {exc}") from exc
    if not final:
        raise Violation(
            header.number, "the votes shown do not make it final", f"{len(votes)} votes",
            f"a quorum of {', '.join(signers)}",
        )  # fmt: skip


def _votes(header: Header, certificate: dict[str, Any]) -> list[Vote]:
    accepted = Accepted(number(certificate["ballot"]), header.hash)
    return [
        Vote(header.number, accepted, unhex(each["signature"])) for each in certificate["votes"]
    ]
