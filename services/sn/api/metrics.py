"""``/metrics`` in Prometheus' text format."""

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from services.common.sn_api import Phase
from services.common.task_api import RunnerState, TaskPeerState
from services.sn.api.access import Sn

CONTENT_TYPE = "text/plain; version=0.0.4"
Sample = tuple[dict[str, str], float]


def router(sn: Sn) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["metrics"])

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse("".join(_families(sn)), media_type=CONTENT_TYPE)

    return routes


def _families(sn: Sn) -> Iterable[str]:
    now = sn.projection.now
    yield _gauge("swarm_block_number", "Newest block", [({}, now.head.number if now.head else 0)])
    yield _gauge(
        "swarm_transactions_pending", "Own, in no block yet", [({}, sn.projection.pending)]
    )
    yield _gauge("swarm_chain_rebuilds", "Reorganisations", [({}, max(0, sn.projection.rebuilds))])
    nodes = now.nodes.all()
    kinds = sorted({node.kind for node in nodes})
    alive: list[Sample] = [
        ({"kind": kind}, sum(node.kind is kind and node.alive for node in nodes)) for kind in kinds
    ]
    yield _gauge("swarm_nodes_alive", "Registered nodes that are alive", alive)
    trainings = [now.trainings[name] for name in sorted(now.trainings)]
    yield _gauge(
        "swarm_contract_round", "Open round", [({"contract": t.name}, t.round) for t in trainings]
    )
    phases = [
        ({"contract": t.name, "phase": phase}, float(t.phase is phase))
        for t in trainings
        for phase in Phase
    ]
    yield _gauge("swarm_contract_phase", "1 for the present phase", phases)
    runners = [now.runners[name] for name in sorted(now.runners)]
    states = [
        ({"taskrunner": r.name, "state": state}, float(r.state is state))
        for r in runners
        for state in RunnerState
    ]
    yield _gauge("swarm_taskrunner_state", "1 for the present state", states)
    peers = [
        ({"taskrunner": r.name, "state": state}, float(r.count(state)))
        for r in runners
        for state in TaskPeerState
    ]
    yield _gauge("swarm_taskrunner_peers", "Peers of the present run", peers)
    yield _gauge(
        "swarm_certificate_seconds_left", "Until this SN's certificate ends", [({}, sn.left_s())]
    )
    yield "# HELP swarm_transaction_seconds From sending a transaction to reading its effect\n"
    yield "# TYPE swarm_transaction_seconds summary\n"
    yield f"swarm_transaction_seconds_sum {sn.writer.seconds}\n"
    yield f"swarm_transaction_seconds_count {sn.writer.confirmed}\n"


def _gauge(name: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    lines += [f"{name}{_labels(labels)} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
