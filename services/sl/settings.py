"""What an SL reads from its environment. Names and defaults are HPE's unless marked as ours."""

import tempfile
from pathlib import Path

from pydantic import Field

from services.common.errors import ConfigError
from services.common.settings import NodeSettings, service_address


class SlSettings(NodeSettings):
    """Settings of an SL node (HPE User Guide, "Environment variables")."""

    sn_node_ip: str = ""
    """SN to use."""
    sn_api_server_port: int = Field(30304, ge=1, le=65535)
    sn_api_service: str = ""
    """``fqdn[:port]`` of the SN's API instead; default port 443."""

    sl_fs_port: int = Field(30305, ge=1, le=65535)
    """Port under which others reach our file server."""
    sl_fs_service: str = ""
    """``fqdn[:port]`` of our file server instead; default port 443."""
    sl_fs_listen_port: int = Field(30305, ge=0, le=65535)
    """Ours: port that the file server listens on; a container's ports are mapped outside."""

    sl_request_channel: Path | None = None
    """FIFO from the ML program."""
    sl_response_channel: Path | None = None
    """FIFO to the ML program."""
    sl_weights_dir: Path = Path("/tmp/hpe-swarm")  # noqa: S108 - hard-coded in HPE's client
    """Ours: hand-over folder, shared with the ML program."""
    sl_max_message_mb: int = Field(2048, ge=1, le=4096)
    """Ours: longest message that is taken from HPE's clients 2.1 and 2.2, which send their weights
    inside it (MiB). Protobuf itself ends just below 2048. It waits in SL_WEIGHTS_DIR, on disk."""
    sl_store_dir: Path = Path(tempfile.gettempdir()) / "swarm-sl-store"
    """Ours: folder of the model files; best on a tmpfs or a fast disk. One SL each."""
    sl_ml_connect_timeout: float = Field(600.0, gt=0)
    """Ours: seconds to wait for the ML program to open its pipes. Generous, because ML images load
    frameworks and data first."""
    sl_ml_restarts: int = Field(0, ge=0)
    """Ours: how often an ML program that ended early is waited for again, each time for
    SL_ML_CONNECT_TIMEOUT; 0 ends the SL with it."""
    sl_result_file: Path | None = None
    """Ours: where to write how the training ended (JSON)."""
    sl_journal_file: Path | None = None
    """Ours: where to write each event and command of the rounds, for ``services.sl.replay``."""
    sl_model_params_compression_threshold_mb: int = Field(250, ge=0, le=1_000_000)
    """Model files smaller than this many megabytes are packed for a transfer, where the link is so
    slow that it pays; 0: never."""

    sl_log_level: str = ""
    """DEBUG, INFO, WARNING or ERROR; SWARM_LOG_LEVEL where it is not set."""
    sl_make_me_admin: bool = True
    """False: never leads a round."""
    sl_leader_failure_base_timeout: int = Field(600, ge=1, le=86_400)
    """Seconds after quorum until a leader without a merge may be replaced. A dead one is replaced
    in seconds, by its missed heartbeats."""
    sl_merge_attestations: int = Field(0, ge=0, le=255)
    """Ours: how many other participants must get the same merge as the leader before it counts; 0
    trusts the leader. The same on all SLs of a training, and less than minPeers."""
    sl_wait_for_full_quorum_seconds: float = Field(30.0, ge=0)
    """How long a leader waits for more peers after minPeers are ready; 0 does not wait."""
    sl_min_peers_timeout: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Ours: seconds to wait while fewer than minPeers are there, before giving up with exit code 3;
    0 waits for ever, as documented."""
    sl_straggler_timeout: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Ours: seconds that the others, once minPeers of them have closed, wait for our ML program.
    Not set: for ever; 0: the training ends at once (HPE's rule). Set it alike on all SLs."""

    sl_ram_intensive: bool = True
    """False: merge in small blocks, where the leader's memory is short. The merged model is the
    same either way (HPE: the median methods merge layer by layer)."""
    sl_merge_methods: str = ""
    """Ours: merge methods of your own, ``x-name=module:Class, ...`` (``docs/merging.md``)."""

    def log_level(self) -> str:
        """Of the log."""
        return self.sl_log_level or self.swarm_log_level

    def sns(self) -> list[str]:
        """API endpoints of the SN to start with.

        Raises:
            ConfigError: none is named.
        """
        if self.sn_api_service:
            host, port = service_address(self.sn_api_service)
            return [f"{host}:{port}"]
        if self.sn_node_ip:
            return [f"{self.sn_node_ip}:{self.sn_api_server_port}"]
        raise ConfigError("no SN to use: set SN_NODE_IP (and SN_API_SERVER_PORT) or SN_API_SERVICE")

    def endpoint(self, host_name: str) -> str:
        """``host:port`` under which other SLs reach our file server.

        Args:
            host_name: of this machine, used where no address is set.
        """
        if self.sl_fs_service:
            host, port = service_address(self.sl_fs_service)
            return f"{host}:{port}"
        return f"{self.this_node_ip or host_name}:{self.sl_fs_port}"

    def channels(self) -> tuple[Path, Path]:
        """Request and response FIFO.

        Raises:
            ConfigError: one is not named.
        """
        if self.sl_request_channel is None or self.sl_response_channel is None:
            raise ConfigError("set SL_REQUEST_CHANNEL and SL_RESPONSE_CHANNEL to the FIFO paths")
        return self.sl_request_channel, self.sl_response_channel
