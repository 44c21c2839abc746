"""RLP from other SNs, looked through before pyrlp decodes it.

pyrlp copies all of a list for each of its items, and calls itself for each level. A message of
300 kB made for it keeps an SN busy for minutes; one of 16 MB, for days. So messages are taken
apart here, in linear time, and blocks and transactions are decoded only if their lists are short
and flat, as honest ones are.
"""

from eth_utils.exceptions import ValidationError
from rlp.codec import consume_length_prefix
from rlp.exceptions import DecodingError

MOST_IN_A_LIST = 256
"""Items of a list in a block (its transactions, at most 200) or in a transaction (its fields)."""
MOST = 20_000
"""Items of a whole block, lists included."""
DEEPEST = 8
"""Levels of a block, far more than it has."""


def require_modest(raw: bytes) -> None:
    """Check that a text can be decoded quickly; it may be invalid all the same.

    Raises:
        ValidationError: a list in it has too many items, or it is nested too deep.
    """
    ends, counts = [len(raw)], [0]
    at = total = 0
    while at < len(raw):
        while at >= ends[-1]:
            ends.pop()
            counts.pop()
        counts[-1] += 1
        total += 1
        if counts[-1] > MOST_IN_A_LIST or total > MOST or len(ends) > DEEPEST:
            raise ValidationError("RLP with too many items, or nested too deep")
        is_list, at, end = _item(raw, at)
        if is_list:
            ends.append(min(end, ends[-1]))
            counts.append(0)
        else:
            at = end


def require_modest_block(raw: bytes) -> None:
    """The same for a block, whose newer transactions are RLP within byte strings.

    Raises:
        ValidationError: see :func:`require_modest`.
    """
    require_modest(raw)
    _, at, _ = _item(raw, 0)
    _, _, at = _item(raw, at)  # the header
    is_list, at, end = _item(raw, at)
    while is_list and at < min(end, len(raw)):
        holds_more, start, at = _item(raw, at)
        if not holds_more:
            require_modest_transaction(raw[start:at])


def require_modest_transaction(raw: bytes) -> None:
    """The same for a transaction; newer ones begin with a byte for their type.

    Raises:
        ValidationError: see :func:`require_modest`.
    """
    require_modest(raw[1:] if raw[:1] < b"\x80" else raw)


def first(raw: bytes) -> bytes:
    """The byte string that begins a list.

    Raises:
        ValidationError: it is something else.
    """
    is_list, at, end = _item(raw, 0)
    if not is_list or end != len(raw):
        raise ValidationError("not one RLP list")
    return _bytes(raw, at)[0]


def second(raw: bytes, most: int) -> list[bytes]:
    """The byte strings of the list that ends a list, after its first item.

    Raises:
        ValidationError: it is something else, or has more than ``most`` items.
    """
    _, at, _ = _item(raw, 0)
    _, at = _bytes(raw, at)
    is_list, at, end = _item(raw, at)
    if not is_list or end != len(raw):
        raise ValidationError("not a list at the end of an RLP list")
    found: list[bytes] = []
    while at < end:
        if len(found) == most:
            raise ValidationError(f"more than {most} items")
        item, at = _bytes(raw, at)
        found.append(item)
    return found


def _bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    is_list, start, end = _item(raw, at)
    if is_list or end > len(raw):
        raise ValidationError("RLP of another form than expected")
    return raw[start:end], end


def _item(raw: bytes, at: int) -> tuple[bool, int, int]:
    """Whether the item at ``at`` is a list, and where its payload begins and ends."""
    try:
        _, kind, size, start = consume_length_prefix(raw, at)
    except (DecodingError, IndexError) as exc:
        raise ValidationError("not RLP") from exc
    return kind is list, start, start + size
