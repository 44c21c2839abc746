"""One frozen dataclass for each command; what the parser makes and the executor executes.

Field names are the argument names of the syntax in ``table.py``.
"""

from dataclasses import dataclass

from services.common.task_api import TaskType

API_PORT = 30304
"""Default port of an SN's API (HPE)."""
SERVICE_PORT = 443
"""Default port of an ``fqdn[:port]`` (HPE: reverse proxy)."""
WAIT_RETRIES = 360
"""Default of WAIT FOR IP and WAIT FOR SERVICE; with 5 s between two tries it is half an hour."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an API server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


# --- contexts


@dataclass(frozen=True, slots=True)
class CreateContext:
    """CREATE CONTEXT name WITH IP ip [port]."""

    name: str
    ip: str
    port: int = API_PORT


@dataclass(frozen=True, slots=True)
class CreateContextService:
    """CREATE CONTEXT name WITH SERVICE fqdn[:port]."""

    name: str
    service: Address


@dataclass(frozen=True, slots=True)
class SwitchContext:
    """SWITCH CONTEXT name."""

    context: str


@dataclass(frozen=True, slots=True)
class GetContextInfo:
    """GET CONTEXT INFO [name]."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class GetContextEnv:
    """GET CONTEXT ENV [name] env."""

    env: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class SetContextEnv:
    """SET CONTEXT ENV [name] env value."""

    env: str
    value: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class ListContextEnv:
    """LIST CONTEXT ENV [name]."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class GetContextVersion:
    """GET CONTEXT VERSION [name]."""

    context: str = ""


@dataclass(frozen=True, slots=True)
class ListContexts:
    """LIST CONTEXTS."""


# --- training contracts


@dataclass(frozen=True, slots=True)
class CreateContract:
    """CREATE CONTRACT name."""

    name: str


@dataclass(frozen=True, slots=True)
class GetContractInfo:
    """GET CONTRACT INFO name."""

    contract: str


@dataclass(frozen=True, slots=True)
class GetContractStatus:
    """GET CONTRACT STATUS name."""

    contract: str


@dataclass(frozen=True, slots=True)
class ListContracts:
    """LIST CONTRACTS."""


@dataclass(frozen=True, slots=True)
class PerfData:
    """PERFDATA name."""

    contract: str


@dataclass(frozen=True, slots=True)
class ResetContract:
    """RESET CONTRACT name."""

    contract: str


# --- tasks


@dataclass(frozen=True, slots=True)
class CreateTask:
    """CREATE TASK type name author prereq outcome: the header alone."""

    type: TaskType
    name: str
    author: str
    prereq: str
    outcome: str


@dataclass(frozen=True, slots=True)
class CreateTaskFrom:
    """CREATE TASK FROM file."""

    file: str


@dataclass(frozen=True, slots=True)
class AppendTaskBody:
    """APPEND TASK BODY task idx text."""

    task: str
    idx: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class FinalizeTask:
    """FINALIZE TASK task."""

    task: str


@dataclass(frozen=True, slots=True)
class DeleteTask:
    """DELETE TASK task."""

    task: str


@dataclass(frozen=True, slots=True)
class GetTaskInfo:
    """GET TASK INFO task."""

    task: str


@dataclass(frozen=True, slots=True)
class GetTaskBody:
    """GET TASK BODY task."""

    task: str


@dataclass(frozen=True, slots=True)
class ListTasks:
    """LIST TASKS."""


# --- taskrunners


@dataclass(frozen=True, slots=True)
class CreateTaskRunner:
    """CREATE TASKRUNNER name."""

    name: str


@dataclass(frozen=True, slots=True)
class AssignTask:
    """ASSIGN TASK task TO runner WITH n PEERS."""

    task: str
    taskrunner: str
    peers: int


@dataclass(frozen=True, slots=True)
class AssignTaskToAll:
    """ASSIGN TASK task TO runner WITH ALL PEERS."""

    task: str
    taskrunner: str


@dataclass(frozen=True, slots=True)
class AssignTaskToTarget:
    """ASSIGN TASK task TO runner TARGET uid."""

    task: str
    taskrunner: str
    swop: str


@dataclass(frozen=True, slots=True)
class GetTaskRunnerInfo:
    """GET TASKRUNNER INFO runner."""

    taskrunner: str


@dataclass(frozen=True, slots=True)
class GetTaskRunnerStatus:
    """GET TASKRUNNER STATUS runner."""

    taskrunner: str


@dataclass(frozen=True, slots=True)
class GetTaskRunnerPeerStatus:
    """GET TASKRUNNER PEER STATUS runner peer."""

    taskrunner: str
    peer: int | str
    """Index, or UID."""


@dataclass(frozen=True, slots=True)
class ListTaskRunners:
    """LIST TASKRUNNERS."""


@dataclass(frozen=True, slots=True)
class ListTaskRunnerPeers:
    """LIST TASKRUNNER PEERS runner."""

    taskrunner: str


@dataclass(frozen=True, slots=True)
class ResetTaskRunner:
    """RESET TASKRUNNER runner."""

    taskrunner: str


# --- waiting and the rest


@dataclass(frozen=True, slots=True)
class WaitForTaskRunner:
    """WAIT FOR TASKRUNNER runner."""

    taskrunner: str


@dataclass(frozen=True, slots=True)
class WaitForIp:
    """WAIT FOR IP ip [port] [retries]."""

    ip: str
    port: int = API_PORT
    retries: int = WAIT_RETRIES


@dataclass(frozen=True, slots=True)
class WaitForService:
    """WAIT FOR SERVICE fqdn[:port] [retries]."""

    service: Address
    retries: int = WAIT_RETRIES


@dataclass(frozen=True, slots=True)
class Sleep:
    """SLEEP seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ListNodes:
    """LIST NODES."""


@dataclass(frozen=True, slots=True)
class ExitOnFailure:
    """EXIT ON FAILURE [ON/OFF]."""

    switch: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """EXIT."""


@dataclass(frozen=True, slots=True)
class ChangeDir:
    """CD dir."""

    dir: str


@dataclass(frozen=True, slots=True)
class PrintDir:
    """PWD."""


@dataclass(frozen=True, slots=True)
class ListDir:
    """LS [options]."""

    options: str = ""


@dataclass(frozen=True, slots=True)
class Help:
    """HELP [command]."""

    command: str = ""


Command = (
    CreateContext
    | CreateContextService
    | SwitchContext
    | GetContextInfo
    | GetContextEnv
    | SetContextEnv
    | ListContextEnv
    | GetContextVersion
    | ListContexts
    | CreateContract
    | GetContractInfo
    | GetContractStatus
    | ListContracts
    | PerfData
    | ResetContract
    | CreateTask
    | CreateTaskFrom
    | AppendTaskBody
    | FinalizeTask
    | DeleteTask
    | GetTaskInfo
    | GetTaskBody
    | ListTasks
    | CreateTaskRunner
    | AssignTask
    | AssignTaskToAll
    | AssignTaskToTarget
    | GetTaskRunnerInfo
    | GetTaskRunnerStatus
    | GetTaskRunnerPeerStatus
    | ListTaskRunners
    | ListTaskRunnerPeers
    | ResetTaskRunner
    | WaitForTaskRunner
    | WaitForIp
    | WaitForService
    | Sleep
    | ListNodes
    | ExitOnFailure
    | Exit
    | ChangeDir
    | PrintDir
    | ListDir
    | Help
)
