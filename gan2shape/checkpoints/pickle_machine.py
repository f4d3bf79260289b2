"""Reads pickles as data: a small stack machine that imports nothing, calls nothing and never allocates on a claim.

Python's own unpickler looks names up and calls them, grows its memo to any index that a file names, and reserves any
length that a file claims. This one knows the binary instructions of protocols 2 to 5 and nothing else. A global is a
pair of strings; what a call of it means is decided by a `Library`, a table of the few names that mean something,
compared as whole strings. Byte strings stay views of the file.

Bounds: every length is checked against the bytes that are left; instructions and the work behind them use up one
budget; dictionary keys and set members that are no short plain values are replaced (hashing nested tuples, or integers
made to collide, can take forever).
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from gan2shape.checkpoints.errors import DOWNLOAD_AGAIN, UnreadableError
from gan2shape.checkpoints.inert import Global, Key, Stub, is_plain, runs_something

BUDGET = 1_000_000  # instructions and items; published files need about a tenth of that
CHARACTERS_PER_UNIT = 64  # of text that a call works through, for one unit of the budget
MAX_KEY = 2**60  # of integers as keys: below, no two have the same hash
MAX_LONG_BYTES = 32  # of an arbitrary-size integer
MAX_NAME_BYTES = 256  # of a module or attribute in its text form
MARK = object()


class Budget:
    """Work that one file may cause, however it is nested."""

    def __init__(self, units: int = BUDGET) -> None:
        self.left = units

    def spend(self, units: int = 1) -> None:
        """Take `units` away. Raises UnreadableError when nothing is left."""
        self.left -= units
        if self.left < 0:
            raise UnreadableError("is described at far greater length than a network needs")


class Library(ABC):
    """What the machine may do with the names in a file."""

    budget: Budget

    @abstractmethod
    def call(self, name: Global, args: tuple) -> Any:
        """The value that `name(*args)` stands for. Raises UnreadableError unless the name is allowed."""

    @abstractmethod
    def fill(self, value: Any, state: Any) -> Any:
        """The value with its pickled state set."""

    @abstractmethod
    def persistent(self, key: Any) -> Any:
        """The value of an id that means something outside the pickle."""


class PickleMachine:
    """One pickle in `data` from byte `position` on; `run` returns its value and leaves `position` behind it."""

    def __init__(self, data: memoryview, library: Library, position: int = 0) -> None:
        self.data, self.library, self.position = data, library, position
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The pickled value. Raises UnreadableError for anything out of order."""
        while True:
            self.library.budget.spend()
            code = self.number("<B")
            if code == STOP:
                return self.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise UnreadableError(f"holds an instruction ({code:#04x}) of another kind of pickle")
            instruction(self)

    # What instructions are made of

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        end = self.position + size
        if end > len(self.data):
            raise UnreadableError("ends too early or claims more than it holds", DOWNLOAD_AGAIN)
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self, layout: str) -> Any:
        """One packed number."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, layout: str) -> str:
        """A counted string."""
        try:
            return str(self.take(self.number(layout)), "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise UnreadableError("holds damaged text") from error

    def line(self) -> str:
        """Text up to the end of the line."""
        piece = bytes(self.data[self.position : self.position + MAX_NAME_BYTES])
        length = piece.find(b"\n")
        if length < 0:
            raise UnreadableError("holds a name without an end")
        self.position += length + 1
        return piece[:length].decode("utf-8", "replace")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise UnreadableError("is damaged (a value is missing)")
        return self.stack.pop()

    def top(self, kind: Any) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise UnreadableError("is damaged (a collection is missing)")
        return self.stack[-1]

    def popped(self, count: int) -> tuple:
        """The last `count` values."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def since_mark(self) -> list:
        """Everything after the last mark; the mark goes."""
        items = []
        while self.stack and self.stack[-1] is not MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise UnreadableError("is damaged (a mark is missing)")
        self.stack.pop()
        return items[::-1]

    # Instructions with more than one step

    def remember(self, index: int) -> None:
        value = self.pop()
        self.memo[index] = value
        self.push(value)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise UnreadableError("is damaged (it refers to a value that is not there)")
        self.push(self.memo[index])

    def long(self, layout: str) -> int:
        size = self.number(layout)
        if not 0 <= size <= MAX_LONG_BYTES:
            raise UnreadableError("holds a number of unlikely size")
        return int.from_bytes(self.take(size), "little", signed=True)

    def stack_global(self) -> None:
        module, name = self.popped(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise UnreadableError("is damaged (a name is no text)")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        """A name. Raises UnreadableError for those that would run something, in whatever role they come."""
        found = Global(module, name)
        if runs_something(found):
            raise UnreadableError(f"asks for {found}, which no checkpoint needs, and nothing was executed")
        self.push(found)

    def call(self) -> None:
        name, args = self.popped(2)
        if not (isinstance(name, Global | Stub) and isinstance(args, tuple)):
            raise UnreadableError("calls something that is no plain name")
        self.library.budget.spend(sum(map(work, args)))
        self.push(Stub(name.kind, args=args) if isinstance(name, Stub) else self.library.call(name, args))

    def call_with_keywords(self) -> None:
        keywords = self.pop()
        if not isinstance(keywords, dict):
            raise UnreadableError("is damaged (no keywords where they are needed)")
        self.call()
        if keywords and isinstance(self.stack[-1], Stub):
            self.stack[-1].state.update(keywords)

    def fill(self) -> None:
        value, state = self.popped(2)
        self.library.budget.spend(work(state))
        self.push(self.library.fill(value, state))

    def set_items(self, items: list) -> None:
        target = self.top(dict | Stub)
        if len(items) % 2:
            raise UnreadableError("is damaged (a key without a value)")
        target = target.state if isinstance(target, Stub) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def append(self, items: list) -> None:
        target = self.top(list | Stub)
        (target.items if isinstance(target, Stub) else target).extend(items)

    def add_items(self, items: list) -> None:
        target = self.top(set | Stub)
        if isinstance(target, set):
            target.update(map(plain_key, items))


def plain_key(key: Any) -> Any:
    """The key of a dictionary or member of a set; what is not short and plain is replaced by a key of its own."""
    return key if is_plain(key) or (isinstance(key, int) and -MAX_KEY < key < MAX_KEY) else Key()


def work(value: Any) -> int:
    """Units of the budget for going once through `value`: the same long value can be handed over many times."""
    if isinstance(value, list | tuple | dict | set):
        return len(value)
    return len(value) // CHARACTERS_PER_UNIT if isinstance(value, str) else 0


STOP = ord(".")
Instruction = Callable[[PickleMachine], Any]

INSTRUCTIONS: dict[int, Instruction] = {
    0x80: lambda m: m.number("<B"),  # protocol
    0x95: lambda m: m.number("<Q"),  # frame: the bytes are all here anyway
    ord("("): lambda m: m.push(MARK),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.push(m.top(object)),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("J"): lambda m: m.push(m.number("<i")),
    0x8A: lambda m: m.push(m.long("<B")),
    0x8B: lambda m: m.push(m.long("<i")),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("X"): lambda m: m.push(m.text("<I")),
    0x8C: lambda m: m.push(m.text("<B")),
    0x8D: lambda m: m.push(m.text("<Q")),
    ord("U"): lambda m: m.push(str(m.take(m.number("<B")), "latin1")),  # text of Python 2
    ord("T"): lambda m: m.push(str(m.take(m.number("<I")), "latin1")),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    ord("C"): lambda m: m.push(m.take(m.number("<B"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.push(m.popped(1)),
    0x86: lambda m: m.push(m.popped(2)),
    0x87: lambda m: m.push(m.popped(3)),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("}"): lambda m: m.push({}),
    ord("s"): lambda m: m.set_items(list(m.popped(2))),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: lambda m: m.add_items(m.since_mark()),
    0x91: lambda m: m.push(set(map(plain_key, m.since_mark()))),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    ord("c"): lambda m: m.push_global(m.line(), m.line()),
    0x93: lambda m: m.stack_global(),
    ord("R"): lambda m: m.call(),
    0x81: lambda m: m.call(),
    0x92: lambda m: m.call_with_keywords(),
    ord("b"): lambda m: m.fill(),
    ord("Q"): lambda m: m.push(m.library.persistent(m.pop())),
}
