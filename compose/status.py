"""Per node: kind, name, PID, UID, ports, state, round, leader or not; as rows, table and JSON."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compose import certs_check
from compose.plan import LOOPBACK, SENTINEL, Kind
from compose.processes import Node, State
from compose.progress import waiting_words
from compose.run_folder import is_running, read_state, shown
from services.common.errors import SwarmError
from services.common.ids import NodeKind
from services.common.sn_api import ContractView, Phase
from services.common.sn_client import SnClient

Row = dict[str, Any]
COLUMNS = ("name", "kind", "state", "pid", "ports", "round", "leader", "uid")


def row(node: Node) -> Row:
    """What the composition itself knows of a node."""
    plan = node.plan
    return {
        "name": plan.name, "kind": plan.kind.value, "state": node.state.value,
        "pid": node.process.pid, "uid": plan.uid, "ports": dict(plan.ports),
        "exit_code": node.exit_code, "stopped": node.told, "log": str(plan.log),
        "sentinel": plan.name == SENTINEL, "restarts": node.restarts,
        "round": 0, "rounds": 0, "leader": False,
    }  # fmt: skip


def with_view(rows: Iterable[Row], view: ContractView | None) -> list[Row]:
    """Rows with what the contract says of each SL.

    ``round`` is the round that is open to the peer, ``rounds`` how many published ones it is part
    of, ``leader`` whether it leads the open round (nobody does before the quorum).
    """
    peers = {peer.uid: peer for peer in view.peers} if view is not None else {}
    filled: list[Row] = []
    for one in rows:
        peer = peers.get(one["uid"])
        if peer is None or view is None:
            filled.append(one)
            continue
        leader = view.leader == peer.uid
        filled.append({**one, "round": view.round, "rounds": peer.rounds, "leader": leader})
    return filled


def summary(view: ContractView | None) -> dict[str, Any]:
    """The contract in a few words."""
    if view is None:
        return {"phase": "", "round": 0, "leader": "", "waiting_for": "", "waiting": ""}
    return {
        "phase": view.phase.value, "round": view.round, "leader": view.leader,
        "waiting_for": view.waiting_for, "waiting": waiting(view),
    }  # fmt: skip


def waiting(view: ContractView) -> str:
    """``n/m`` while n of the m peers that a round needs have checked in; else empty."""
    if view.phase is not Phase.CHECKIN or view.terms is None:
        return ""
    ready = sum(peer.live and peer.checkin is not None for peer in view.peers)
    return f"{ready}/{view.terms.min_peers}"


async def read(run_dir: Path) -> dict[str, Any]:
    """The status of a run: its state file, brought up to date by an SN while it runs.

    Raises:
        NotFoundError: ``run_dir`` is no run folder.
    """
    state = read_state(run_dir)
    if not is_running(run_dir):
        return _ended(state)
    view = await _ask(state)
    if view is not None:
        state["nodes"] = with_view(state["nodes"], view)
        state["contract"] = {**state["contract"], **summary(view)}
    return state


def _ended(state: dict[str, Any]) -> dict[str, Any]:
    """A run whose composition is gone; if it was killed, the state file still says running."""
    if state["state"] != "finished":
        state["state"] = "killed"
        for one in state["nodes"]:
            if one["state"] != "exited":
                one["state"] = "gone"
    return state


async def _ask(state: Mapping[str, Any]) -> ContractView | None:
    try:
        client = SnClient(
            certs_check.load(Path(state["certs"]), "swci-1", NodeKind.SWCI),
            _apis(state),
            patience=0,
        )
        try:
            return (await client.state(state["contract"]["name"])).view
        finally:
            await client.close()
    except SwarmError:
        return None


def running_sns(state: Mapping[str, Any]) -> list[str]:
    """API addresses of the SNs that run."""
    return [
        f"{LOOPBACK}:{one['ports']['api']}"
        for one in state["nodes"]
        if one["kind"] == Kind.SN and one["state"] == State.RUNNING
    ]


def _apis(state: Mapping[str, Any]) -> list[str]:
    """API addresses of the SNs, those that run first."""
    running = {one["ports"].get("api") for one in state["nodes"] if one["state"] == State.RUNNING}
    return [
        f"{LOOPBACK}:{port}" for port in sorted(state["sn_apis"], key=lambda p: p not in running)
    ]


def table(state: Mapping[str, Any]) -> list[str]:
    """The status for people."""
    contract = state["contract"]
    head = f"{shown(Path(state['run_dir']))}: {state['state']}; "
    head += f"contract {contract['name']} {contract['phase']}"
    if contract.get("waiting"):
        head += f", WAITING {contract['waiting']}"
    if contract["waiting_for"]:
        names = {one["uid"]: one["name"] for one in state["nodes"] if one["uid"]}
        head += f", {waiting_words(contract['waiting_for'], names)}"
    if state.get("chain"):
        head += f"; {state['chain']}"
    cells = [[_cell(one, column) for column in COLUMNS] for one in state["nodes"]]
    return [head, *columns([[name.upper() for name in COLUMNS], *cells])]


def columns(cells: Sequence[Sequence[str]]) -> list[str]:
    """Cells as lines, padded to columns."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _cell(one: Mapping[str, Any], column: str) -> str:
    value = one[column]
    if column == "state" and value == "exited":
        return f"exited {one['exit_code']}"
    if column == "kind" and one.get("sentinel"):
        return f"{value} sentinel"
    if column == "ports":
        return " ".join(f"{name}:{port}" for name, port in value.items())
    if column == "leader":
        return "leader" if value else ""
    if column == "round":
        return str(value) if one["kind"] == Kind.SL else ""
    return str(value)
