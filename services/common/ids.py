"""Names of things: nodes, contracts, digests. Plain strings with a type and a check."""

import re
from enum import StrEnum
from typing import Annotated, NewType

from pydantic import StringConstraints

NodeId = NewType("NodeId", str)
"""A node's UID: 32 lower-case hex digits (a UUID without dashes)."""

Digest = NewType("Digest", str)
"""A model file's digest: 64 lower-case hex digits, SHA-256 over the SHA-256 digests of its
4 MiB chunks (see ``swarmlearning.wire.digest``)."""

NO_DIGEST = Digest("0" * 64)
"""Stands for "no merged model yet": the base of every check-in to round 1."""

DEFAULT_CONTRACT = "defaultbb.cqdb.sml.hpe"
"""The training contract that exists from the start (HPE's name)."""

NodeIdField = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
DigestField = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

LONGEST_NAME = 160
"""Characters of a contract's name (HPE's limit)."""
_BAD = r"/\x00-\x1f\x7f-\x9f\u2028\u2029"
_NAME = f"[^.{_BAD}][^{_BAD}]?|[.][^.{_BAD}]|[^{_BAD}]{{3,}}"
"""All but ``.`` and ``..``: in a URL they are this folder and the one above."""

ContractNameField = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_NAME, pattern=f"^(?:{_NAME})$")
]

_CONTRACT = re.compile(_NAME)


class NodeKind(StrEnum):
    """What a node is; also the role that its certificate must carry."""

    SN = "SN"
    SL = "SL"
    SWOP = "SWOP"
    SWCI = "SWCI"
    LICENSE = "LIC"


def is_contract_name(name: str) -> bool:
    """Whether ``name`` can name a contract: 1 to 160 characters, no ``/``, no control characters.

    The length is HPE's limit; that ``/``, ``.`` and ``..`` are not allowed is our choice, because
    names appear in URLs.
    """
    return len(name) <= LONGEST_NAME and _CONTRACT.fullmatch(name) is not None
