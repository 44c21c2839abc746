"""Settings of the license server."""

from pathlib import Path

from pydantic import Field

from services.common.license_api import SECONDS_OF_LEASE
from services.common.settings import NodeSettings


class LicenseSettings(NodeSettings):
    """What the license server reads from its environment."""

    license_port: int = Field(5814, ge=0, le=65535)
    """Port to listen on (HPE's); 0 lets the system choose."""
    license_data_dir: Path = Path("/hpe/AutoPass/LicenseServer/data")
    """Ours: key, licenses, leases and history. The default lies on the volume (``/hpe``) that
    HPE's run example mounts."""
    license_lease_s: float = Field(SECONDS_OF_LEASE, ge=1, le=86_400)
    """Ours: length of a lease in seconds; clients renew after a third of it."""
