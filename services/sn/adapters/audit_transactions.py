"""Transactions rebuilt from JSON: their hash and their sender's signature are recomputed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import rlp
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from services.sn.adapters.audit_headers import Json, minimal, take_bytes, take_number
from services.sn.core.verdict import Violation

PROTECTED = 35
"""A legacy transaction's ``v`` from here on names its chain (EIP-155)."""

_Read = Callable[[Json, int], Any]


def _number(name: str) -> _Read:
    return lambda view, block: minimal(take_number(view, name, block))


def _data(name: str) -> _Read:
    return lambda view, block: take_bytes(view, name, block)


def _to(view: Json, block: int) -> bytes:
    return take_bytes(view, "to", block, 20) if view.get("to") is not None else b""


def _access_list(view: Json, block: int) -> list[Any]:
    return [
        [
            take_bytes(item, "address", block, 20),
            [take_bytes({"key": key}, "key", block, 32) for key in item.get("storageKeys", ())],
        ]
        for item in view.get("accessList") or ()
    ]


def _hashes(view: Json, block: int) -> list[bytes]:
    return [take_bytes({"h": h}, "h", block, 32) for h in view.get("blobVersionedHashes") or ()]


def _authorizations(view: Json, block: int) -> list[Any]:
    numbers = ("yParity", "r", "s")
    return [
        [
            minimal(take_number(item, "chainId", block)), take_bytes(item, "address", block, 20),
            *(minimal(take_number(item, name, block)) for name in ("nonce", *numbers)),
        ]
        for item in view.get("authorizationList") or ()
    ]  # fmt: skip


_CHAIN, _NONCE, _GAS = _number("chainId"), _number("nonce"), _number("gas")
_COMMON = (_to, _number("value"), _data("input"))
_DYNAMIC = (
    _CHAIN, _NONCE, _number("maxPriorityFeePerGas"), _number("maxFeePerGas"), _GAS, *_COMMON,
    _access_list,
)  # fmt: skip
_UNSIGNED: dict[int, tuple[_Read, ...]] = {
    0: (_NONCE, _number("gasPrice"), _GAS, *_COMMON),
    1: (_CHAIN, _NONCE, _number("gasPrice"), _GAS, *_COMMON, _access_list),
    2: _DYNAMIC,
    3: (*_DYNAMIC, _number("maxFeePerBlobGas"), _hashes),
    4: (*_DYNAMIC, _authorizations),
}
"""What the sender signs, by type, in the order of the RLP."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that its sender signed."""

    hash: bytes
    sender: bytes
    to: bytes
    """Empty: it deploys a contract."""
    nonce: int
    data: bytes
    kind: int
    chain: int
    """Id of the chain that it is for; 0: any."""
    raw: bytes

    @property
    def creates(self) -> bytes:
        """Address of the contract that it deploys, or empty."""
        return b"" if self.to else created_by(self.sender, self.nonce)


def created_by(sender: bytes, nonce: int) -> bytes:
    """Address of the contract that an account's transaction number ``nonce`` deploys."""
    return bytes(keccak(rlp.encode([sender, minimal(nonce)]))[12:])


def read_transaction(view: Json, block: int, place: int) -> Transaction:
    """A transaction out of JSON.

    Args:
        view: what JSON-RPC gave.
        block: number of its block.
        place: its index there.

    Raises:
        Violation: its fields do not make its hash, or its sender did not sign it.
    """
    wrong = partial(_wrong, block, place)
    kind = take_number(view, "type", block) if view.get("type") is not None else 0
    if kind not in _UNSIGNED:
        raise wrong("it is of an unknown type", kind, "0 to 4")
    unsigned = [read(view, block) for read in _UNSIGNED[kind]]
    signature, parity, chain = _signature(view, block, kind)
    prefix = bytes([kind]) if kind else b""
    raw = prefix + rlp.encode([*unsigned, *map(minimal, signature)])
    given = take_bytes(view, "hash", block, 32)
    if keccak(raw) != given:
        raise wrong("its fields do not make its hash", f"0x{keccak(raw).hex()}", f"0x{given.hex()}")
    signed = prefix + rlp.encode([*unsigned, *chain])
    sender = _recover(signed, (parity, *signature[1:]))
    claimed = take_bytes(view, "from", block, 20)
    if sender != claimed:
        found = f"0x{sender.hex()}" if sender else "no valid signature"
        raise wrong("its sender did not sign it", found, f"0x{claimed.hex()}")
    nonce = take_number(view, "nonce", block)
    return Transaction(
        hash=given, sender=claimed, to=_to(view, block), nonce=nonce, data=unsigned[_input(kind)],
        kind=kind, chain=int.from_bytes(unsigned[0] if kind else b"".join(chain)), raw=raw,
    )  # fmt: skip


def _input(kind: int) -> int:
    """Place of the call data among the signed fields."""
    return _UNSIGNED[kind].index(_COMMON[2])


def _wrong(block: int, place: int, what: str, found: object, expected: object) -> Violation:
    return Violation(block, f"transaction {place}: {what}", found, expected)


def _signature(
    view: Json, block: int, kind: int
) -> tuple[tuple[int, int, int], int, tuple[bytes, ...]]:
    """The signature as the RLP has it, its parity, and what is signed beside the fields."""
    r, s = take_number(view, "r", block), take_number(view, "s", block)
    if kind:
        parity = take_number(view, "yParity" if "yParity" in view else "v", block)
        return (parity, r, s), parity, ()
    v = take_number(view, "v", block)
    if v >= PROTECTED:
        return (v, r, s), (v - PROTECTED) % 2, (minimal((v - PROTECTED) // 2), b"", b"")
    return (v, r, s), v - 27, ()


def _recover(message: bytes, vrs: tuple[int, int, int]) -> bytes:
    """Address of who signed; empty where nobody could have."""
    try:
        public = Signature(vrs=vrs).recover_public_key_from_msg_hash(keccak(message))
    except (BadSignature, ValidationError, ValueError, TypeError):
        return b""
    return bytes(public.to_canonical_address())
