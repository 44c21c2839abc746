"""The summary that a human reads first; pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Mapping

_BAD = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL|Traceback|panic)\b|Exiting \w+\. Reason", re.MULTILINE
)
_LINES = 8
_KILLED = 137


@dataclass
class Node:
    """A container or process, as far as it is known."""

    name: str
    kind: str
    state: str = ""
    health: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False
    restarts: int = 0
    started: str = ""
    image: str = ""
    image_id: str = ""
    version: str = ""
    sources: str = ""
    """Digest of what all services share; empty where it is not built on that."""
    error: str = ""
    last_errors: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    """What is to be said of its certificates; empty where all is well."""

    @property
    def is_ill(self) -> bool:
        """Whether it runs, and its health check fails."""
        return self.state == "running" and self.health == "unhealthy"

    @property
    def failed(self) -> bool:
        """Whether it ended badly, or is ill."""
        if self.out_of_memory or self.is_ill or self.state in ("dead", "restarting"):
            return True
        return self.state in ("exited", "failed", "killed") and self.exit_code not in (0, None)

    @property
    def verdict(self) -> str:
        """How it is, in a word or two."""
        words = [self.state or "unknown"]
        words += [self.health] if self.state == "running" and self.health else []
        if self.state not in ("running", "created") and self.exit_code is not None:
            words.append(f"exit code {self.exit_code}")
        words += ["OUT OF MEMORY"] if self.out_of_memory else []
        words += [f"{self.restarts} restarts"] if self.restarts else []
        return ", ".join(words)


def node_of(container: Mapping[str, Any], name: str, kind: str, labels: Mapping[str, str]) -> Node:
    """What ``docker inspect`` tells of a container."""
    state = container.get("State") or {}
    return Node(
        name=name, kind=kind, state=str(state.get("Status", "")),
        health=str((state.get("Health") or {}).get("Status", "")),
        exit_code=state.get("ExitCode"), out_of_memory=bool(state.get("OOMKilled")),
        restarts=int(container.get("RestartCount") or 0),
        started=str(state.get("StartedAt", ""))[:19].replace("0001-01-01T00:00:00", ""),
        image=str((container.get("Config") or {}).get("Image", "")),
        image_id=str(container.get("Image", ""))[:19],
        version=labels.get("org.opencontainers.image.version", ""),
        sources=labels.get("swarm.base", ""), error=str(state.get("Error", "")),
    )  # fmt: skip


def last_errors(log: str) -> list[str]:
    """The last lines of a log that speak of errors."""
    lines = log.rstrip().split("\n")
    bad = [index for index, line in enumerate(lines) if _BAD.search(line)]
    return [lines[at][:400] for at in bad[-_LINES:]]


def last_lines(log: str, count: int = 5) -> list[str]:
    """The last lines of a log."""
    return [line[:400] for line in log.rstrip().split("\n")[-count:] if line.strip()]


def write(
    nodes: list[Node],
    host: Mapping[str, object],
    problems: list[str],
    removed: Mapping[str, int],
    now: datetime,
    notes: list[str],
) -> str:
    """The summary.

    Args:
        nodes: in the order in which they are shown.
        host: facts of the machine, as ``host.json`` has them.
        problems: what could not be had.
        removed: how many secrets of each kind were taken out.
        now: time of the collection.
        notes: further findings, e.g. of versions.
    """
    parts = [
        f"Swarm Learning, collected on {host.get('host')} at {now:%Y-%m-%d %H:%M:%S} UTC\n"
        f"our version {host.get('our_version')}, {host.get('system')}, kernel and more: host.json",
        _section("what runs", _table(nodes)),
        _section("what failed, and why", _failures(nodes)),
        _section("to look at", [*versions(nodes), *_certificates(nodes), *notes]),
        _section("could not be had", problems),
        _section(
            "secrets taken out",
            [f"{count} x {kind}" for kind, count in sorted(removed.items())]
            + ["Look through the archive yourself before you send it: what no rule knows, stays."],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def versions(nodes: list[Node]) -> list[str]:
    """What is to be said where images differ."""
    by_version: dict[str, list[str]] = defaultdict(list)
    by_sources: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.version:
            by_version[node.version].append(node.name)
        if node.sources:
            by_sources[node.sources[:12]].append(node.name)
    lines = []
    for what, found in (("versions", by_version), ("sources", by_sources)):
        if len(found) > 1:
            told = "; ".join(f"{key}: {', '.join(names)}" for key, names in sorted(found.items()))
            lines.append(f"images of different {what} ({told}): use the same on all hosts")
    return lines


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"== {title}", *(lines or ["nothing"])])


def _table(nodes: list[Node]) -> list[str]:
    if not nodes:
        return ["no container or process of a swarm was found here"]
    rows = [(n.name, n.kind, n.verdict, n.started, n.image) for n in nodes]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths)), row[4]]).rstrip()
        for row in rows
    ]


def _failures(nodes: list[Node]) -> list[str]:
    lines: list[str] = []
    for node in nodes:
        if not (node.failed or node.last_errors):
            continue
        lines.append(f"{node.name}: {node.verdict}" + (f": {node.error}" if node.error else ""))
        lines += [f"    {hint}" for hint in _hints(node)]
        lines += [f"    | {line}" for line in node.last_errors]
    return lines


def _hints(node: Node) -> list[str]:
    if node.out_of_memory:
        return ["do: give it more memory (docker --memory), or smaller batches or models"]
    if node.exit_code == _KILLED and node.state != "running":
        return ["it was killed (SIGKILL): by docker kill, or by the kernel for want of memory"]
    if node.is_ill:
        return ["it runs and does not answer on its port"]
    return []


def _certificates(nodes: list[Node]) -> list[str]:
    return [f"{node.name}: {text}" for node in nodes for text in node.certificates]
