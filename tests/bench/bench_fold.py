"""How fast an SN folds its history: JSON logs to values to the read model, step by step.

python -m tests.bench.bench_fold [--events 20000] [--peers 4]
"""

import argparse
import time
from collections.abc import Iterator

from services.common.ids import NO_DIGEST
from services.common.sn_api import PeerState, Perf
from services.sn.adapters import abi, chain
from services.sn.core import ledger
from services.sn.core.ledger import Block
from services.sn.core.training import Training
from tests.fakes.chain import TRAINING, encoded

AT = "0x" + "3" * 40


def history(peers: int) -> Iterator[ledger.TrainingEvent]:
    """Rounds without end, as ``peers`` peers make them that report loss and metric."""
    uids = tuple(f"{number:032x}" for number in range(1, peers + 1))
    for uid in uids:
        yield ledger.Enrolled(1, 1, uid, peers, "mean", False, True, 600)
    base, number = NO_DIGEST, 1
    while True:
        perf = Perf(loss=1 / number, metric=0.5, epochs=3, total_epochs=9) if number > 1 else None
        for k, uid in enumerate(uids):
            digest = f"{number * peers + k:064x}"
            yield ledger.CheckedIn(1, number, uid, base, digest, 9, 1, PeerState.TRAINING, perf)
        leader = uids[number % peers]
        yield ledger.LeaderElected(1, number, 1, leader, "quorum")
        yield ledger.Frozen(1, number, 1, leader, uids)
        base = f"{number:064x}"
        yield ledger.Published(1, number, 1, leader, base, 9, uids, 0)
        number += 1


def entries(events: int, peers: int) -> list[dict[str, object]]:
    """The history as ``eth_getLogs`` answers it, one event a block."""
    found = []
    for number, event in zip(range(events), history(peers), strict=False):
        topic, data = encoded(TRAINING, event)
        found.append({
            "address": AT, "topics": ["0x" + topic.hex()], "data": "0x" + data.hex(),
            "blockNumber": hex(number), "blockHash": f"0x{number:064x}",
            "transactionHash": f"0x{number:064x}",
        })  # fmt: skip
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--peers", type=int, default=4)
    args = parser.parse_args()
    raw = entries(args.events, args.peers)
    training, decode = Training("c", AT, 0), abi.abi(abi.TRAINING).event
    steps = {}
    start = time.process_time()
    logs = [chain._log(entry) for entry in raw]
    steps["JSON to logs"] = time.process_time() - start
    start = time.process_time()
    events = [decode(entry.topics, entry.data) for entry in logs]
    steps["logs to events"] = time.process_time() - start
    start = time.process_time()
    for event, entry in zip(events, logs, strict=True):
        training.apply(event, Block(entry.block, entry.block_hash, entry.block))
    steps["events to read model"] = time.process_time() - start
    steps["all"] = sum(steps.values())
    print(f"{args.events} events of {args.peers} peers, {training.round - 1} rounds")
    for what, seconds in steps.items():
        print(f"{what:22} {seconds / args.events * 1e6:7.1f} us  {args.events / seconds:9,.0f}/s")


if __name__ == "__main__":
    main()
