"""The contracts that a swarm has from the start; the sentinel makes them, one after another."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from services.common.errors import ChainUnavailableError, ConfigError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT
from services.common.task_api import DEFAULT_TASKRUNNER
from services.sn.adapters.projection import Projection
from services.sn.adapters.system import SystemContracts
from services.sn.adapters.tasks import TaskRunners, Tasks
from services.sn.adapters.trainings import Trainings
from services.sn.core import ledger
from services.sn.core.read_model import ReadModel
from services.sn.core.tasks import TASK_REGISTRY

log = logging.getLogger("swarm.SN")

FROM_THE_START = {
    DEFAULT_CONTRACT: ledger.TRAINING_KIND,
    TASK_REGISTRY: ledger.SYSTEM_KIND,
    DEFAULT_TASKRUNNER: ledger.TASKRUNNER_KIND,
}
"""Names and kinds, in the order in which they are made."""
RETRY_S = 1.0
"""Pause after no block took a write."""


def missing(now: ReadModel) -> list[str]:
    """Names of the contracts that are not there yet.

    Raises:
        ConfigError: the name of one is another thing's, for ever.
    """
    named = now.directory.contracts
    for name, kind in FROM_THE_START.items():
        if name in named and named[name].kind != kind:
            raise ConfigError(
                f"on this chain {name} is the name of something else: it was made with an older "
                "version, which did not keep that name free. Begin a new swarm: stop all SNs, and "
                "empty or rename their data folders (SN_DATA_DIR)"
            )
    return [name for name in FROM_THE_START if name not in named]


def waits_for(now: ReadModel) -> str:
    """What an SN that is not the sentinel waits for, in words."""
    names = missing(now)
    if DEFAULT_CONTRACT in names:
        return "the contracts"
    return (
        f"{' and '.join(names)}, which the sentinel makes at its start. If its version is older "
        "than this one's, it does not: start the sentinel with this version, too"
    )


async def found(
    projection: Projection,
    system: SystemContracts,
    trainings: Trainings,
    tasks: Tasks,
    runners: TaskRunners,
) -> None:
    """Make what is missing.

    Whenever this is broken off, the next start goes on: nothing is named before it is there, and
    what was not named is made anew.

    Raises:
        ConfigError: as :func:`missing`.
        ProtocolError: the registry refuses a name.
    """
    await system.deploy()
    make: dict[str, Callable[[], Awaitable[None]]] = {
        DEFAULT_CONTRACT: lambda: trainings.create(DEFAULT_CONTRACT),
        TASK_REGISTRY: tasks.deploy,
        DEFAULT_TASKRUNNER: lambda: runners.create(DEFAULT_TASKRUNNER),
    }
    names = missing(projection.now)
    if names and DEFAULT_CONTRACT not in names:
        log.info(
            "this chain lacks %s: an older version made it, or its first start was broken off. "
            "Making what is missing", " and ".join(names),
        )  # fmt: skip
    while names := missing(projection.now):
        try:
            await make[names[0]]()
        except ChainUnavailableError as exc:
            log.warning("cannot make %s yet: %s", names[0], exc)
            await asyncio.sleep(RETRY_S)
        except ProtocolError:
            if names[0] in missing(projection.now):
                raise  # else what our last life sent, or an earlier try, came first
