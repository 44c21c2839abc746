"""Task definitions: their YAML files, and their bodies as lines on the chain.

A body's lines are YAML, too: `body_lines` writes them, and `from_chain` reads what somebody typed
line by line with APPEND TASK BODY just as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jsonschema import Draft202012Validator

from services.common import task_checks, yaml_schema
from services.common.env_list import env_of
from services.common.errors import ConfigError
from services.common.placeholders import with_forgotten
from services.common.task_api import LONGEST_LINE, TaskInfo, TaskType
from services.common.task_body import (
    AuthFile,
    BuildType,
    ContentStep,
    ContentType,
    Credentials,
    MakeSwarmUserContent,
    MakeUserContainer,
    MountType,
    Operation,
    PullImage,
    RunSwarm,
    SharedContent,
    TaskBody,
)
from services.common.task_lines import lines_of
from services.common.yaml_fields import Fields
from services.common.yaml_schema import Problem
from services.common.yaml_text import Document, load
from services.common.yaml_tree import Path, Value

_SCHEMA = yaml_schema.load("services.common", "task.schema.json")


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task: header and body."""

    name: str
    type: TaskType
    author: str
    prereq: str
    outcome: str
    body: TaskBody


def parse(text: str, file_name: str) -> TaskDefinition:
    """Read a task definition file.

    Args:
        text: the file's content.
        file_name: what to call it in messages.

    Raises:
        ConfigError: it is no valid task definition; one line for each thing that is wrong.
    """
    document = load(text, file_name)
    yaml_schema.refuse(document, _of_schema(document, _SCHEMA))
    fields = Fields(document.value)
    type, outcome = TaskType(fields.text("TaskType")), fields.text("Outcome")
    body = _body(document, ("Body",), type, outcome)
    return TaskDefinition(
        fields.text("Name"), type, fields.text("Author"), fields.text("Prereq"), outcome, body
    )


def body_lines(definition: TaskDefinition) -> list[str]:
    """Return the body as YAML lines for the chain, each at most `LONGEST_LINE` bytes long."""
    return [line for line, _ in lines_of(definition.body)]


def from_chain(info: TaskInfo) -> TaskDefinition:
    """Read a task that the chain holds.

    Raises:
        ConfigError: its body is not valid for its type; lines are counted in the body.
    """
    document = load("\n".join(info.body), f"task {info.name}")
    value = document.value
    base: Path = ("Body",) if isinstance(value, dict) and list(value) == ["Body"] else ()
    if info.type is TaskType.ROOT_TASK:
        raise ConfigError(f"{info.name} is built in: it does nothing and cannot be executed")
    schema = yaml_schema.definition(_SCHEMA, info.type, "Body" if base else None)
    yaml_schema.refuse(document, _of_schema(document, schema))
    body = _body(document, base, info.type, info.outcome)
    return TaskDefinition(info.name, info.type, info.author, info.prereq, info.outcome, body)


def _of_schema(document: Document, schema: Draft202012Validator) -> list[Problem]:
    return with_forgotten(document.value, yaml_schema.check(document, schema))


def _body(document: Document, base: Path, type: TaskType, outcome: str) -> TaskBody:
    value = document.value
    if base:
        value = Fields(value).value["Body"]
    yaml_schema.refuse(document, list(task_checks.problems(value, base, type, outcome)))
    body = _READ[type](Fields(value))
    yaml_schema.refuse(document, list(_too_long(body, base)))
    return body


def _too_long(body: TaskBody, base: Path) -> Iterator[Problem]:
    for line, path in lines_of(body):
        length = len(line.encode())
        if length > LONGEST_LINE:
            text = f"is {length} bytes long on the chain; at most {LONGEST_LINE} are allowed"
            yield Problem((*base, *path), text)


def _run(fields: Fields) -> RunSwarm:
    shared = [Fields(item) for item in fields.listed("SharedContent")]
    return RunSwarm(
        fields.text("Command"),
        fields.text("Entrypoint"),
        fields.text("WorkingDir"),
        env_of(fields.listed("Envvars")),
        fields.optional("PrivateContent"),
        tuple(
            SharedContent(each.text("Src"), each.text("Tgt"), MountType(each.text("MType")))
            for each in shared
        ),
    )


def _build(fields: Fields) -> MakeUserContainer:
    type = BuildType(fields.text("BuildType"))
    return MakeUserContainer(fields.texts("BuildSteps"), type, fields.optional("BuildContext"))


def _content(fields: Fields) -> MakeSwarmUserContent:
    steps = tuple(_step(Fields(item)) for item in fields.listed("OpsList"))
    return MakeSwarmUserContent(ContentType(fields.text("ContentType")), steps)


def _step(fields: Fields) -> ContentStep:
    outs = [Fields(option).optional("Out") for option in fields.listed("Options")]
    out = next((each for each in reversed(outs) if each is not None), None)
    return ContentStep(Operation(fields.text("Operation")), fields.text("Target"), out)


def _pull(fields: Fields) -> PullImage:
    return PullImage(
        fields.text("Tag"),
        fields.text("RepoName"),
        fields.text("OrgAndReg"),
        _auth(fields.value.get("Auth")),
    )


def _auth(value: Value) -> Credentials | AuthFile | None:
    if value is None or isinstance(value, str):
        return AuthFile(value) if value else None
    fields = Fields(value)
    return Credentials(fields.text("Username"), fields.optional("Password") or "")


_READ: dict[TaskType, Callable[[Fields], TaskBody]] = {
    TaskType.RUN_SWARM: _run,
    TaskType.MAKE_USER_CONTAINER: _build,
    TaskType.MAKE_SWARM_USER_CONTENT: _content,
    TaskType.PULL_IMAGE: _pull,
}
