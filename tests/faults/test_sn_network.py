"""Three SNs under write load: one is killed, stopped, cut off; all are; nothing is lost.

After each fault all SNs tell one history, from one genesis block, that holds every write which any
SN acknowledged, once (`history.py`). `SWARM_SOAK=N` runs everything with N seeds.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest
from eth_account import Account

from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from services.sn.core import ledger
from tests.faults.history import one_history
from tests.faults.sn_network import until
from tests.faults.writes import Writes

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]
SEEDS = range(int(os.environ.get("SWARM_SOAK", "1")))
ALL = ("1", "2", "3")
WRONG_CLOCK = Path(__file__).with_name("shifted_clock")
KILLS = 15
CUTS = 3 if len(SEEDS) > 1 else 1
"""A cut takes a while: it is noticed when pings stay away."""
STEPS = 4
FAULT_S = 8.0
"""Longest time that one of the faults lasts which chance decides."""
STOPPED_S = 12.0
"""Shorter than it takes to notice a silent link: the others count on the one that stands still."""
IN_FLIGHT_S = 1.0
"""What was asked this long after a cut went nowhere before it."""


@pytest.fixture(params=SEEDS)
def seeded(request):
    """Chance, the same at every run."""
    return random.Random(request.param)


async def in_turn(sns):
    """Name of the SN whose turn it is to seal the next block."""
    keys = {n: (sn.data / "account.key").read_text().strip() for n, sn in sns.sns.items()}
    accounts = sorted((bytes.fromhex(Account.from_key(k).address[2:]), n) for n, k in keys.items())
    (head,) = await sns.eth("1", ("eth_blockNumber", []))
    return accounts[(int(head, 16) + 1) % len(accounts)][1]


async def test_the_sentinel_is_killed_and_then_another(sns):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        for victim in ALL[:2]:
            await writes.more(20)
            sns.sns[victim].kill()
            for other in sns.running:
                await writes.more(10, at=other)
            await sns.restart(victim)
            await writes.more(5, at=victim)
    await one_history(sns, writes)


async def test_whose_turn_it_is_stands_still_for_a_while(sns, seeded):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        await writes.more(seeded.randrange(20, 40))
        async with writes.quiet():
            victim = await in_turn(sns)
            sns.sns[victim].stop()
        others = [name for name in ALL if name != victim]
        await asyncio.gather(
            asyncio.sleep(STOPPED_S), *(writes.more(10, at=name) for name in others)
        )
        sns.sns[victim].go_on()
        await writes.more(5, at=victim)
    await one_history(sns, writes)


async def cut_off(sns, writes, alone):
    """Cut one SN off until it says so and refuses writes; the others go on. Then mend it."""
    log = sns.sns[alone].mark
    cut = asyncio.get_running_loop().time() + IN_FLIGHT_S
    sns.network.cut_off(alone)
    for other in sns.running.keys() - {alone}:
        await writes.more(10, at=other)
    await sns.until_said(alone, f"linked to 1 of {len(sns.sns)} signers", log)
    await until(
        lambda: any(each.sn == alone and each.sent > cut for each in writes.failed),
        f"SN {alone} does not say that it cannot write",
    )
    await sns.until_it_waits_for_the_chain(alone)
    mended = asyncio.get_running_loop().time()
    sns.network.heal()
    refused = [each for each in writes.failed if each.sn == alone and each.sent > cut]
    assert all("503" in each.why and "not in contact" in each.why for each in refused), refused
    taken = [
        each
        for each in writes.acknowledged
        if each.sn == alone and cut < each.sent and each.answered < mended
    ]
    assert not taken, f"SN {alone} acknowledged {len(taken)} writes while it was cut off: {taken}"
    await writes.more(5, at=alone)


async def test_one_is_cut_off(sns, seeded):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        for alone in seeded.sample(ALL, CUTS):
            await writes.more(20)
            await cut_off(sns, writes, alone)
    await one_history(sns, writes)


async def test_of_two_the_sentinels_side_goes_on(sns):
    await sns.start(*ALL[:2])
    async with Writes(sns) as writes:
        await writes.more(20)
        await cut_off(sns, writes, "2")
    await one_history(sns, writes)


async def test_any_is_killed_at_any_time(sns, seeded):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        for _ in range(KILLS):
            await writes.more(3)
            await asyncio.sleep(seeded.uniform(0, 1))  # the instant is the fault
            victim = sns.sns[seeded.choice(ALL)]
            assert victim.is_running, victim.said()
            victim.kill()
            victim.start()
            if seeded.random() < 0.5:  # else the next is killed while this one starts
                await sns.ready(victim.name)
        for name in ALL:
            await sns.ready(name)
            await writes.more(5, at=name)
    await one_history(sns, writes)


async def test_all_are_killed_at_once_and_come_back_in_another_order(sns):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        await writes.more(50)
        for sn in sns.sns.values():
            sn.send(9)
        for sn in sns.sns.values():
            sn.kill()
        await sns.restart("3")
        await sns.until_said("3", "linked to 1 of 3 signers")
        await sns.restart("2")
        for name in ("2", "3"):
            await writes.more(5, at=name)
        await sns.restart("1")
        await writes.more(5, at="1")
    await one_history(sns, writes)


async def test_two_that_only_the_third_connects(sns):
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        await writes.more(20)
        logs = {name: sns.sns[name].mark for name in ("2", "3")}
        sns.network.split(["2"], ["3"])
        for name, log in logs.items():
            await sns.until_said(name, "is down, 1 links left", log)
        for name in ALL:
            await writes.more(10, at=name)
        sns.network.heal()
        for name, log in logs.items():
            await sns.until_said(name, ", 2 links", log)
            await writes.more(5, at=name)
    await one_history(sns, writes)


class Faults:
    """What may befall an SN; each ends after a while."""

    def __init__(self, sns, seeded):
        self._sns = sns
        self._seeded = seeded

    async def befall(self, name):
        kinds = (self.restarted, self.dead, self.stopped, self.cut_off, self.parted)
        await self._seeded.choice(kinds)(name)

    async def a_while(self):
        await asyncio.sleep(self._seeded.uniform(0.5, FAULT_S))

    async def restarted(self, name):
        self._sns.sns[name].kill()
        self._sns.sns[name].start()
        await self.a_while()

    async def dead(self, name):
        self._sns.sns[name].kill()
        await self.a_while()
        self._sns.sns[name].start()

    async def stopped(self, name):
        self._sns.sns[name].stop()
        await self.a_while()
        self._sns.sns[name].go_on()

    async def cut_off(self, name):
        self._sns.network.cut_off(name)
        await self.a_while()

    async def parted(self, name):
        self._sns.network.split([name], [self._seeded.choice([n for n in ALL if n != name])])
        await self.a_while()


async def test_whatever_happens(sns, seeded):
    await sns.start(*ALL)
    faults = Faults(sns, seeded)
    async with Writes(sns) as writes:
        for _ in range(STEPS):
            await writes.more(5)
            victims = seeded.sample(ALL, seeded.choice((1, 1, 2)))
            await asyncio.gather(*(faults.befall(name) for name in victims))
            sns.network.heal()
        for name in ALL:
            await sns.ready(name)
            await writes.more(5, at=name)
    await one_history(sns, writes)


@pytest.mark.parametrize(
    "shifts", [(0, 600, -600), (600, 0, 0)], ids=["joiners wrong", "sentinel ahead"]
)
async def test_clocks_ten_minutes_apart(sns, shifts):
    for name, shift in zip(ALL, shifts, strict=True):
        path = f"{WRONG_CLOCK}{os.pathsep}{REPOSITORY}"
        sns.sn(name, PYTHONPATH=path, CLOCK_SHIFT_S=str(shift))
    await sns.start(*ALL)
    async with Writes(sns) as writes:
        for name in ALL:
            await writes.more(5, at=name)
        sns.sns["1"].kill()
        for name in ("2", "3"):
            await writes.more(5, at=name)
        await sns.restart("1")
        for name in ALL:
            await writes.more(5, at=name)
    history = await one_history(sns, writes)
    times = [int(block["timestamp"], 16) for block in history.blocks]
    assert times == sorted(times)
    assert not {sn.uid for sn in history.of(ledger.NodeRegistered) if sn.kind is NodeKind.SN} & {
        uid for lost in history.of(ledger.NodesLost) for uid in lost.uids
    }
