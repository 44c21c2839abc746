"""The commands of ``Swci`` about tasks and taskrunners."""

import time
from pathlib import Path

from swarmlearning._swci_answer import NO_ANSWER, CommandError, value_of
from swarmlearning._swci_session import ANSWER_S, Session
from swarmlearning._swci_transport import TransportError

DEFAULT_TASKRUNNER = "defaulttaskbb.taskdb.sml.hpe"
COMPLETE = "COMPLETE"
DONE = frozenset((COMPLETE, "ERROR", "IDLE"))
"""States in which a taskrunner does not work."""
_LIST = "list tasks"


class TaskCommands(Session):
    """Tasks and taskrunners; see :class:`swarmlearning.swci.Swci`."""

    def uploadTaskDefinition(self, taskFilePath: str) -> str:
        """Put a local file into SWCI's current folder.

        Args:
            taskFilePath: a YAML file; SWCI keeps its bare name.

        Returns:
            What SWCI says, also where it refuses; :meth:`getErrors` tells the difference.

        Raises:
            RuntimeError: there is no such file.
        """
        path = Path(taskFilePath)
        if not path.is_file():
            raise RuntimeError(f"Task definition file {taskFilePath} does not exist!")
        try:
            status, body = self._transport.upload(path.name, path.read_bytes(), ANSWER_S)
        except TransportError as exc:
            text = f"{NO_ANSWER}: {exc}"
            self._failed(text)
            return text
        text = body.decode(errors="replace")
        self._error = None
        if status >= 400:
            self._failed(text)
        return text

    uploadTaskDefintion = uploadTaskDefinition  # noqa: N815 - HPE's spelling
    """HPE's name of :meth:`uploadTaskDefinition`."""

    def createTaskFrom(self, taskDefFile: str) -> list[str]:
        """Create a task from a file in the current folder of SWCI; see :meth:`finalizeTask`."""
        self._forget(_LIST)
        return self._run(f"create task from {taskDefFile}")

    def registerTask(self, taskDefFile: str, finalize: bool = True) -> list[str]:
        """Create a task from a file, and finalize it.

        Returns:
            ``['Registered Task : NAME']``, or ``[]`` where one of the steps failed.
        """
        created = self.createTaskFrom(taskDefFile)
        if not created:
            return []
        try:
            name = value_of("Task Registered", created)
        except CommandError as exc:
            return self._failed(str(exc))
        if finalize and not self.finalizeTask(name):
            return []
        return [f"Registered Task : {name}"]

    def finalizeTask(self, taskName: str) -> list[str]:
        """Make a task final; only then it can be assigned."""
        self._changes(taskName)
        return self._run(f"finalize task {taskName}")

    def deleteTask(self, taskName: str) -> list[str]:
        """Delete a task that is not final."""
        self._changes(taskName)
        return self._run(f"delete task {taskName}")

    def getTaskInfo(self, taskName: str) -> list[str]:
        """Type, author, prerequisite, outcome and whether it is final; cached."""
        return self._kept(f"get task info {taskName}")

    def getTaskBody(self, taskName: str) -> list[str]:
        """The text of a task; cached."""
        return self._kept(f"get task body {taskName}")

    def listTasks(self) -> list[str]:
        """All tasks; cached."""
        return self._kept(_LIST)

    def assignTask(
        self,
        taskName: str,
        trName: str,
        peers: int | str | None = None,
        target: str | None = None,
    ) -> list[str]:
        """Let a taskrunner run a task.

        Args:
            taskName: a final task.
            trName: the taskrunner.
            peers: how many must complete: SL/ML pairs for RUN_SWARM, else SWOPs; ours: ``"all"``.
            target: ours: the UID of one SWOP instead of ``peers``.

        Raises:
            RuntimeError: neither or both of ``peers`` and ``target`` are given.
        """
        if (peers is None) == (target is None):
            raise RuntimeError("assignTask needs either peers (a number or 'all') or target")
        whom = f"target {target}" if peers is None else f"with {peers} peers"
        return self._run(f"assign task {taskName} to {trName} {whom}")

    def isTaskDone(self, trName: str) -> bool:
        """Whether a taskrunner does not work (any more): COMPLETE, ERROR or IDLE.

        Raises:
            RuntimeError: its status cannot be read.
        """
        return self._state(trName) in DONE

    def waitForTask(
        self,
        trName: str = DEFAULT_TASKRUNNER,
        timeoutInSec: float | None = None,
        pollWaitInSec: float = 5,
    ) -> str:
        """Ours: wait until a taskrunner does not work any more.

        Returns:
            ``COMPLETE``, ``ERROR``, or ``IDLE`` where it was reset.

        Raises:
            RuntimeError: its status cannot be read, or the time is over.
        """
        end = None if timeoutInSec is None else time.monotonic() + timeoutInSec
        while (state := self._state(trName)) not in DONE:
            if end is not None and time.monotonic() >= end:
                raise RuntimeError(f"{trName} is still {state} after {timeoutInSec} seconds")
            time.sleep(pollWaitInSec)
        return state

    def executeTask(
        self,
        taskName: str,
        trName: str = DEFAULT_TASKRUNNER,
        peers: int = 1,
        pollWaitInSec: float = 120,
        resetTROnSuccess: bool = True,
    ) -> list[str]:
        """Assign a task, wait for its end, and reset the taskrunner where it completed.

        Args:
            taskName: a final task.
            trName: the taskrunner; IDLE.
            peers: as in :meth:`assignTask`.
            pollWaitInSec: seconds between two looks at its state.
            resetTROnSuccess: whether to reset it.

        Returns:
            Its status and that of its peers, or ``[]`` where something failed; then
            :meth:`getErrors` says what, and the taskrunner is left as it is.

        Raises:
            RuntimeError: the status cannot be read while it waits.
        """
        if not self.assignTask(taskName, trName, peers):
            return []
        while not self.isTaskDone(trName):
            time.sleep(pollWaitInSec)
        status = self.getTaskRunnerStatus(trName)
        if not status:
            return []
        report = list(status)
        for index in range(peers):
            report += self.getTaskRunnerPeerStatus(trName, index)
        if (state := value_of("TASK_STATE", status)) != COMPLETE:
            text = "\n".join(report)
            return self._failed(f"ERROR : {taskName} on {trName} ended as {state}:\n{text}")
        if resetTROnSuccess and not self.resetTaskRunner(trName):
            return []
        self._error = None
        return report

    def getTaskRunnerInfo(self, trName: str) -> list[str]:
        """What never changes about a taskrunner; cached."""
        return self._kept(f"get taskrunner info {trName}")

    def getTaskRunnerStatus(self, trName: str) -> list[str]:
        """Task, state and peers of a taskrunner."""
        return self._run(f"get taskrunner status {trName}")

    def getTaskRunnerPeerStatus(self, trName: str, idx: int) -> list[str]:
        """Status of one enrolled SWOP, counted from 0."""
        return self._run(f"get taskrunner peer status {trName} {idx}")

    def listTaskRunners(self) -> list[str]:
        """All taskrunners; cached."""
        return self._kept("list taskrunners")

    def resetTaskRunner(self, trName: str = DEFAULT_TASKRUNNER) -> list[str]:
        """Bring a taskrunner back to IDLE; its SWOPs remove their containers."""
        return self._run(f"reset taskrunner {trName}")

    def _changes(self, task: str) -> None:
        self._forget(_LIST, f"get task info {task}", f"get task body {task}")

    def _state(self, runner: str) -> str:
        status = self.getTaskRunnerStatus(runner)
        if not status:
            raise RuntimeError(self._error)
        try:
            return value_of("TASK_STATE", status)
        except CommandError as exc:
            raise RuntimeError(str(exc)) from exc
