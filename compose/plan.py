"""What a swarm on this machine consists of: every process with its command, environment and ports.

Pure: paths, ports and UIDs come in, plans come out; nothing is started or written here.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from services.common.errors import ConfigError
from services.common.ids import DEFAULT_CONTRACT, is_contract_name

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parent.parent
"""Where ``services`` is imported from."""

PRIVATE_TMP = (sys.executable, "-I", "-S", str(REPOSITORY / "compose" / "private_tmp.py"))
"""Command that runs another with a folder as its /tmp/hpe-swarm."""

OTHER_SWARMS = frozenset(
    {
        "SN_API_SERVICE", "SN_ETH_P2P_SERVICE", "SL_FS_SERVICE", "SENTINEL_NODE_IP",
        "SENTINEL_API_SERVICE", "SWARM_ID_CACERT",
        "SWARM_LICENSE_AUTOPASSJ_SERVER_SECONDARY_IP",
    }
)  # fmt: skip
"""Variables that would point a node at a swarm other than ours; not passed on."""


FOREVER = 30 * 24 * 3600
"""Seconds that an SL waits for a program which the user starts by hand."""


class Kind(StrEnum):
    """What a process is."""

    LICENSE = "LIC"
    SN = "SN"
    SL = "SL"
    ML = "ML"
    SWOP = "SWOP"
    SWCI = "SWCI"
    JOB = "JOB"
    """Runs beside the swarm and is no part of it (an example's central training)."""


SENTINEL = "sn-1"
"""The SN that makes the chain; the others join it."""
MOST_SNS = 16

STOP_ORDER = (
    (Kind.ML, Kind.JOB, Kind.SWCI), (Kind.SWOP,), (Kind.SL,), (Kind.SN,), (Kind.LICENSE,),
)  # fmt: skip
"""Who is stopped with whom, first to last."""

SERVICES: Mapping[Kind, tuple[str, ...]] = {
    Kind.LICENSE: (sys.executable, "-m", "services.license"),
    Kind.SN: (sys.executable, "-m", "services.sn"),
    Kind.SL: (sys.executable, "-m", "services.sl"),
    Kind.SWOP: (sys.executable, "-m", "services.swop"),
    Kind.SWCI: (sys.executable, "-m", "services.swci"),
}
"""Command of each service, as its image starts it. Tests put others in their place."""

READY_LINES: Mapping[Kind, str] = {
    Kind.LICENSE: "License server ready on port:",
    Kind.SN: "Starting SWARM-API-SERVER on port:",
    Kind.SL: "Opening pipes to communicate with user container",
    Kind.SWOP: "registered as ",
    Kind.SWCI: "",
}
"""What a service logs once it serves; SWCI is busy from the start."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for."""

    nodes: int
    """Number of SL + ML pairs; 0 starts the license server and the SNs only."""
    min_peers: int = 1
    program: tuple[str, ...] = ()
    """The ML program, with placeholders; empty starts SLs without ML programs."""
    contract: str = DEFAULT_CONTRACT
    quorum_seconds: float | None = None
    """SL_WAIT_FOR_FULL_QUORUM_SECONDS; None leaves the SL's default."""
    sns: int = 1
    """Number of SNs."""
    foreign: bool = False
    """Each program gets a /tmp/hpe-swarm of its own, as HPE's client needs it."""

    def check(self) -> None:
        """Check what cannot work.

        Raises:
            ConfigError: says which value and why.
        """
        if not 0 <= self.nodes <= 64:
            raise ConfigError(f"--nodes {self.nodes}: must be from 0 to 64 on one machine")
        if not 1 <= self.sns <= MOST_SNS:
            raise ConfigError(f"--sns {self.sns}: must be from 1 to {MOST_SNS} on one machine")
        if self.program and not 1 <= self.min_peers <= self.nodes:
            raise ConfigError(
                f"--min-peers {self.min_peers}: must be from 1 to --nodes ({self.nodes}), "
                "otherwise no round can ever be merged"
            )
        if not is_contract_name(self.contract):
            raise ConfigError(
                f"--contract {self.contract!r}: 1 to 160 characters, no '/', not '.' or '..'"
            )
        seconds = self.quorum_seconds
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ConfigError(f"--quorum-seconds {seconds}: must be a finite number from 0")


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders of one run."""

    run: Path
    scratch: Path
    """For model files and FIFOs; on a tmpfs where there is one. Removed at the end."""
    certs: Path
    """Certificates in gen-cert's layout."""

    def log(self, name: str) -> Path:
        """A node's log file."""
        return self.run / "logs" / f"{name}.log"

    def node(self, name: str) -> Path:
        """A node's own folder; what an ML program writes there stays."""
        return self.run / "nodes" / name

    def certificate(self, name: str) -> str:
        """Name of the certificate of an SN or SL: its own, or the first one's for all."""
        kind, _, _ = name.partition("-")
        return name if (self.certs / f"{name}-cert.pem").exists() else f"{kind}-1"

    def result(self, index: int) -> Path:
        """Where the SL of pair ``index`` (from 1) writes how its training ended."""
        return self.node(f"sl-{index}") / "result.json"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports, all on loopback."""

    license: int
    sn_p2p: tuple[int, ...]
    sn_api: tuple[int, ...]
    sl: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One process to start."""

    kind: Kind
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """All of it; nothing is added when it is started."""
    log: Path
    cwd: Path
    uid: str = ""
    """Its UID in the swarm; an ML program and a job have none."""
    index: int = 0
    """Number of its pair, from 1; 0 outside the pairs."""
    ports: Mapping[str, int] = field(default_factory=dict)
    ready: str = ""
    """It is ready once its log holds this; at once when empty."""


class Planner:
    """Makes the plans of one run.

    Args:
        request: what is wanted.
        layout: where.
        ports: chosen, two per SN and one per pair.
        uids: of each ``sn-N`` and ``sl-N``.
        inherited: environment of the composition.
        cwd: folder in which the user's program starts.
        services: command table, :data:`SERVICES` unless in tests.
    """

    def __init__(
        self, request: Request, layout: Layout, ports: Ports, uids: Mapping[str, str],
        inherited: Mapping[str, str], cwd: Path,
        services: Mapping[Kind, tuple[str, ...]] = SERVICES,
    ) -> None:  # fmt: skip
        self.request = request
        self.layout = layout
        self.ports = ports
        self.uids = uids
        self.cwd = cwd
        self.services = services
        self.inherited = inherited
        self._base = {k: v for k, v in inherited.items() if k not in OTHER_SWARMS}
        self._base["PYTHONUNBUFFERED"] = "1"

    def license(self) -> NodePlan:
        """The license server."""
        variables = {
            "LICENSE_PORT": str(self.ports.license),
            "LICENSE_DATA_DIR": str(self.layout.node("license")),
        }
        return self.service(
            Kind.LICENSE, "license", "lic-1", variables, {"api": self.ports.license}
        )

    @property
    def sns(self) -> list[str]:
        """Names of the SNs, the sentinel first."""
        return [f"sn-{index}" for index in range(1, self.request.sns + 1)]

    def chain(self, sn: str) -> Path:
        """Where an SN keeps its chain."""
        return self.layout.node(sn) / "chain"

    def sn(self, index: int) -> NodePlan:
        """An SN: the sentinel (1), or one that joins it."""
        name, api, p2p = f"sn-{index}", self.ports.sn_api[index - 1], self.ports.sn_p2p[index - 1]
        variables = {
            "SN_I_AM_SENTINEL": "true",
            "SN_API_SERVER_PORT": str(api),
            "SN_P2P_LISTEN_PORT": str(p2p),
            "SN_ETH_PORT_EXT": str(p2p),
            "SN_DATA_DIR": str(self.chain(name)),
        }
        if name != SENTINEL:
            variables |= {
                "SN_I_AM_SENTINEL": "false",
                "SENTINEL_NODE_IP": LOOPBACK,
                "SENTINEL_API_SERVER_PORT": str(self.ports.sn_api[0]),
            }
        certificate = self.layout.certificate(name)
        return self.service(Kind.SN, name, certificate, variables, {"p2p": p2p, "api": api})

    def sl(self, index: int) -> NodePlan:
        """The SL of a pair; the pairs are spread over the SNs."""
        name = f"sl-{index}"
        port = self.ports.sl[index - 1]
        variables = {
            "SN_NODE_IP": LOOPBACK,
            "SN_API_SERVER_PORT": str(self.ports.sn_api[(index - 1) % self.request.sns]),
            "SL_FS_PORT": str(port),
            "SL_FS_LISTEN_PORT": str(port),
            "SL_STORE_DIR": str(self.layout.scratch / name / "store"),
            "SL_RESULT_FILE": str(self.layout.result(index)),
            "SL_JOURNAL_FILE": str(self.layout.node(name) / "journal.jsonl"),
            **self.channels(index),
        }
        if not self.request.program:
            variables["SL_ML_CONNECT_TIMEOUT"] = str(FOREVER)
        if self.request.quorum_seconds is not None:
            variables["SL_WAIT_FOR_FULL_QUORUM_SECONDS"] = str(self.request.quorum_seconds)
        certificate = self.layout.certificate(name)
        return self.service(Kind.SL, name, certificate, variables, {"fs": port}, index)

    def ml(self, index: int) -> NodePlan:
        """The user's program of a pair."""
        name = f"ml-{index}"
        variables = {
            "NODE_ID": name,
            "MIN_PEERS": str(self.request.min_peers),
            **self.channels(index),
        }
        plan = self.program(Kind.ML, name, self.request.program, index, variables)
        if self.request.foreign:
            folder = variables["SL_WEIGHTS_DIR"]
            plan = replace(plan, command=(*PRIVATE_TMP, folder, *plan.command))
        return plan

    def job(self, name: str, command: Sequence[str]) -> NodePlan:
        """A program that runs beside the swarm; it knows the same placeholders."""
        return self.program(Kind.JOB, name, command, 0, {})

    def channels(self, index: int) -> dict[str, str]:
        """The FIFOs and the hand-over folder of a pair, as both its processes get them."""
        folder = self.layout.scratch / f"sl-{index}"
        return {
            "SL_REQUEST_CHANNEL": str(folder / "request.channel"),
            "SL_RESPONSE_CHANNEL": str(folder / "response.channel"),
            "SL_WEIGHTS_DIR": str(folder / "handover"),
        }

    def program(
        self, kind: Kind, name: str, command: Sequence[str], index: int, variables: dict[str, str]
    ) -> NodePlan:
        """A process of the user's; ``python`` in it is the interpreter that we run on."""
        folders = [str(Path(sys.executable).parent), self._base.get("PATH", "")]
        environment = {
            "OMP_NUM_THREADS": "1",  # N programs share this machine's cores
            **self._base,
            "PATH": ":".join(filter(None, folders)),
            "SCRATCH_DIR": str(self.layout.node(name)),
            "MODEL_DIR": str(self.layout.node(name)),
            **variables,
        }
        values = {
            "{index}": str(index),
            "{nodes}": str(self.request.nodes),
            "{min_peers}": str(self.request.min_peers),
            "{contract}": self.request.contract,
            "{node_dir}": str(self.layout.node(name)),
            "{run_dir}": str(self.layout.run),
        }
        filled = tuple(_fill(word, values) for word in command)
        return NodePlan(
            kind, name, filled, environment, self.layout.log(name), self.cwd, index=index
        )

    def service(
        self, kind: Kind, name: str, certificate: str, variables: dict[str, str],
        ports: dict[str, int], index: int = 0,
    ) -> NodePlan:  # fmt: skip
        """A service's process: ``variables`` beside what all of them need."""
        uid = self.uids.get(name, "")
        environment = {
            **self._base,
            "PYTHONPATH": str(REPOSITORY),
            "SWARM_ID_KEY": str(self.layout.certs / f"{certificate}-key.pem"),
            "SWARM_ID_CERT": str(self.layout.certs / f"{certificate}-cert.pem"),
            "SWARM_ID_CAPATH": str(self.layout.certs / "ca" / "capath"),
            "SWARM_BIND_IP": LOOPBACK,
            "THIS_NODE_IP": LOOPBACK,
            "SWARM_NODE_UID": uid,
            "SWARM_CONTAINER_NAME": name,
            "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP": LOOPBACK,
            "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT": str(self.ports.license),
            **variables,
        }
        return NodePlan(
            kind, name, self.services[kind], environment, self.layout.log(name),
            self.layout.node(name), uid, index, ports, READY_LINES[kind],
        )  # fmt: skip


def _fill(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word
