"""Which log entries of a chain are ours, and what they say."""

import asyncio
from collections.abc import Mapping

from eth_abi.exceptions import DecodingError

from services.common.errors import ConfigError
from services.sn.adapters import abi
from services.sn.adapters.chain import Log
from services.sn.core import ledger

AT_A_TIME = 200
"""Events decoded between two looks at what else there is to do; 0.02 ms each."""

Entry = tuple[ledger.LedgerEvent, Log, ledger.Block]


class Decoder:
    """Decodes the logs of our own contracts; a contract is ours from its registration on.

    Args:
        system: contracts that are there from the start, by address.
    """

    def __init__(self, system: Mapping[str, str]) -> None:
        self._system = dict(system)

    async def entries(
        self,
        named: Mapping[str, ledger.Registered],
        logs: list[Log],
        blocks: Mapping[int, ledger.Block],
    ) -> list[Entry]:
        """The events among ``logs``.

        Args:
            named: contracts that were registered before, by name.
            logs: in the chain's order.
            blocks: of these logs, by number.

        Raises:
            ConfigError: another version of our contracts wrote one of them.
        """
        ours: dict[str, str] = {}
        for each in named.values():
            _take_in(ours, each)
        ours |= self._system
        found: list[Entry] = []
        for number, entry in enumerate(logs, start=1):
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)  # a long history must not keep the API and the links waiting
            kind = ours.get(entry.address)
            if kind is None:
                continue
            event = _event(kind, entry)
            if isinstance(event, ledger.Registered):
                _take_in(ours, event)
            found.append((event, entry, blocks[entry.block]))
        return found


def _take_in(ours: dict[str, str], name: ledger.Registered) -> None:
    kind = abi.contract_of(name)
    if kind is not None:
        ours.setdefault(name.at, kind)


def _event(kind: str, entry: Log) -> ledger.LedgerEvent:
    try:
        event = abi.abi(kind).event(entry.topics, entry.data)
    except (DecodingError, IndexError, KeyError, ValueError) as exc:
        raise _foreign(kind, entry, str(exc)) from exc
    if event is None:
        raise _foreign(kind, entry, "an event of another kind")
    return event


def _foreign(kind: str, entry: Log, why: str) -> ConfigError:
    return ConfigError(
        f"block {entry.block} holds an event of the {kind} at {entry.address} that this version of "
        f"the SN does not know ({why}): another version made this contract. Run that version; or "
        "begin a new swarm: stop all SNs, and empty or rename their data folders (SN_DATA_DIR)"
    )
