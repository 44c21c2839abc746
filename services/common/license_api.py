"""Schemas of the license server's API (5814), and the features that Swarm Learning knows.

Clients get durations, never times to compare with their own clock; times in reports are Unix
seconds of the license server.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.ids import NodeIdField

SECONDS_OF_LEASE = 1800
"""HPE's lease length (``compat/06`` section 4)."""

_Word = Annotated[str, Field(max_length=160, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Seconds = Annotated[float, Field(ge=0.1, le=1e7, allow_inf_nan=False)]
FeatureId = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,40}$")]


class Feature(StrEnum):
    """Feature ids, HPE's (``compat/06`` section 3)."""

    SL = "1100000378"
    SN = "1100000380"
    SWCI = "1100000388"
    SWOP = "1100000390"
    MULTI_CONTRACT = "1100000394"
    MULTI_TASKRUNNER = "1100000396"


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Client(_Schema):
    """Who asks for a lease, as it describes itself; its certificate is what counts."""

    uid: NodeIdField
    host: _Word = ""
    container: _Word = ""
    component: _Word = ""
    """``SL``, ``SN``, ..., for reports."""
    product_version: _Word = ""


class LeaseRequest(_Schema):
    """``POST /api/v1/leases``: one unit of a feature for one container."""

    feature: FeatureId
    version: Annotated[str, Field(pattern=r"^1$")] = "1"
    count: Annotated[int, Field(ge=1, le=1)] = 1
    client: Client


class LeaseGrant(_Schema):
    """Answer to a lease request and to each renewal."""

    lease_id: str
    lease_s: _Seconds
    """The lease ends so many seconds from now, unless it is renewed."""
    renew_after_s: _Seconds
    """Renew (``PUT /api/v1/leases/{lease_id}``) after so many seconds."""
    server_id: str


class FeatureReport(_Schema):
    """A row of ``GET /api/v1/features``."""

    feature: str
    version: str
    name: str
    capacity: int
    in_use: int
    free: int
    usable: bool
    """False when every license for it has ended or has not begun."""


class LeaseReport(_Schema):
    """A row of ``GET /api/v1/leases``."""

    lease_id: str
    feature: str
    uid: str
    host: str
    container: str
    component: str
    product_version: str
    common_name: str
    """Of the certificate that acquired it."""
    since: int
    left_s: int


class HistoryReport(_Schema):
    """A row of ``GET /api/v1/history``; rows are chained by their hashes."""

    seq: int
    time: int
    kind: str
    """``granted``, ``taken-over``, ``released``, ``expired``, ``revoked``, ``installed`` or
    ``removed``."""
    lease_id: str
    """The license's serial for ``installed`` and ``removed``."""
    feature: str
    uid: str
    common_name: str
    """Who did it; empty for ``expired``."""
    hash: str


class LicenseReport(_Schema):
    """An installed license."""

    serial: str
    issuer: str
    licensee: str
    product: str
    not_before: str
    not_after: str
    """ISO 8601, or ``perpetual``."""
    features: dict[str, int]
    """Capacity by feature id."""


class ServerReport(_Schema):
    """``GET /api/v1/server``."""

    server_id: str
    """What a license's ``lock`` must name, unless it is ``any``."""
    lease_s: float
