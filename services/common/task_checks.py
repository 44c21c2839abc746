"""What must hold in a task beyond its JSON Schema."""

import re
import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from services.common.task_api import TaskType
from services.common.yaml_fields import Fields
from services.common.yaml_schema import Problem, shown
from services.common.yaml_tree import Path, Value

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""Docker's grammar of image names."""
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")


def is_image(name: str) -> bool:
    """Whether Docker takes this as the name of an image."""
    return len(name) <= 255 and _IMAGE.fullmatch(name) is not None


def is_volume(name: str) -> bool:
    """Whether Docker takes this as the name of a volume; never a path."""
    return len(name) <= 255 and _VOLUME.fullmatch(name) is not None


def problems(body: Value, base: Path, type: TaskType, outcome: str) -> Iterator[Problem]:
    """Yield what is wrong with a body that fits its schema.

    Args:
        body: the mapping.
        base: where it stands in its document.
        type: the task's.
        outcome: the task's.
    """
    fields = Fields(body)
    yield from nul(body, base)
    match type:
        case TaskType.RUN_SWARM:
            yield from _run(fields, base)
        case TaskType.MAKE_USER_CONTAINER:
            yield from _build(fields, base)
            if not is_image(outcome):
                yield Problem(("Outcome",), f"{shown(outcome)} cannot be the name of an image")
        case TaskType.MAKE_SWARM_USER_CONTENT:
            yield from _content(fields, base)
            if not is_volume(outcome):
                yield Problem(("Outcome",), f"{shown(outcome)} cannot be the name of a volume")
        case TaskType.PULL_IMAGE:
            yield from _pull(fields, base)
        case TaskType.ROOT_TASK:
            yield Problem(base, "ROOTTASK is built in and has no body")


def mount_source(kind: str, source: str, path: Path) -> Iterator[Problem]:
    """Yield what is wrong with the source of a mount of kind BIND or VOLUME."""
    if kind == "BIND" and not source.startswith("/"):
        yield Problem(path, f"{shown(source)} is not an absolute path of the host, as BIND needs")
    elif kind == "VOLUME" and not is_volume(source):
        yield Problem(path, f"{shown(source)} is not the name of a volume, as VOLUME needs")


def nul(value: Value, path: Path) -> Iterator[Problem]:
    """Yield a problem for each text that holds NUL, which no file name or variable can."""
    if isinstance(value, str) and "\0" in value:
        yield Problem(path, "holds the character NUL")
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from nul(part, (*path, at))
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from nul(part, (*path, key))


def _run(fields: Fields, base: Path) -> Iterator[Problem]:
    for key in ("Command", "Entrypoint"):
        try:
            words = shlex.split(fields.text(key))
        except ValueError as exc:
            yield Problem((*base, key), f"a shell could not split it: {str(exc).lower()}")
        else:
            if not words and key == "Entrypoint":
                yield Problem((*base, key), "names no program")
    targets: set[str] = set()
    for at, item in enumerate(fields.listed("SharedContent")):
        shared, path = Fields(item), (*base, "SharedContent", at)
        yield from mount_source(shared.text("MType"), shared.text("Src"), (*path, "Src"))
        target = shared.text("Tgt").rstrip("/")
        if not target:
            yield Problem((*path, "Tgt"), "nothing can be mounted over / of the container")
        elif target in targets:
            yield Problem((*path, "Tgt"), f"{target} is a target already")
        targets.add(target)


def _build(fields: Fields, base: Path) -> Iterator[Problem]:
    steps = fields.texts("BuildSteps")
    if fields.text("BuildType") == "REMOTE" and not (len(steps) == 1 and _is_url(steps[0])):
        text = "BuildType REMOTE needs one item: the http or https URL of the Dockerfile"
        yield Problem((*base, "BuildSteps"), text)
    context = fields.optional("BuildContext")
    if context is not None and not is_volume(context):
        yield Problem((*base, "BuildContext"), f"{shown(context)} is not the name of a volume")


def _content(fields: Fields, base: Path) -> Iterator[Problem]:
    for at, item in enumerate(fields.listed("OpsList")):
        step, path = Fields(item), (*base, "OpsList", at)
        target = step.text("Target")
        if step.text("Operation") == "DOWNLOAD":
            if not _is_url(target):
                yield Problem((*path, "Target"), f"{shown(target)} is not an http or https URL")
        elif not _stays_inside(target):
            text = f"{shown(target)} is not an archive's path in the volume (relative, without ..)"
            yield Problem((*path, "Target"), text)
        for number, option in enumerate(step.listed("Options")):
            out = Fields(option).optional("Out")
            if out is not None and not _stays_inside(out):
                text = f"{shown(out)} is not a path in the volume (relative, without ..)"
                yield Problem((*path, "Options", number, "Out"), text)


def _pull(fields: Fields, base: Path) -> Iterator[Problem]:
    registry, repository = fields.text("OrgAndReg").rstrip("/"), fields.text("RepoName")
    image = f"{registry}/{repository}:{fields.text('Tag')}"
    if not is_image(image):
        yield Problem(base, f"OrgAndReg, RepoName and Tag make no image name: {shown(image)}")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    return good and not any(char.isspace() or char == "\\" for char in text)


def _stays_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/") and "\\" not in path
