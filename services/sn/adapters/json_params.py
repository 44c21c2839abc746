"""What callers pass to Ethereum's JSON-RPC: numbers, bytes, filters of events."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eth_utils.exceptions import ValidationError

from services.common.ids import NodeKind
from services.sn.adapters.evm_store import LogRow

AUDITORS = (NodeKind.SN, NodeKind.SWCI, NodeKind.SWOP)
"""Who may ask from outside: operators and other SNs; SLs have the state API."""
MAX_LOGS = 10_000
"""Events in one answer to a call from outside."""
MAX_LOG_BYTES = 8 << 20
"""Data of the events in one such answer."""
BOUNDED = "bounded"
"""Set in a filter from outside, beside what Ethereum's filters have."""


def chosen(rows: Iterator[LogRow], query: Mapping[str, Any]) -> Iterator[LogRow]:
    """The events that a filter asks for.

    Raises:
        ValidationError: there are too many of them for a call from outside.
    """
    addresses = {unhex(each) for each in listed(query.get("address"))}
    topics = [{unhex(each) for each in listed(wanted)} for wanted in query.get("topics") or ()]
    found = (row for row in rows if _matches(row, addresses, topics))
    return _bounded(found) if query.get(BOUNDED) else found


def from_outside(method: str, params: Sequence[Any]) -> Sequence[Any]:
    """The parameters of a call from outside: it gets a bounded number of events."""
    if method != "eth_getLogs" or not params or not isinstance(params[0], Mapping):
        return params
    return [{**params[0], BOUNDED: True}, *params[1:]]


def _bounded(rows: Iterator[LogRow]) -> Iterator[LogRow]:
    """The rows, as long as they are not too many.

    Raises:
        ValidationError: they are; says which blocks to ask for instead.
    """
    size, first = 0, -1
    for count, row in enumerate(rows, start=1):
        size += len(row.data)
        first = row.number if count == 1 else first
        if count > MAX_LOGS or size > MAX_LOG_BYTES:
            fits = f" (blocks {first} to {row.number - 1} fit)" if row.number > first else ""
            raise ValidationError(
                f"more than {MAX_LOGS} events or {MAX_LOG_BYTES >> 20} MiB of them: ask for fewer "
                f"blocks at a time{fits}, or name an address or topics"
            )
        yield row


def _matches(row: LogRow, addresses: set[bytes], topics: list[set[bytes]]) -> bool:
    if addresses and row.address not in addresses:
        return False
    if len(row.topics) < 32 * len(topics):
        return False
    return all(
        not wanted or row.topics[32 * k : 32 * k + 32] in wanted for k, wanted in enumerate(topics)
    )


def plain(value: object) -> object:
    """A parameter as JSON has it: web3 hands bytes, tuples and numbers through in process."""
    if isinstance(value, bytes | bytearray):
        return f"0x{bytes(value).hex()}"
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: object) -> int:
    """A number in ``0x`` hex, or one from web3 as it is.

    Raises:
        TypeError: it is neither.
        ValueError: it is not hex.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{value!r} is not a number")
    return int(value, 16) if isinstance(value, str) else value


def unhex(value: object) -> bytes:
    """Bytes from ``0x`` hex.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not value.startswith(("0x", "0X")):
        raise ValueError(f"{value!r} is not 0x hex")
    return bytes.fromhex(value[2:])


def listed(value: object) -> list[Any]:
    """A filter field: nothing, one, or a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
