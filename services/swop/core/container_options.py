"""``usrcontaineropts``: Docker options of the ML containers (``compat/04`` section 3.4)."""

from collections.abc import Iterator, Sequence

from services.common.yaml_fields import Fields
from services.common.yaml_schema import Problem
from services.common.yaml_tree import Path, Value
from services.swop.core.engine import ContainerOptions, Gpus


def options_of(items: Sequence[Value]) -> ContainerOptions:
    """Return the options of a list of maps, one option in each or several."""
    merged: dict[str, Value] = {}
    for item in items:
        merged |= Fields(item).value
    fields = Fields(merged)
    size = fields.value.get("shm-size")
    return ContainerOptions(
        devices=fields.texts("device"),
        gpus=_gpus(fields.value.get("gpus")),
        ipc=fields.optional("ipc") or None,
        shm_size=None if size is None else str(size),
        group_add=fields.texts("group-add"),
        cap_add=fields.texts("cap-add"),
        security_opt=fields.texts("security-opt"),
        privileged=fields.value.get("privileged") is True,
    )


def option_problems(items: Sequence[Value], path: Path) -> Iterator[Problem]:
    """Yield a problem for each option that is given twice."""
    seen: set[str] = set()
    for at, item in enumerate(items):
        for key in Fields(item).value:
            if key in seen:
                yield Problem((*path, at, key), f"{key} is given above already")
            seen.add(key)


def _gpus(value: Value) -> Gpus | None:
    """Return what ``all``, a number, or ``device=0,1`` means, also with quotes inside."""
    if value is None:
        return None
    text = str(value).strip().strip('"')
    if text in ("all", "-1"):
        return Gpus(count=-1)
    ids = text.removeprefix("device=")
    if ids != text:
        return Gpus(ids=tuple(ids.split(",")))
    return Gpus(count=int(text)) if int(text) else None
