"""The stack machine that reads pickles of numpy arrays.

It knows the opcodes that numpy arrays need in protocols 2 to 5, and no others. Memory stays within
a small multiple of the file's size, whatever sizes the file claims.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from services.sl.core.pickle_values import (
    ALLOWED,
    CALLS,
    Global,
    PickledArray,
    PickledDtype,
    PickleError,
    at_most,
    short,
)

MAX_OPCODES: Final = 1_000_000
"""An array takes about 30; what the opcodes make takes at most 100 bytes each."""

_MARK: Final = object()


class Reader:
    """The stack machine."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0
        self._copied = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        """Execute opcodes up to STOP.

        Returns:
            What the pickle holds.
        """
        for _ in range(MAX_OPCODES):
            opcode = self.take(1)[0]
            if opcode == 0x2E:  # STOP
                if self._at != len(self._data) or len(self.stack) != 1:
                    raise PickleError("something comes after its end")
                return self.stack[0]
            action = _OPCODES.get(opcode)
            if action is None:
                raise PickleError(f"opcode {opcode:#04x} is not one that numpy arrays need")
            action(self)
        raise PickleError(f"it has more than {MAX_OPCODES} opcodes")

    def take(self, count: int) -> memoryview:
        """The next ``count`` bytes."""
        if count > len(self._data) - self._at:
            raise PickleError(f"{count} bytes are announced but the file ends before")
        self._at += count
        return self._data[self._at - count : self._at]

    def line(self) -> str:
        """Text up to the next newline."""
        window = bytes(self._data[self._at : self._at + 256])
        text, newline, _ = window.partition(b"\n")
        if not newline:
            raise PickleError("a name is too long")
        self._at += len(text) + 1
        return text.decode("ascii", "replace")

    def number(self, form: Struct) -> int:
        """A number of fixed size."""
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def pop(self) -> Any:  # noqa: ANN401 - what a pickle holds
        """Take the top of the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("it takes more from its stack than it put there")
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """Take everything down to the last mark."""
        taken: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise PickleError("it takes more from its stack than it put there")

    def top(self) -> Any:  # noqa: ANN401 - what a pickle holds
        """Look at the top of the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("it takes more from its stack than it put there")
        return self.stack[-1]

    def text(self, count: int) -> str:
        """The next ``count`` bytes as text."""
        try:
            return bytes(self.take(count)).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as exc:
            raise PickleError("a text is not UTF-8") from exc

    def name(self, module: object, name: object) -> None:
        """Push something to call, if it is on the list."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it uses something whose name is not text")
        if (module, name) not in ALLOWED:
            raise PickleError(f"it wants to use {short(f'{module}.{name}')}")
        self.stack.append(Global(module, name))

    def call(self) -> None:
        """REDUCE: make an inert value in place of the call."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleError("it calls something that is not a function")
        made = CALLS[function.name](*at_most(arguments, 5))
        if isinstance(made, memoryview):
            self._copied += len(made)
            if self._copied > len(self._data):
                raise PickleError("it makes more bytes than it has")
        self.stack.append(made)

    def build(self) -> None:
        """BUILD: fill an array or a dtype."""
        state, target = self.pop(), self.top()
        if not isinstance(target, PickledArray | PickledDtype):
            raise PickleError(f"it sets the state of a {type(target).__name__}")
        target.build(state)

    def set_items(self, items: list[Any]) -> None:
        """SETITEM, SETITEMS: add pairs to the dict on top."""
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleError("it adds items to something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise PickleError(f"a key is a {type(key).__name__}, not text")
            target[key] = value

    def recall(self, index: int) -> None:
        """Push something again."""
        if index not in self.memo:
            raise PickleError("it refers to something it did not define")
        self.stack.append(self.memo[index])

    def push_tuple(self, size: int) -> None:
        """Push a tuple of the last ``size`` values."""
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(values[::-1]))


_U8, _U16, _U32, _U64 = Struct("<B"), Struct("<H"), Struct("<I"), Struct("<Q")
_I32 = Struct("<i")


def _push(make: Callable[[Reader], Any]) -> Callable[[Reader], None]:
    return lambda reader: reader.stack.append(make(reader))


def _long(reader: Reader) -> int:
    size = reader.number(_U8)
    if size > 9:
        raise PickleError("a number has more than 64 bits")
    return int.from_bytes(reader.take(size), "little", signed=True)


def _protocol(reader: Reader) -> None:
    version = reader.number(_U8)
    if version > 5:
        raise PickleError(f"pickle protocol {version} is not known")


def _frame(reader: Reader) -> None:
    reader.number(_U64)  # only says how much to read ahead


def _memoize(reader: Reader) -> None:
    reader.memo[len(reader.memo)] = reader.top()


def _put(form: Struct) -> Callable[[Reader], None]:
    def action(reader: Reader) -> None:
        reader.memo[reader.number(form)] = reader.top()

    return action


def _stack_global(reader: Reader) -> None:
    name, module = reader.pop(), reader.pop()
    reader.name(module, name)


def _set_item(reader: Reader) -> None:
    value, key = reader.pop(), reader.pop()
    reader.set_items([key, value])


_OPCODES: Final[dict[int, Callable[[Reader], None]]] = {
    0x80: _protocol,
    0x95: _frame,
    0x94: _memoize,
    ord("q"): _put(_U8),
    ord("r"): _put(_U32),
    ord("h"): lambda r: r.recall(r.number(_U8)),
    ord("j"): lambda r: r.recall(r.number(_U32)),
    ord("("): lambda r: r.stack.append(_MARK),
    ord("}"): _push(lambda r: {}),
    ord(")"): _push(lambda r: ()),
    ord("t"): _push(lambda r: tuple(r.to_mark())),
    0x85: lambda r: r.push_tuple(1),
    0x86: lambda r: r.push_tuple(2),
    0x87: lambda r: r.push_tuple(3),
    ord("N"): _push(lambda r: None),
    0x88: _push(lambda r: True),
    0x89: _push(lambda r: False),
    ord("K"): _push(lambda r: r.number(_U8)),
    ord("M"): _push(lambda r: r.number(_U16)),
    ord("J"): _push(lambda r: r.number(_I32)),
    0x8A: _push(_long),
    0x8C: _push(lambda r: r.text(r.number(_U8))),
    ord("X"): _push(lambda r: r.text(r.number(_U32))),
    0x8D: _push(lambda r: r.text(r.number(_U64))),
    ord("C"): _push(lambda r: r.take(r.number(_U8))),
    ord("B"): _push(lambda r: r.take(r.number(_U32))),
    0x8E: _push(lambda r: r.take(r.number(_U64))),
    0x96: _push(lambda r: r.take(r.number(_U64))),
    ord("c"): lambda r: r.name(r.line(), r.line()),
    0x93: _stack_global,
    ord("R"): Reader.call,
    ord("b"): Reader.build,
    ord("s"): _set_item,
    ord("u"): lambda r: r.set_items(r.to_mark()),
}
"""Opcode -> what it does. Everything else is refused."""
