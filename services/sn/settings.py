"""Settings of an SN, from HPE's environment variables where HPE has one (``compat/02``)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from services.common.errors import ConfigError
from services.common.settings import NodeSettings, service_address

P2P_PORT = 30303
API_PORT = 30304


class SnSettings(NodeSettings):
    """What an SN reads from its environment. Listening ports may be 0: the system chooses."""

    sn_i_am_sentinel: bool = False
    """This SN starts first: it makes the chain where its data folder holds none."""
    sentinel_node_ip: str = ""
    """Host of an SN to join; any running one will do."""
    sentinel_api_server_port: int = Field(API_PORT, ge=1, le=65535)
    """API port of that SN."""
    sentinel_api_service: str = ""
    """``fqdn[:port]`` of that SN's API, instead of host and port."""
    sn_api_server_port: int = Field(API_PORT, ge=0, le=65535)
    """Port that the API listens on, and is announced with."""
    sn_api_service: str = ""
    """``fqdn[:port]`` to announce for the API instead of this host and the port above."""
    sn_eth_port_ext: int = Field(0, ge=0, le=65535)
    """Port to announce for the links between SNs; 0: the one we listen on."""
    sn_eth_p2p_service: str = ""
    """``fqdn[:port]`` to announce for the links between SNs."""
    sn_start_mining: bool = True
    """Whether to seal blocks. Our choice: yes (HPE: no), else the swarm ends with the sentinel."""
    sn_p2p_listen_port: int = Field(P2P_PORT, ge=0, le=65535)
    """Ours: port that the links between SNs listen on."""
    sn_data_dir: Path = Path("/platform/swarm/SMLNODE")
    """Ours: folder of the chain; mount a volume there to keep it."""
    sn_chain: Literal["embedded", "rpc"] = "embedded"
    """Ours: the chain under the SN. ``embedded``: its own, in this process, shared with the other
    SNs; ``rpc``: an Ethereum client's (``docs/external-chain.md``). All SNs of a swarm alike."""
    sn_eth_rpc_url: SecretStr = SecretStr("")
    """Ours: ``http[s]://[USER:PASSWORD@]HOST:PORT[/PATH]`` of that client's JSON-RPC."""
    sn_eth_key_file: Path | None = None
    """Ours: file with the key of the SN's account on that chain (64 hex digits, ``0x`` or not);
    where it is not set the SN makes a key and keeps it in its data folder."""

    def entry(self) -> str | None:
        """API ``host:port`` of the SN to join; None: this is the sentinel.

        Raises:
            ConfigError: it is neither a sentinel nor told whom to join.
        """
        named = None if self.sn_i_am_sentinel else self.named_sn()
        if named is None and not self.sn_i_am_sentinel:
            raise ConfigError(
                "either SN_I_AM_SENTINEL=true (on the one SN that starts first) or "
                "SENTINEL_NODE_IP or SENTINEL_API_SERVICE (an SN to join) must be set"
            )
        return named

    def named_sn(self) -> str | None:
        """API ``host:port`` of the SN that the settings name, if they name one."""
        if self.sentinel_api_service:
            return join(*service_address(self.sentinel_api_service))
        if self.sentinel_node_ip:
            return join(self.sentinel_node_ip, self.sentinel_api_server_port)
        return None

    def rpc_url(self) -> str:
        """URL of the Ethereum client; a secret, it may hold a password.

        Raises:
            ConfigError: none is set.
        """
        url = self.sn_eth_rpc_url.get_secret_value()
        if not url:
            raise ConfigError("SN_CHAIN=rpc needs SN_ETH_RPC_URL, the Ethereum client's JSON-RPC")
        return url

    def refuse_external(self) -> None:
        """Check that nothing of an external chain is set.

        Raises:
            ConfigError: something is, and would have no effect.
        """
        if self.sn_eth_rpc_url.get_secret_value() or self.sn_eth_key_file is not None:
            raise ConfigError(
                "SN_ETH_RPC_URL and SN_ETH_KEY_FILE have no effect without SN_CHAIN=rpc: set that, "
                "or unset them"
            )

    def second_api_port(self) -> int | None:
        """The port that run-sn publishes for SN_API_SERVICE, where the API listens on another one.

        HPE's script publishes 30304 for a service, whatever SN_API_SERVER_PORT says.
        """
        wanted = bool(self.sn_api_service) and self.sn_api_server_port not in (0, API_PORT)
        return API_PORT if wanted else None

    def api_endpoint(self, host: str, port: int) -> str:
        """What to announce for the API.

        Args:
            host: name of this machine, for where THIS_NODE_IP is not set.
            port: the port that the API listens on.
        """
        if self.sn_api_service:
            return join(*service_address(self.sn_api_service))
        return join(self.this_node_ip or host, port)

    def p2p_endpoint(self, host: str, port: int) -> str:
        """What to announce for the links between SNs; arguments as for the API."""
        if self.sn_eth_p2p_service:
            return join(*service_address(self.sn_eth_p2p_service, P2P_PORT))
        return join(self.this_node_ip or host, self.sn_eth_port_ext or port)


def join(host: str, port: int) -> str:
    """``host:port``, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
