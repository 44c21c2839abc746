"""What a SWOP reads from its environment. Names and defaults are HPE's unless marked as ours."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.common.settings import NodeSettings


class SwopSettings(NodeSettings):
    """Settings of a SWOP (HPE User Guide; run-swop)."""

    usr_dir: Path = Path("/platform/swarm/usr")
    """Folder of the profile; logs of containers go below it, the newest 1000 of each group."""
    swop_profile: str = "swop_profile.yaml"
    """Name of the profile's file in USR_DIR."""

    sn_node_ip: str = ""
    """SN to use; what the profile says under apisrv wins."""
    sn_api_server_port: int = Field(30304, ge=1, le=65535)
    sn_api_service: str = ""
    """``fqdn[:port]`` of the SN's API instead; default port 443."""

    swop_uid: int | None = Field(None, ge=0)
    """User id of the ML containers; their image's own where it is not set."""
    swop_gid: int | None = Field(None, ge=0)
    """Their group id; SWOP_UID where it is not set."""
    swop_keep_containers: bool = False
    """True: stopped containers stay, for debugging; the user removes them."""
    swop_sl_image: str = ""
    """Ours: image of the SL containers; by default the SWOP's own name with ``sl`` for ``swop``."""

    swop_engine: Literal["docker", "process"] = "docker"
    """Ours: ``process`` runs tasks as child processes, with the rights of this SWOP's user."""
    swop_policy_file: Path | None = None
    """Ours: what tasks and the profile may ask for; wins over the profile's policyuri."""
    swop_state_dir: Path | None = None
    """Ours: remembers the uid between two starts; by default a hidden folder in USR_DIR, one for
    each profile."""
    swop_process_dir: Path | None = None
    """Ours: volumes, images and containers of SWOP_ENGINE=process, by default in SWOP_STATE_DIR.
    Several SWOPs of one host may share it. Best on a fast disk: models go through it."""
    swop_stop_grace: float = Field(15.0, ge=0, le=3600)
    """Ours: seconds that ML programs have after RESET TASKRUNNER to end by themselves, because
    they may be saving their models."""
    swop_on_stop: Literal["keep", "stop"] = "keep"
    """Ours: what happens to running containers when the SWOP is told to end. ``keep``: they go
    on, and a SWOP that is started again within the SN's patience goes on with them."""

    http_proxy: str | None = None
    """For builds, downloads, SL and ML; so are the next two."""
    https_proxy: str | None = None
    no_proxy: str | None = None

    def proxies(self) -> dict[str, str]:
        """The proxy variables that are set."""
        found = {
            "http_proxy": self.http_proxy,
            "https_proxy": self.https_proxy,
            "no_proxy": self.no_proxy,
        }
        return {name: value for name, value in found.items() if value is not None}

    def sn(self) -> dict[str, str]:
        """What the environment says of the SN, as variables for SLs."""
        return {
            "SN_NODE_IP": self.sn_node_ip,
            "SN_API_SERVER_PORT": str(self.sn_api_server_port),
            "SN_API_SERVICE": self.sn_api_service,
        }

    def license(self) -> dict[str, str]:
        """What the environment says of license servers, as variables for SLs."""
        stem = "swarm_license_autopassj_server"
        found: dict[str, str] = {}
        for which in ("primary", "secondary"):
            if address := getattr(self, f"{stem}_{which}_ip"):
                found[f"{stem}_{which}_ip".upper()] = address
                found[f"{stem}_{which}_port".upper()] = str(getattr(self, f"{stem}_{which}_port"))
        if self.swarm_license_mode:
            found["SWARM_LICENSE_MODE"] = self.swarm_license_mode
        return found

    def user(self) -> str | None:
        """``uid:gid`` of the ML containers."""
        if self.swop_uid is None:
            return None
        gid = self.swop_uid if self.swop_gid is None else self.swop_gid
        return f"{self.swop_uid}:{gid}"

    def state_dir(self) -> Path:
        """Where the SWOP keeps what it must remember."""
        return self.swop_state_dir or self.usr_dir / f".swop-{Path(self.swop_profile).stem}"
