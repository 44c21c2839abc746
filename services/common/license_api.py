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

_Word = Annotated[str, Field(max_length=160, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
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


class Role(StrEnum):
    """What a person, or a certificate, may do at the license server."""

    ADMINISTRATOR = "administrator"
    PRODUCT_ADMIN = "product-admin"
    VIEW_ONLY = "view-only"


class Code(StrEnum):
    """Why a lease is refused: ``code`` of the answer. ``docs/license-server.md`` has them all."""

    NO_CAPACITY = "no-capacity"
    NOT_INSTALLED = "feature-not-installed"
    EXPIRED = "license-expired"
    REVOKED = "lease-revoked"
    DENIED = "forbidden"


MOST_HOLDERS = 20
"""Holders that the answer to a request for an exhausted feature names."""


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
    expires: str
    """When the last license in force for it ends, ISO 8601 or ``perpetual``; empty where none is
    in force."""
    holders: int
    """Nodes that hold a unit."""


class Holder(_Schema):
    """Who holds a unit of an exhausted feature."""

    component: str
    host: str
    container: str
    since: str
    """ISO 8601, by the license server's clock."""


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
    """Of leases ``granted``, ``taken-over``, ``released``, ``expired``, ``revoked``; of licenses
    ``installed``, ``archived``, ``restored``, ``removed``; of the server ``settings-changed``,
    ``history-purged``, ``clock-...``; for administrators only, of users: ``signed-in``, ..."""
    lease_id: str
    """The license's serial where it is about a license."""
    feature: str
    uid: str
    common_name: str
    """Who did it: a certificate's CN, ``user:`` and a name, or nobody."""
    note: str
    """More of it, for people."""
    hash: str


class LicenseState(StrEnum):
    """Whether a license counts."""

    ACTIVE = "active"
    FUTURE = "future"
    EXPIRED = "expired"
    ARCHIVED = "archived"


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
    names: dict[str, str]
    """Name by feature id."""
    state: LicenseState
    lock: str
    """Id of the only server that may use it, or ``any``."""
    installed_at: int
    """Unix seconds; 0 where it is not installed."""
    installed_by: str
    installed: bool
    """False where it was only checked."""


class Warned(_Schema):
    """Something that somebody should look after."""

    code: str
    text: str


class ServerReport(_Schema):
    """``GET /api/v1/server``."""

    server_id: str
    """What a license's ``lock`` must name, unless it is ``any``."""
    lease_s: float
    version: str
    time: int
    """Unix seconds, as the server counts them."""
    started: int
    warnings: list[Warned]


class ServerSettings(_Schema):
    """``GET`` and ``PUT /api/v1/settings``."""

    notice_days: Annotated[int, Field(ge=0, le=365)] = 30
    """A license or certificate that ends within so many days is warned of; 0: never."""
    keep_history_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Older history is removed; 0: kept for ever."""
