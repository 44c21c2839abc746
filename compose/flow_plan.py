"""The processes that a flow adds to a swarm: SWOPs, and SWCI with its script. Pure, as ``plan``."""

from pathlib import Path

from compose.flow_folder import SCRIPT
from compose.plan import LOOPBACK, Kind, NodePlan, Planner

SWCI = "swci-1"


def engine(planner: Planner, index: int) -> Path:
    """Folder of a SWOP's process engine: volumes, images, containers."""
    return planner.layout.scratch / f"swop-{index}"


def swop(planner: Planner, index: int, profile: str) -> NodePlan:
    """A SWOP that runs SL/ML pairs as child processes; the SWOPs are spread over the SNs.

    Args:
        planner: of the run.
        index: its number, from 1.
        profile: file name of its profile in its user folder, which is its node folder.
    """
    name = f"swop-{index}"
    usr_dir = planner.layout.node(name)
    variables = {
        "SN_NODE_IP": LOOPBACK,
        "SN_API_SERVER_PORT": str(planner.ports.sn_api[(index - 1) % planner.request.sns]),
        "SWOP_PROFILE": profile,
        "USR_DIR": str(usr_dir),
        "SWOP_ENGINE": "process",
        "SWOP_ON_STOP": "stop",
        "SWOP_PROCESS_DIR": str(engine(planner, index)),
        "OMP_NUM_THREADS": planner.inherited.get("OMP_NUM_THREADS", "1"),  # for its ML programs
    }
    certificate = planner.layout.certificate(name)
    return planner.service(Kind.SWOP, name, certificate, variables, {})


def swci(planner: Planner, usr_dir: Path) -> NodePlan:
    """SWCI, which runs its script and ends.

    Args:
        planner: of the run.
        usr_dir: its user folder, with the script.
    """
    variables = {
        "SWCI_MODE": "CLI",
        "SWCI_USR_DIR": str(usr_dir),
        "SWCI_STARTUP_SCRIPT": SCRIPT,
        "SWCI_WAIT_RETRY_SECONDS": "0.5",
    }
    return planner.service(Kind.SWCI, SWCI, SWCI, variables, {})
