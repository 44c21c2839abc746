"""Settings that every node has: identity, license server, address, log level.

Names are HPE's where HPE has one (``compat``: run scripts and container environment); variables
that are ours say so. The environment is read in ``__main__`` only; everything else gets the value.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.errors import ConfigError

Loaded = TypeVar("Loaded", bound=BaseSettings)

DEFAULT_SERVICE_PORT = 443
"""Port of an ``fqdn[:port]`` service variable that names none (HPE: reverse proxy)."""


class NodeSettings(BaseSettings):
    """What each node process reads from its environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    swarm_id_key: Path | None = None
    """Private key (PEM) of this node's certificate."""
    swarm_id_cert: Path | None = None
    """Certificate (PEM) of this node; its CN or OU names the role."""
    swarm_id_cacert: Path | None = None
    """File of trusted CA certificates (PEM)."""
    swarm_id_capath: Path | None = None
    """Folder of trusted CA certificates (and CRLs); no hash links needed."""
    swarm_spiffe_workload_api_socket_path: str = ""
    """Socket of a SPIFFE Workload API, which then gives the identity instead of the four above."""

    this_node_ip: str = ""
    """Address of this host as others reach it; the host name where it is not set."""
    swarm_bind_ip: str = "0.0.0.0"  # noqa: S104 - a container listens on all its interfaces
    """Ours: address to listen on."""
    swarm_node_uid: str = Field("", pattern="^([0-9a-f]{32})?$")
    """Ours: the node's UID (32 hex digits); made at random where it is not set."""
    swarm_container_name: str = ""
    """Ours: the node's name in LIST NODES; where it is not set see ``common.container``."""
    swarm_log_level: str = "INFO"
    """Ours: DEBUG, INFO, WARNING or ERROR."""
    logs_dir: Path | None = None
    """Folder for a copy of the log, beside what goes to stdout; none where it is not set."""

    swarm_start_patience: float = Field(60.0, ge=0)
    """Ours: seconds to go on trying at start while the SN or the license server does not answer."""

    swarm_license_autopassj_server_primary_ip: str = ""
    """License server. Without one the node runs in open mode."""
    swarm_license_autopassj_server_primary_port: int = Field(5814, ge=1, le=65535)
    swarm_license_autopassj_server_secondary_ip: str = ""
    swarm_license_autopassj_server_secondary_port: int = Field(5814, ge=1, le=65535)
    swarm_license_mode: Literal["", "open", "required", "soft"] = ""
    """Ours: ``open`` asks nobody, ``required`` ends without a licence (default where a server is
    named), ``soft`` warns and goes on."""
    swarm_license_grace_hours: float = Field(72.0, ge=0)
    """Ours: how long a running node goes on (and says so) while no license server answers."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: object) -> object:
        """Files of variables bring along line ends of Windows and blanks; nobody means them."""
        if not isinstance(values, dict):
            return values
        texts = {key: value.strip() for key, value in values.items() if isinstance(value, str)}
        blank = {key for key, text in texts.items() if values[key] and not text}
        return {key: v for key, v in (values | texts).items() if key not in blank}

    def log_file(self, component: str) -> Path | None:
        """Where to write a copy of the log; None: nowhere."""
        return self.logs_dir / f"{component}.log" if self.logs_dir else None


def load(settings: type[Loaded]) -> Loaded:
    """Read ``settings`` from the environment.

    Raises:
        ConfigError: a variable is missing or wrong; the message names each one.
    """
    try:
        return settings()
    except ValidationError as exc:
        lines = [
            f"{'.'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            for error in exc.errors()
        ]
        raise ConfigError("bad environment: " + "; ".join(lines)) from exc


def service_address(service: str, default_port: int = DEFAULT_SERVICE_PORT) -> tuple[str, int]:
    """Split ``fqdn[:port]`` (or ``[v6]:port``) into host and port.

    Raises:
        ConfigError: the port is not a number from 1 to 65535.
    """
    host, colon, port = service.rpartition(":")
    if not colon or service.endswith("]"):
        return service.strip("[]"), default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536 and host):
        raise ConfigError(f"{service!r} is not HOST or HOST:PORT with a port from 1 to 65535")
    return host.strip("[]"), int(port)
