"""How nodes and training contracts are shown."""

from collections.abc import Iterable

from services.common import sn_api as api
from services.common.ids import NodeKind
from services.common.sn_api import PeerState, Phase
from services.swci.core.reply import Reply, fields, success, when

NODES_HEADER = "NodeType, HostIP, Port, ContainerName, UUID, ParentUUID, i-am-alive"
"""First line of LIST NODES; ``plotTopology`` skips it and reads the columns by position."""
PERF_HEADER = "UID, ADMIN, LOSS, METRIC, TOTAL_EPOCHS, COMPLETED_EPOCHS"
RECENT_SECONDS = 600
"""LIST NODES shows a node that is lost or left for so long after its last sign of life; not an SN
that signed off."""
_ORDER = (NodeKind.SN, NodeKind.SWOP, NodeKind.SL)


def nodes(found: Iterable[api.NodeInfo]) -> Reply:
    """LIST NODES: ``NodeType, HostIP, Port, ContainerName, UUID, ParentUUID, i-am-alive``."""
    rows = [
        [
            "SENTINEL" if node.sentinel else node.kind.value, *_split(node.endpoint),
            node.container, node.uid, node.parent, when(node.last_seen),
        ]
        for node in recent(list(found))
    ]  # fmt: skip
    lines = [", ".join(cell.replace(",", "_") for cell in row) for row in rows]
    names = ("type", "host", "port", "container", "uid", "parent", "alive")
    return success(NODES_HEADER, *lines, data=[dict(zip(names, row, strict=True)) for row in rows])


def recent(found: list[api.NodeInfo]) -> list[api.NodeInfo]:
    """Those to list, SNs first: seen in the last 10 minutes, and the SNs of those.

    The present is the latest sign of life of any node: chain time is not our clock's.
    """
    now = max((node.last_seen for node in found), default=0)
    shown = {
        node.uid: node
        for node in found
        if node.kind in _ORDER
        and not (node.kind is NodeKind.SN and node.left)
        and (node.alive or now - node.last_seen <= RECENT_SECONDS)
    }
    parents = {node.parent for node in shown.values()}
    shown.update((node.uid, node) for node in found if node.uid in parents)
    return sorted(
        shown.values(),
        key=lambda n: (_ORDER.index(n.kind), not n.sentinel, n.container, n.uid),
    )


def _split(endpoint: str) -> tuple[str, str]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), port


def contract_info(summary: api.ContractSummary) -> Reply:
    """GET CONTRACT INFO: what never changes."""
    return fields(
        {
            "CONTRACT_NAME": summary.name, "CONTRACT_TYPE": summary.kind,
            "CONTRACT_ADDRESS": summary.address, "TS_CREATED": when(summary.created),
        }
    )  # fmt: skip


def contract_status(view: api.ContractView, created: int, last_merge: int) -> Reply:
    """GET CONTRACT STATUS. ROUND is the open one; of a training that has ended the last one.

    Args:
        view: the contract now.
        created: chain time of its registration.
        last_merge: chain time of its last published round; 0 without one.
    """
    terms = view.terms
    ready = progress(view)
    leader = next((p.container for p in view.peers if p.uid == view.leader), "")
    merged = view.merged.round if view.merged else 0
    shown = {
        "CONTRACT_NAME": view.name,
        "STATE": view.phase.value,
        "GENERATION": view.generation,
        "MIN_PEERS": terms.min_peers if terms else None,
        "PEERS": len(view.peers),
        "LIVE_PEERS": sum(peer.live for peer in view.peers),
        "COMPLETED_PEERS": sum(peer.state is not PeerState.TRAINING for peer in view.peers),
        "ROUND": merged if view.phase is Phase.COMPLETED else view.round,
        "MERGED_ROUNDS": merged,
        "LEADER": f"{view.leader} {leader}".strip(),
        "MERGE_METHOD": terms.merge_method if terms else None,
        "WAITING": f"{ready[0]}/{ready[1]}" if ready else None,
        "WAITING_FOR": view.waiting_for.removeprefix("waiting for "),
        "TS_CREATED": when(created),
        "TS_LAST_MERGE": when(last_merge),
    }
    data = {key.lower(): value for key, value in shown.items()}
    return fields(shown, data | {"leader": view.leader})


def progress(view: api.ContractView) -> tuple[int, int] | None:
    """How many of how many are there, of what the contract waits for; None: nothing to count."""
    live = [peer for peer in view.peers if peer.live]
    ready = sum(peer.checkin is not None for peer in live)
    if view.terms is None:
        return None
    if view.phase is Phase.CHECKIN:
        return ready, view.terms.min_peers
    if view.phase is Phase.QUORUM:
        return ready, len(live)
    if view.phase is Phase.MERGING and view.proposal is not None:
        return len(view.proposal.attested), view.terms.attestations
    return None


def trains(view: api.ContractView) -> bool:
    """Whether a training is under way, which a reset breaks off."""
    is_open = view.phase not in (Phase.UNINITIALIZED, Phase.COMPLETED)
    return is_open and any(p.live and p.state is PeerState.TRAINING for p in view.peers)


def perf_data(view: api.ContractView) -> Reply:
    """PERFDATA: a header, and a line for each peer; only the header before the training."""
    rows = [
        {
            "uid": peer.uid, "admin": "YES" if peer.may_lead else "NO",
            "loss": peer.perf.loss if peer.perf else None,
            "metric": peer.perf.metric if peer.perf else None,
            "total_epochs": peer.perf.total_epochs if peer.perf else None,
            "completed_epochs": peer.perf.epochs if peer.perf else None,
        }
        for peer in view.peers
    ]  # fmt: skip
    return success(PERF_HEADER, *(", ".join(map(_cell, row.values())) for row in rows), data=rows)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
