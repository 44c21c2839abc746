"""The compose files, and what an SN reads to use the network. Pure, text in and out.

The files are put together as text, because comments are half of their use.
"""

import json

from compose.besu.network import RPC_PORT, Network, Validator
from compose.besu.settings import CONFIG_FOLDER, DATA_FOLDER

IMAGE = "hyperledger/besu:26.9.0"
"""Our choice: the newest release when this was written; its documentation is what was read."""
JVM = "-Xmx1g"
SN_P2P_PORT, SN_API_PORT, SN_PORT_STEP = 30303, 30304, 10
BLOCKS_BEHIND = 10

_HEAD = """\
# {count} Hyperledger Besu validators (QBFT). Made by python -m compose.besu; see docs/besu.md.
# Nothing is published outside this network; compose.rpc.yaml publishes JSON-RPC on 127.0.0.1.
# Values after ":-" are defaults; .env holds this host's.

x-besu: &besu
  image: ${{BESU_IMAGE:-{image}}}
  user: ${{BESU_USER:-1000:1000}}
  command: ["--config-file={config}/config.toml"]
  restart: unless-stopped
  stop_grace_period: 60s
  cap_drop: ["ALL"]
  security_opt: ["no-new-privileges:true"]
  healthcheck:
    # Ready: linked to enough validators for a quorum, and not behind them. The image has no curl.
    test: {probe}
    interval: 10s
    timeout: 5s
    retries: 6
    start_period: 90s

services:
"""
_SERVICE = """\
  {name}:
    <<: *besu
    hostname: {name}
    environment:
      BESU_P2P_HOST: {address}
      BESU_OPTS: ${{BESU_JVM:-{jvm}}}
    volumes:
      - ./config:{config}:ro
      - ./{name}:{data}
    networks:
      chain:
        ipv4_address: {address}

"""
_NETWORK = """\
networks:
  chain:
    internal: true
    ipam:
      config:
        - subnet: {subnet}
"""
_RPC_HEAD = """\
# Publishes the validators' JSON-RPC on this host, for SNs that run outside Docker:
#   docker compose -f compose.yaml -f compose.rpc.yaml up -d
# It has neither TLS nor passwords: never bind it to another address than 127.0.0.1.

services:
"""
_RPC_SERVICE = """\
  {name}:
    ports:
      - "127.0.0.1:${{BESU_RPC_PORT_{index}:-{port}}}:{rpc}"
    networks:
      rpc: {{}}

"""
_RPC_NETWORK = """\
networks:
  rpc: {}
"""


def compose_yaml(network: Network) -> str:
    """The validators."""
    head = _HEAD.format(
        count=len(network.validators), image=IMAGE, config=CONFIG_FOLDER,
        probe=json.dumps(probe(network)),
    )  # fmt: skip
    services = (
        _SERVICE.format(
            name=each.name, address=each.address, jvm=JVM, config=CONFIG_FOLDER, data=DATA_FOLDER
        )
        for each in network.validators
    )
    return head + "".join(services) + _NETWORK.format(subnet=network.options.subnet)


def rpc_yaml(network: Network) -> str:
    """What publishes their JSON-RPC on the host."""
    services = (
        _RPC_SERVICE.format(
            name=each.name, index=each.index, port=_rpc_port(network, each), rpc=RPC_PORT
        )
        for each in network.validators
    )
    return _RPC_HEAD + "".join(services) + _RPC_NETWORK


def probe(network: Network, port: int = RPC_PORT) -> list[str]:
    """The command that tells whether a node is ready: exit status 0.

    Args:
        network: whose quorum counts.
        port: of the node's JSON-RPC on this machine.
    """
    path = f"/readiness?minPeers={network.quorum - 1}&maxBlocksBehind={BLOCKS_BEHIND}"
    request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
    talk = f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{request}' >&3 && read -r _ status _ <&3"
    return ["CMD", "bash", "-c", f'{talk} && [ "$$status" = 200 ]']


def environment(network: Network, user: str) -> str:
    """``.env``, which compose reads by itself.

    Args:
        network: for the ports.
        user: ``UID:GID`` that owns the validators' folders.
    """
    lines = [
        "COMPOSE_PROJECT_NAME=swarm-besu",
        f"BESU_IMAGE={IMAGE}",
        "# Owner of the folders besu-1, besu-2, ...",
        f"BESU_USER={user}",
        f"BESU_JVM={JVM}",
        *(f"BESU_RPC_PORT_{each.index}={_rpc_port(network, each)}" for each in network.validators),
    ]
    return "\n".join(lines) + "\n"


def sn_environment(network: Network, validator: Validator, folder: str) -> str:
    """What an SN needs in its environment to use a validator as its chain.

    Args:
        network: it belongs to.
        validator: the SN's own one; an organisation runs both.
        folder: the SN's data folder, which holds its account.
    """
    first = validator.index == 1
    lines = [
        f"# For the SN beside {validator.name}, running on this host, with compose.rpc.yaml.",
        f"# In a container on the network `chain` the URL is http://{validator.name}:{RPC_PORT}.",
        "# Certificates and the license server are set as for any SN.",
        "SN_CHAIN=rpc",
        f"SN_ETH_RPC_URL=http://127.0.0.1:{_rpc_port(network, validator)}",
        f"SN_DATA_DIR={folder}",
        f"SN_I_AM_SENTINEL={json.dumps(first)}",
        *([] if first else ["# Any SN that runs already:", "SENTINEL_NODE_IP=127.0.0.1"]),
        "# Ports of its own, because all SNs are on one host here.",
        f"SN_API_SERVER_PORT={SN_API_PORT + SN_PORT_STEP * (validator.index - 1)}",
        f"SN_P2P_LISTEN_PORT={SN_P2P_PORT + SN_PORT_STEP * (validator.index - 1)}",
    ]
    return "\n".join(lines) + "\n"


def _rpc_port(network: Network, validator: Validator) -> int:
    return network.options.rpc_port + validator.index - 1
