"""Which function executes which command."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.swci.adapters import (
    contexts,
    contracts,
    folders,
    switches,
    taskrunners,
    tasks,
    waiting,
)
from services.swci.adapters.session import Session, Talk
from services.swci.core import commands as c
from services.swci.core.commands import Command
from services.swci.core.reply import Reply

Handler = Callable[[Session, Any, Talk], Awaitable[Reply]]

HANDLERS: Mapping[type[Command], Handler] = {
    c.CreateContext: contexts.create_context,
    c.CreateContextService: contexts.create_context_service,
    c.SwitchContext: contexts.switch_context,
    c.GetContextInfo: contexts.get_info,
    c.GetContextEnv: contexts.get_env,
    c.SetContextEnv: contexts.set_env,
    c.ListContextEnv: contexts.list_env,
    c.GetContextVersion: contexts.get_version,
    c.ListContexts: contexts.list_contexts,
    c.CreateContract: contracts.create,
    c.GetContractInfo: contracts.info,
    c.GetContractStatus: contracts.status,
    c.ListContracts: contracts.list_contracts,
    c.PerfData: contracts.perf_data,
    c.ResetContract: contracts.reset,
    c.ListNodes: contracts.list_nodes,
    c.CreateTask: tasks.create,
    c.CreateTaskFrom: tasks.create_from,
    c.AppendTaskBody: tasks.append,
    c.FinalizeTask: tasks.finalize,
    c.DeleteTask: tasks.delete,
    c.GetTaskInfo: tasks.info,
    c.GetTaskBody: tasks.body,
    c.ListTasks: tasks.list_tasks,
    c.CreateTaskRunner: taskrunners.create,
    c.AssignTask: taskrunners.assign,
    c.AssignTaskToAll: taskrunners.assign_all,
    c.AssignTaskToTarget: taskrunners.assign_target,
    c.GetTaskRunnerInfo: taskrunners.info,
    c.GetTaskRunnerStatus: taskrunners.status,
    c.GetTaskRunnerPeerStatus: taskrunners.peer_status,
    c.ListTaskRunners: taskrunners.list_runners,
    c.ListTaskRunnerPeers: taskrunners.list_peers,
    c.ResetTaskRunner: taskrunners.reset,
    c.WaitForTaskRunner: waiting.wait_for_runner,
    c.WaitForIp: waiting.wait_for_ip,
    c.WaitForService: waiting.wait_for_service,
    c.Sleep: waiting.sleep,
    c.ExitOnFailure: switches.exit_on_failure,
    c.Exit: switches.leave,
    c.Help: switches.show_help,
    c.ChangeDir: folders.change_dir,
    c.PrintDir: folders.print_dir,
    c.ListDir: folders.list_dir,
}
"""Of every command; a test compares it with the table."""

CHANGES_SESSION = (
    c.CreateContext,
    c.CreateContextService,
    c.SwitchContext,
    c.SetContextEnv,
    c.ExitOnFailure,
    c.Exit,
    c.ChangeDir,
)
"""Executed one at a time, where several clients share a session."""


async def perform(session: Session, command: Command, talk: Talk) -> Reply:
    """Execute a command. Raises what it fails with: SwarmError, OSError."""
    return await HANDLERS[type(command)](session, command, talk)
