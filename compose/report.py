"""What a run came to: who failed and why, whether all models are the same, and the ledger."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compose.plan import Kind, Layout
from compose.processes import Node, how_it_ended, last_lines

CAUSES = (Kind.LICENSE, Kind.SN, Kind.SL, Kind.ML, Kind.JOB)
"""Failures in the order in which one causes another."""

LOG_LINES = 12
"""How much of a failed node's log is shown."""
REASON = ". Reason: "
"""Before the words of a service's last line (``services.common.process``)."""
WORDS = 300
"""Most characters taken from a program's last line."""


@dataclass(slots=True)
class Result:
    """The outcome of one run."""

    run_dir: str
    reason: str = ""
    """Why the run was stopped early; empty where it ended by itself."""
    failures: dict[str, str] = field(default_factory=dict)
    """By node name: what happened to it."""
    digests: dict[str, str] = field(default_factory=dict)
    """By SL name: digest of the model that its node ended with."""
    rounds: int = 0
    """Published merges."""
    seconds: float = 0.0
    """From the start of the pairs to the end of the last."""
    signal: int = 0
    """The signal that ended it, if one did."""

    @property
    def same_model(self) -> bool:
        """Whether all nodes that finished hold byte-identical models."""
        return len(set(self.digests.values())) <= 1

    @property
    def exit_code(self) -> int:
        """0 only if nothing failed, nothing was cut short and all models are the same."""
        if self.signal:
            return 128 + self.signal
        return 1 if self.reason or self.failures or not self.same_model else 0


def read_results(layout: Layout, pairs: int) -> dict[str, dict[str, Any]]:
    """What each SL wrote about its end, by SL name; those that wrote nothing are missing."""
    found: dict[str, dict[str, Any]] = {}
    for index in range(1, pairs + 1):
        try:
            result = json.loads(layout.result(index).read_text())
        except (OSError, ValueError):
            continue
        if isinstance(result, dict):
            found[f"sl-{index}"] = result
    return found


def final_digests(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Digests of the SLs that completed; one that left early holds an older model by rights."""
    return {
        name: str(result.get("final_digest", ""))
        for name, result in results.items()
        if result.get("outcome") == "completed"
    }


def failures(
    nodes: Iterable[Node], results: Mapping[str, Mapping[str, Any]], found: Mapping[str, str]
) -> dict[str, str]:
    """Which nodes failed, and what happened to each.

    Args:
        nodes: all that were started.
        results: what the SLs wrote.
        found: failures noticed while running; their words are better than an exit code.
    """
    failed: dict[str, str] = {}
    for node in sorted(nodes, key=lambda node: CAUSES.index(node.plan.kind)):
        if node.name in found:
            failed[node.name] = found[node.name]
        elif node.failed:
            failed[node.name] = ": ".join(filter(None, (how_it_ended(node), last_words(node))))
        elif node.plan.kind is Kind.SL and not node.told:
            result = results.get(node.name, {})
            if result.get("outcome") == "left":
                failed[node.name] = f"left the swarm early: {result.get('reason', '')}"
    return failed


def last_words(node: Node) -> str:
    """Why a process says that it ended: a service's reason, or a program's last line.

    Empty for one that was killed, which had no time to say anything.
    """
    if node.exit_code is None or node.exit_code < 0:
        return ""
    lines = [line.strip() for line in last_lines(node.plan.log, LOG_LINES) if line.strip()]
    for line in reversed(lines):
        _, found, reason = line.partition(REASON)
        if found:
            return reason
    return lines[-1][:WORDS] if lines else ""


def describe(result: Result, layout: Layout) -> list[str]:
    """The last words of a run, line by line."""
    lines: list[str] = []
    for name, what in result.failures.items():
        lines.append(f"--- {name}: {what}. The end of {layout.log(name)}:")
        lines.extend(f"    {line}" for line in last_lines(layout.log(name), LOG_LINES))
    if not result.same_model:
        lines.append("ERROR: the nodes ended with DIFFERENT models:")
        lines.extend(f"    {name}: {digest}" for name, digest in result.digests.items())
    elif result.digests:
        digest = next(iter(result.digests.values()))
        lines.append(
            f"{len(result.digests)} nodes ended with the same model, byte for byte: {digest[:16]}"
        )
    for name, what in result.failures.items():
        lines.append(f"FAILED {name}: {what}")
    if result.reason:
        lines.append(f"STOPPED: {result.reason}")
    word = "failed" if result.exit_code else "done"
    lines.append(f"{word}: {result.rounds} rounds in {result.seconds:.1f} s; see {result.run_dir}")
    return lines
