"""``python -m compose.result``: tells how the run of ``compose.yaml`` goes, and what it came to.

The exit code is 0 only if the training was completed by at least ``MIN_PEERS`` pairs, which ended
with the same model; else 1, and 2 where it cannot begin.
"""

import asyncio
import signal
import sys

from compose.result.follow import Follower
from compose.result.settings import ResultSettings
from services.common import logs
from services.common.errors import SwarmError
from services.common.ids import NodeKind
from services.common.resolving import ResolvingLoop
from services.common.settings import load
from services.common.sn_client import SnClient
from services.common.tls import load_identity


async def _main(settings: ResultSettings) -> int:
    identity = load_identity(settings, NodeKind.SWCI)
    client = SnClient(identity, settings.sns(), patience=0)
    follower = Follower(settings, client)
    loop = asyncio.get_running_loop()
    for received in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(received, follower.stop, received)
    try:
        return await follower.run()
    finally:
        await client.close()


def main() -> int:
    """Run the command; return its exit code."""
    logs.configure("ERROR")
    try:
        settings = load(ResultSettings)
        with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
            return runner.run(_main(settings))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
