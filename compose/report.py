"""What a run came to: who failed and why, whether all models are the same, and the ledger."""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compose.flow_plan import SWCI
from compose.plan import Kind, Layout
from compose.processes import Node, how_it_ended, last_lines
from compose.run_folder import shown
from services.common.ids import DEFAULT_CONTRACT

CAUSES = (Kind.LICENSE, Kind.SN, Kind.SWOP, Kind.SWCI, Kind.SL, Kind.ML, Kind.JOB)
"""Failures in the order in which one causes another; within the pairs it is the order of time."""

LOG_LINES = 12
"""How much of a failed node's log is shown."""
REASON = ". Reason: "
"""Before the words of a service's last line (``services.common.process``)."""
WORDS = 300
"""Most characters taken from a program's last line."""
PIPE_CLOSED = "closed its pipe"
"""What an SL says whose ML program ended (``services.sl.adapters.bridge``)."""
NO_TRAIN_END = "ended (exit code 0) without calling on_train_end()"
"""What to tell the user whose program ended well, but in the middle of the training."""


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
    ledger: str = ""
    """Why there is no ledger.json; empty where there is one."""

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


def rounds_of(results: Mapping[str, Mapping[str, Any]]) -> int:
    """How many rounds the SLs saw, by what they wrote."""
    return max((int(result.get("rounds", 0)) for result in results.values()), default=0)


def elsewhere(found: str, wanted: str) -> str:
    """Why a run is stopped whose programs train in contract ``found`` (empty: not known which)."""
    named = f" {found}" if found else ""
    option = found or "the name that they use"
    if found == DEFAULT_CONTRACT:
        option = f"{found} (or none: that is the default)"
    where = f"the contract{named}" if found else "another contract"
    return (
        f"the programs train in {where}, not in --contract {wanted}: pass "
        f"trainingContract={wanted!r} to SwarmCallback ({{contract}} in the program's words is "
        f"that name), or --contract {option}"
    )


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
    nodes = list(nodes)
    deserted = _deserted(nodes, results)
    words = {node.name: _failure(node, results, found, deserted) for node in nodes}
    failed = [node for node in nodes if words[node.name]]
    return {node.name: words[node.name] for node in sorted(failed, key=_order(failed))}


def _failure(
    node: Node, results: Mapping[str, Mapping[str, Any]], found: Mapping[str, str],
    deserted: Container[int],
) -> str:  # fmt: skip
    """What happened to a node; empty where it did not fail."""
    if node.name in found:
        return found[node.name]
    if node.failed:
        return end_of(node)
    if node.told:
        return ""
    result = results.get(node.name, {})
    if node.plan.kind is Kind.SL and result.get("outcome") == "left":
        return f"left the swarm early: {result.get('reason', '')}"
    if node.plan.kind is Kind.ML and node.plan.index in deserted and node.exit_code == 0:
        return NO_TRAIN_END
    return ""


def _deserted(nodes: Iterable[Node], results: Mapping[str, Mapping[str, Any]]) -> set[int]:
    """Pairs whose SL failed because its ML program ended before the training did."""
    return {
        node.plan.index
        for node in nodes
        if node.plan.kind is Kind.SL and node.failed and PIPE_CLOSED in last_words(node)
        and results.get(node.name, {}).get("outcome") != "completed"
    }  # fmt: skip


def _order(failed: Iterable[Node]) -> Callable[[Node], tuple[float, ...]]:
    """Sort key: license server and SNs, then pair by pair in the order of time, then jobs."""
    first: dict[int, float] = {}
    for node in failed:
        ended, index = node.ended, node.plan.index
        first[index] = min(first.get(index, ended), ended)

    def key(node: Node) -> tuple[float, ...]:
        index = node.plan.index
        if index:
            return (CAUSES.index(Kind.SL), first[index], index, node.ended)
        return (CAUSES.index(node.plan.kind),)

    return key


def end_of(node: Node) -> str:
    """How a node ended, and its last words."""
    return ": ".join(filter(None, (how_it_ended(node), last_words(node))))


def last_words(node: Node) -> str:
    """Why a process says that it ended: a service's reason, or a program's last line.

    Empty for one that was killed, which had no time to say anything.
    """
    if node.exit_code is None or node.exit_code < 0:
        return ""
    last = last_lines(node.plan.log, LOG_LINES, node.log_from)
    lines = [line.strip() for line in last if line.strip()]
    for line in reversed(lines):
        _, found, reason = line.partition(REASON)
        if found:
            return reason
    return lines[-1][:WORDS] if lines else ""


def describe(result: Result, layout: Layout) -> list[str]:
    """The last words of a run, line by line."""
    lines: list[str] = []
    for name, what in result.failures.items():
        if name == SWCI or _follows(name, result.failures):
            continue  # all that SWCI printed was told meanwhile
        lines.append(f"--- {name}: {what}. The end of {shown(layout.log(name))}:")
        lines.extend(f"    {line}" for line in last_lines(layout.log(name), LOG_LINES))
    if not result.same_model:
        lines.append("ERROR: the nodes ended with DIFFERENT models:")
        lines.extend(f"    {name}: {digest}" for name, digest in result.digests.items())
    elif result.digests:
        digest = next(iter(result.digests.values()))
        lines.append(
            f"{count(len(result.digests), 'node')} ended with the same model, byte for byte: "
            f"{digest[:16]}"
        )
    for name, what in result.failures.items():
        lines.append(f"FAILED {name}: {what}")
    if result.reason:
        lines.append(f"STOPPED: {result.reason}")
    if result.ledger:
        lines.append(result.ledger)
    word = "failed" if result.exit_code else "done"
    rounds, run_dir = count(result.rounds, "round"), shown(layout.run)
    lines.append(f"{word}: {rounds} in {result.seconds:.1f} s; see {run_dir}")
    return lines


def _follows(name: str, failed: Iterable[str]) -> bool:
    """Whether the other half of its pair failed first, so that its log says nothing new."""
    kind, _, index = name.partition("-")
    other = {"sl": f"ml-{index}", "ml": f"sl-{index}"}.get(kind)
    order = list(failed)
    return other in order and order.index(other) < order.index(name)


def count(number: int, what: str) -> str:
    """A number with its noun, e.g. ``1 node``, ``2 nodes``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
