"""``python -m compose.result.begin``: makes room for a new training, before the SLs start.

A training that an earlier run ended, or left undone, is reset; one that is under way is not.
"""

import asyncio
import sys

from compose.result.read import Folder
from compose.result.settings import ResultSettings
from services.common import logs
from services.common import sn_api as api
from services.common.errors import NotFoundError, SwarmError
from services.common.ids import NodeKind
from services.common.settings import load
from services.common.sn_client import SnClient
from services.common.tls import load_identity

PATIENCE = 15.0
"""Seconds that SLs of an earlier run, which ended without a word, have to be found lost."""


async def begin(client: SnClient, contract: str, folder: Folder) -> str:
    """Reset what is over; what was done, in words.

    Args:
        client: of the SNs.
        contract: the training contract.
        folder: cleared for a new training.
    """
    try:
        view = (await client.state(contract)).view
    except NotFoundError:
        view = None
    if view is not None and view.phase is not api.Phase.UNINITIALIZED:
        if view.phase is not api.Phase.COMPLETED and await _under_way(client, contract):
            return f"{contract}: a training is under way, it goes on"
        await client.reset(contract, "compose.yaml: a new run")
    folder.clear()
    return f"{contract} is ready for a new training"


async def _under_way(client: SnClient, contract: str) -> bool:
    end = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < end:
        view = (await client.state(contract)).view
        alive = {node.uid for node in await client.nodes() if node.alive}
        if not any(peer.live and peer.uid in alive for peer in view.peers):
            return False
        await asyncio.sleep(0.5)
    return True


async def _main(settings: ResultSettings) -> str:
    identity = load_identity(settings, NodeKind.SWCI)
    client = SnClient(identity, settings.sns(), settings.swarm_start_patience)
    try:
        return await begin(client, settings.result_contract, Folder(settings.result_dir))
    finally:
        await client.close()


def main() -> int:
    """Run the command; return its exit code."""
    logs.configure()
    try:
        print(asyncio.run(_main(load(ResultSettings))))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
