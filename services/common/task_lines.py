"""A task body as YAML lines: one scalar a line, never folded, all text in double quotes.

So a line can be read, appended and compared alone, and no text can be taken for something else.
"""

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

from services.common.env_list import Env
from services.common.task_body import (
    AuthFile,
    ContentStep,
    Credentials,
    MakeSwarmUserContent,
    MakeUserContainer,
    PullImage,
    RunSwarm,
    SharedContent,
    TaskBody,
)
from services.common.yaml_tree import Path, Value

Lines: TypeAlias = Iterator[tuple[str, Path]]
"""Lines, each with the path of the value that it holds."""

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is and YAML or the chain's API does not take."""


def lines_of(body: TaskBody) -> Lines:
    """Yield the lines of a body."""
    yield from _mapping(_value(body), "", ())


def _value(body: TaskBody) -> dict[str, Value]:
    match body:
        case RunSwarm():
            return {
                "Command": body.command,
                "Entrypoint": body.entrypoint,
                "WorkingDir": body.working_dir,
                "Envvars": _env(body.envvars),
                "PrivateContent": body.private_content,
                "SharedContent": [_shared(each) for each in body.shared_content] or None,
            }
        case MakeUserContainer():
            return {
                "BuildContext": body.build_context,
                "BuildType": str(body.build_type),
                "BuildSteps": list(body.build_steps),
            }
        case MakeSwarmUserContent():
            return {
                "ContentType": str(body.content_type),
                "OpsList": [_step(step) for step in body.steps],
            }
        case PullImage():
            return {
                "Tag": body.tag,
                "RepoName": body.repo_name,
                "OrgAndReg": body.org_and_reg,
                "Auth": _auth(body.auth),
            }


def _env(env: Env) -> Value:
    return [{name: value} for name, value in env] or None


def _shared(shared: SharedContent) -> Value:
    return {"Src": shared.src, "Tgt": shared.tgt, "MType": str(shared.mtype)}


def _step(step: ContentStep) -> Value:
    options: Value = [{"Out": step.out}] if step.out is not None else None
    return {"Operation": str(step.operation), "Target": step.target, "Options": options}


def _auth(auth: Credentials | AuthFile | None) -> Value:
    if isinstance(auth, Credentials):
        return {"Username": auth.username, "Password": auth.password}
    return auth.path if auth else None


def _mapping(value: dict[str, Value], indent: str, path: Path) -> Lines:
    for key, part in value.items():
        yield from _entry(f"{indent}{key}:", part, indent, (*path, key))


def _entry(start: str, value: Value, indent: str, path: Path) -> Lines:
    if isinstance(value, dict):
        yield start, path
        yield from _mapping(value, indent + "  ", path)
    elif isinstance(value, list):
        yield start, path
        for at, item in enumerate(value):
            yield from _item(item, indent, (*path, at))
    else:
        yield f"{start} {_scalar(value)}", path


def _item(value: Value, indent: str, path: Path) -> Lines:
    if not isinstance(value, dict):
        yield f"{indent}- {_scalar(value)}", path
        return
    mark = "- "
    for line, inner in _mapping(value, indent + "  ", path):
        yield indent + mark + line[len(indent) + 2 :], inner
        mark = "  "


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    assert isinstance(value, str)
    return _UNPRINTABLE.sub(
        lambda char: f"\\u{ord(char[0]):04x}", json.dumps(value, ensure_ascii=False)
    )
