"""Commands about tasks."""

import asyncio
from pathlib import Path

from services.common.errors import ConfigError, SwarmError
from services.common.ids import is_contract_name
from services.common.task_api import LINES_AT_ONCE, BodyLines, TaskHeader, TaskType
from services.common.task_definition import TaskDefinition, body_lines, from_chain, parse
from services.swci.adapters.session import Session, Talk, new_request, to_the_end
from services.swci.core import commands as c
from services.swci.core import shown_tasks as shown
from services.swci.core.reply import Reply, listed, success

LONGEST_FILE = 1024 * 1024
"""Bytes of a task file."""


async def create(session: Session, command: c.CreateTask, _talk: Talk) -> Reply:
    """CREATE TASK type name author prereq outcome: the header alone."""
    await _register(
        session, command.name, command.type, command.author, command.prereq, command.outcome
    )
    return success(f"Task Registered : {command.name}", data={"task": command.name})


async def create_from(session: Session, command: c.CreateTaskFrom, talk: Talk) -> Reply:
    """CREATE TASK FROM file: header and body; where the body fails the header is deleted again."""
    path = session.cwd / command.file
    text = await asyncio.to_thread(_read, path)
    definition = parse(text, command.file)
    lines = body_lines(definition)
    talk.line("Task definition is valid")
    await to_the_end(_put(session, definition, lines, talk))
    return Reply((), {"task": definition.name, "lines": len(lines)})


async def _put(session: Session, definition: TaskDefinition, lines: list[str], talk: Talk) -> None:
    await _register(
        session, definition.name, TaskType(definition.type), definition.author, definition.prereq,
        definition.outcome,
    )  # fmt: skip
    talk.line(f"Task Registered : {definition.name}")
    talk.line("Appending Task Body")
    try:
        for start in range(0, len(lines), LINES_AT_ONCE):
            batch = lines[start : start + LINES_AT_ONCE]
            await session.swarm.tasks.append(
                definition.name, BodyLines(first=start + 1, lines=batch)
            )
            talk.line(f"batch start : {start + 1} , len : {len(batch)} Successful")
    except SwarmError as exc:
        gone = await _delete_quietly(session, definition.name)
        raise type(exc)(
            f"the body of task {definition.name} was refused: {exc}. {gone}", exc.code
        ) from exc


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigError(f"no file {path}: PWD shows where relative paths start", "not-found")
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
        if len(content) > LONGEST_FILE:
            raise ConfigError(f"{path} is longer than {LONGEST_FILE} bytes: no task is")
        return content.decode()
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot read {path} as text: {exc}") from exc


async def _register(
    session: Session, name: str, kind: TaskType, author: str, prereq: str, outcome: str
) -> None:
    if not is_contract_name(name):
        raise ConfigError(f"a task cannot have the name {name}: choose another one")
    header = TaskHeader(
        name=name, type=kind, author=author, prereq=prereq, outcome=outcome, request=new_request()
    )
    await session.swarm.tasks.create_task(header)


async def _delete_quietly(session: Session, name: str) -> str:
    """Delete what a failed CREATE TASK FROM left; what to tell of it."""
    try:
        await session.swarm.tasks.delete(name)
    except SwarmError as exc:
        return f"It stays registered without its body ({exc}): DELETE TASK {name}"
    return "It is deleted again"


async def append(session: Session, command: c.AppendTaskBody, _talk: Talk) -> Reply:
    """APPEND TASK BODY task idx text."""
    body = BodyLines(first=command.idx, lines=[command.text])
    await session.swarm.tasks.append(command.task, body)
    return success(
        f"batch start : {command.idx} , len : 1 Successful",
        data={"task": command.task, "line": command.idx},
    )


async def finalize(session: Session, command: c.FinalizeTask, _talk: Talk) -> Reply:
    """FINALIZE TASK task: only with a body that SWOPs will understand."""
    tasks = session.swarm.tasks
    task = await tasks.task(command.task)
    if not task.finalized:
        from_chain(task)
        await tasks.finalize(command.task)
    return success(f"TASK FINALIZED : {command.task}", data={"task": command.task})


async def delete(session: Session, command: c.DeleteTask, _talk: Talk) -> Reply:
    """DELETE TASK task."""
    await session.swarm.tasks.delete(command.task)
    return success(f"TASK DELETED : {command.task}", data={"task": command.task})


async def info(session: Session, command: c.GetTaskInfo, _talk: Talk) -> Reply:
    """GET TASK INFO task."""
    return shown.task_info(await session.swarm.tasks.task(command.task))


async def body(session: Session, command: c.GetTaskBody, _talk: Talk) -> Reply:
    """GET TASK BODY task."""
    return shown.task_body(await session.swarm.tasks.task(command.task))


async def list_tasks(session: Session, _command: c.ListTasks, _talk: Talk) -> Reply:
    """LIST TASKS."""
    return listed((task.name for task in await session.swarm.tasks.tasks()), "NO TASKS")
