"""Commands about nodes and training contracts."""

from services.common.errors import NotFoundError
from services.common.sn_api import ContractSummary
from services.swci.adapters.session import Session, Talk, learn_sns
from services.swci.core import commands as c
from services.swci.core import shown_swarm as shown
from services.swci.core.reply import Reply, listed, success

REASON = "SWCI: RESET CONTRACT"
BROKEN_OFF = "WARNING - The training had not ended: it is broken off on all its peers"


async def create(session: Session, command: c.CreateContract, _talk: Talk) -> Reply:
    """CREATE CONTRACT name."""
    await session.sn.create_contract(command.name)
    return success(f"CONTRACT CREATED : {command.name}", data={"contract": command.name})


async def info(session: Session, command: c.GetContractInfo, _talk: Talk) -> Reply:
    """GET CONTRACT INFO name."""
    return shown.contract_info(_of(await session.sn.contracts(), command.contract))


async def status(session: Session, command: c.GetContractStatus, _talk: Talk) -> Reply:
    """GET CONTRACT STATUS name."""
    sn = session.sn
    view, last = (await sn.state(command.contract)).view, 0
    if (merged := view.merged) is not None:
        page = await sn.rounds_page(view.name, merged.round - 1, view.generation, 1)
        last = page.rounds[-1].time if page.rounds else 0
    created = _of(await sn.contracts(), command.contract).created
    return shown.contract_status(view, created, last)


def _of(summaries: list[ContractSummary], name: str) -> ContractSummary:
    for summary in summaries:
        if summary.name == name:
            return summary
    raise NotFoundError(f"no training contract {name}: LIST CONTRACTS shows those there are")


async def list_contracts(session: Session, _command: c.ListContracts, _talk: Talk) -> Reply:
    """LIST CONTRACTS."""
    found = await session.sn.contracts()
    return listed((row.name for row in found), "NO CONTRACTS")


async def perf_data(session: Session, command: c.PerfData, _talk: Talk) -> Reply:
    """PERFDATA name."""
    return shown.perf_data((await session.sn.state(command.contract)).view)


async def reset(session: Session, command: c.ResetContract, _talk: Talk) -> Reply:
    """RESET CONTRACT name: also one that is uninitialized already."""
    sn = session.sn
    before = (await sn.state(command.contract)).view
    await sn.reset(command.contract, REASON)
    broken_off = shown.trains(before)
    warning = [BROKEN_OFF] if broken_off else []
    data = {"contract": command.contract, "broken_off": broken_off}
    return success(f"CONTRACT RESET : {command.contract}", *warning, data=data)


async def list_nodes(session: Session, _command: c.ListNodes, _talk: Talk) -> Reply:
    """LIST NODES."""
    sn = session.sn
    found = await sn.nodes()
    learn_sns(sn, found)
    return shown.nodes(found)
