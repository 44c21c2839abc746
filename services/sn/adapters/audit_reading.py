"""A contract's history as an SN tells it, unverified: only blocks with events are read."""

from collections.abc import Sequence

from services.common.errors import NotFoundError
from services.sn.adapters import abi
from services.sn.adapters.audit_events import Events, address_text
from services.sn.adapters.audit_headers import Header, Json, read_header, take_bytes, take_number
from services.sn.adapters.audit_roots import read_log
from services.sn.adapters.audit_run import lookup
from services.sn.adapters.audit_seals import Seals, is_embedded
from services.sn.adapters.audit_source import Endpoint
from services.sn.adapters.audit_transactions import created_by
from services.sn.core import ledger
from services.sn.core.verdict import Violation


async def read_events(
    sn: Endpoint, contract: str, registry: str | None, *, with_tasks: bool = False
) -> Events:
    """The events of a contract and of the registries; of all task contracts, too, if asked for.

    Raises:
        NotFoundError: there is no such contract, or no registry is known.
        RemoteError: the SN does not answer.
    """
    registry = registry or await _registry(sn)
    at = await lookup(sn, registry, contract, "latest")
    nodes = await _nodes(sn, at)
    events = Events(contract, registry, nodes)
    head = await sn.head("latest")
    wanted = [registry, nodes, address_text(at)]
    if with_tasks:
        wanted += _task_contracts(await sn.logs(0, head.number, [registry]), head.number)
    logs = await sn.logs(0, head.number, wanted)
    blocks = await _blocks(sn, logs)
    for view in logs:
        number = take_number(view, "blockNumber", head.number)
        events.apply_log(read_log(view, number), blocks[number])
    if events.chronicle is None:
        raise NotFoundError(f"{sn.name} tells no event that registers {contract!r}")
    return events


def _task_contracts(logs: Sequence[Json], head: int) -> list[str]:
    """Addresses of the task contracts among the SwarmRegistry's entries."""
    found: list[str] = []
    for view in logs:
        entry = read_log(view, take_number(view, "blockNumber", head))
        event = abi.abi(abi.REGISTRY).event(entry.topics, entry.data)
        if isinstance(event, ledger.Registered) and abi.contract_of(event) in (
            abi.TASKS,
            abi.TASKRUNNER,
        ):
            found.append(event.at)
    return found


async def _registry(sn: Endpoint) -> str:
    genesis = await _header(sn, 0)
    if not is_embedded(genesis):
        raise NotFoundError(
            f"the chain of {sn.name} is not one of the embedded engine: name the SwarmRegistry "
            "with --registry"
        )
    return address_text(created_by(Seals(genesis).genesis_signer, 0))


async def _nodes(sn: Endpoint, training: str) -> str:
    """Address of the NodeRegistry, which a training contract tells."""
    call = {"to": training, "data": f"0x{abi.abi(abi.TRAINING).call('nodes').hex()}"}
    answer = await sn.call("eth_call", call, "latest")
    return address_text(take_bytes({"nodes": answer}, "nodes", 0, 32)[12:])


async def _header(sn: Endpoint, number: int) -> Header:
    (view,) = await sn.headers(number, number)
    return read_header(view, number)


async def _blocks(sn: Endpoint, logs: Sequence[Json]) -> dict[int, ledger.Block]:
    numbers = sorted({take_number(view, "blockNumber", 0) for view in logs})
    views = await sn.batch([("eth_getBlockByNumber", (hex(n), False)) for n in numbers])
    found: dict[int, ledger.Block] = {}
    for number, view in zip(numbers, views, strict=True):
        if view is None:
            raise Violation(number, "the block is missing", "nothing", "a block")
        block_hash = take_bytes(view, "hash", number, 32).hex()
        found[number] = ledger.Block(number, block_hash, take_number(view, "timestamp", number))
    return found
