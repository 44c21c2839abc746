"""A plan as a script for ``sh`` that does the same; pure."""

from __future__ import annotations

import shlex

from compose.operate.plan import Container, Plan

INFO_FILE = "/tmp/container_info_file"  # noqa: S108 - HPE's, in the container
INFO_FORMAT = "{{.Id}}\n{{.Config.Image}}\n{{.Image}}"


def render(plan: Plan, docker: list[str]) -> str:
    """The script.

    Args:
        plan: what to do.
        docker: the words that begin each command.
    """
    begin = " ".join(map(shlex.quote, docker))
    lines = ["set -eu"]
    for container in plan.containers:
        lines += _make(container, begin)
    for each in order(plan):
        lines.append(f'{begin} container start "${each.role}"')
    if not plan.is_detached:
        lines.append(
            f'exec {begin} container start --attach --interactive "${plan.containers[0].role}"'
        )
    return "\n".join(lines) + "\n"


def order(plan: Plan) -> list[Container]:
    """What is started before one returns, or before one watches the node itself.

    An ML program waits for its SL's pipes, so that it may well come first.
    """
    return list(plan.containers if plan.is_detached else plan.containers[1:])


def _make(container: Container, begin: str) -> list[str]:
    words = " ".join(map(shlex.quote, container.create("\0")))
    words = words.replace(shlex.quote("--volumes-from=\0"), '--volumes-from="$sl"')
    role = container.role
    return [
        f"{role}=$({begin} {words})",
        "info=$(mktemp)",
        f'{begin} container inspect --format {shlex.quote(INFO_FORMAT)} "${role}" > "$info"',
        'chmod 644 "$info"',
        f'{begin} container cp "$info" "${role}":{INFO_FILE}',
        'rm "$info"',
    ]
