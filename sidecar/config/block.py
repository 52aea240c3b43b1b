"""Reading one mapping of the document by its schema: each accessor takes a key, says what is wrong, and goes on.

A reader asks for every key it knows and then calls :meth:`Block.finish`, which turns what nobody asked for into
problems. So the accessors *are* the schema, and nothing can be accepted and then ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sidecar.address import Address, parse_address
from sidecar.config import units
from sidecar.config.document import Mapping, Node, Scalar
from sidecar.config.document import Sequence as SequenceNode
from sidecar.errors import Problem

Value = TypeVar("Value")
LATER = "is not available yet"


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the most similar of ``known``, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{found[0]}'?)" if found else ""


def one_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(f"'{name}'" for name in names[:-1]), f"'{names[-1]}'")))


class Block:
    """A mapping with its path; ``problems`` is shared by all blocks of a document."""

    def __init__(self, node: Mapping, path: str, problems: list[Problem]) -> None:
        self.node = node
        self.path = path
        self.problems = problems
        self._asked: set[str] = set()

    # --- saying what is wrong --------------------------------------------------------------------------------

    def where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def complain(self, key: str, message: str, node: Node | None = None) -> None:
        """A problem of ``key``, on the line of its value."""
        at = node or self.node.entries.get(key)
        line = at.line if at is not None else self.node.line
        self.problems.append(Problem((at or self.node).file, line, self.where(key), message))

    def finish(self) -> None:
        """Every key that no accessor asked for is unknown."""
        for key, node in self.node.entries.items():
            if key not in self._asked:
                known = sorted(self._asked)
                hint = nearest(key, known) or f" (known here: {', '.join(known)})"
                self.problems.append(Problem(node.file, self.node.lines[key], self.where(key), f"unknown key{hint}"))

    # --- looking -----------------------------------------------------------------------------------------------

    def get(self, key: str) -> Node | None:
        """The value of ``key``; None when it is absent or null."""
        self._asked.add(key)
        node = self.node.entries.get(key)
        return None if node is None or (isinstance(node, Scalar) and node.is_null) else node

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def line(self, key: str) -> int:
        return self.node.lines.get(key, self.node.line)

    def later(self, *keys: str) -> None:
        """Keys of the contract whose function comes with a later version."""
        for key in keys:
            if self.has(key):
                self.complain(key, LATER)

    # --- values ------------------------------------------------------------------------------------------------

    def scalar(self, key: str) -> Scalar | None:
        node = self.get(key)
        if node is not None and not isinstance(node, Scalar):
            self.complain(key, f"must be a single value, not a {kind_of(node)}")
            return None
        return node

    def text(self, key: str, default: str = "") -> str:
        node = self.scalar(key)
        return default if node is None else node.text

    def required(self, key: str) -> str:
        """Text that must be there and not empty."""
        if not self.has(key):
            self.complain(key, "is required")
            return ""
        node = self.scalar(key)
        if node is not None and not node.text:
            self.complain(key, "must not be empty")
        return node.text if node is not None else ""

    def _read(
        self, key: str, read: Callable[[str], Value | None], what: str, default: Value, needs_plain: bool = False
    ) -> Value:
        node = self.scalar(key)
        if node is None:
            return default
        value = read(node.text) if node.is_plain or not needs_plain else None
        if value is None:
            self.complain(key, f"'{node.text[:60]}' is not {what}")
            return default
        return value

    def _within(self, key: str, value: float, least: float, most: float, show: Callable[[float], str]) -> bool:
        if least <= value <= most:
            return True
        bound = f"at most {show(most)}" if value > most else f"at least {show(least)}"
        self.complain(key, f"must be {bound}")
        return False

    def integer(self, key: str, default: int, least: int = 0, most: int = 1 << 31) -> int:
        value = self._read(key, units.integer, "a whole number", default, needs_plain=True)
        return value if not self.has(key) or self._within(key, value, least, most, str) else default

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._read(key, units.number, "a number", default, needs_plain=True)
        return value if not self.has(key) or self._within(key, value, least, most, lambda n: f"{n:g}") else default

    def boolean(self, key: str, default: bool) -> bool:
        return self._read(key, units.boolean, "true or false", default, needs_plain=True)

    def duration(self, key: str, default: float, least: float = 0.0, most: float = 86400.0) -> float:
        value = self._read(key, units.duration, "a duration like 50ms, 30s or 5m", default)
        return value if not self.has(key) or self._within(key, value, least, most, units.show_duration) else default

    def size(self, key: str, default: int, least: int = 0, most: int = 1 << 40) -> int:
        value = self._read(key, units.size, "a size like 16MB or 16MiB", default)
        return value if not self.has(key) or self._within(key, value, least, most, _show_size) else default

    def choice(self, key: str, default: str, known: Sequence[str], later: Sequence[str] = ()) -> str:
        """One of ``known``; what is in ``later`` is known, too, and refused by name."""
        node = self.scalar(key)
        if node is None:
            return default
        if node.text in later:
            self.complain(key, f"'{node.text}' {LATER}; use {one_of(known)}")
            return default
        if node.text not in known:
            self.complain(key, f"'{node.text[:60]}' is not {one_of(known)}{nearest(node.text, [*known, *later])}")
            return default
        return node.text

    def address(self, key: str, default: Address) -> Address:
        node = self.scalar(key)
        return default if node is None else self.as_address(key, node) or default

    def as_address(self, key: str, node: Scalar) -> Address | None:
        try:
            return parse_address(node.text)
        except ValueError as error:
            self.complain(key, str(error), node)
            return None

    # --- structure -----------------------------------------------------------------------------------------------

    def block(self, key: str) -> Block | None:
        """The mapping under ``key``."""
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node, Mapping):
            self.complain(key, f"must be a mapping, not a {kind_of(node)}")
            return None
        return Block(node, self.where(key), self.problems)

    def blocks(self, key: str) -> list[Block]:
        """The mappings of the list under ``key``."""
        found = []
        for index, node in enumerate(self.items(key)):
            if isinstance(node, Mapping):
                found.append(Block(node, f"{self.where(key)}[{index}]", self.problems))
            else:
                self.complain(f"{key}[{index}]", f"must be a mapping, not a {kind_of(node)}", node)
        return found

    def items(self, key: str) -> list[Node]:
        """The list under ``key``; nothing when absent."""
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node, SequenceNode):
            self.complain(key, f"must be a list, not a {kind_of(node)}")
            return []
        return node.items

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of text, or one text alone."""
        node = self.get(key)
        if isinstance(node, Scalar):
            return (node.text,)
        found = []
        for index, item in enumerate(self.items(key)):
            if isinstance(item, Scalar) and not item.is_null:
                found.append(item.text)
            else:
                found_instead = "nothing" if isinstance(item, Scalar) else f"a {kind_of(item)}"
                self.complain(f"{key}[{index}]", f"must be text, not {found_instead}", item)
        return tuple(found)

    def text_map(self, key: str) -> dict[str, str]:
        """A mapping of text to text."""
        block = self.block(key)
        if block is None:
            return {}
        return {name: block.text(name) for name in block.node.entries}


def kind_of(node: Node) -> str:
    return "mapping" if isinstance(node, Mapping) else "list" if isinstance(node, SequenceNode) else "single value"


def _show_size(value: float) -> str:
    return units.show_size(int(value))


def plain(node: Node) -> object:
    """The node as plain data, scalars by what they look like: what a plugin gets as its JSON configuration."""
    if isinstance(node, Mapping):
        return {key: plain(item) for key, item in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    if not node.is_plain:
        return node.text
    if node.is_null:
        return None
    for read in (units.boolean, units.integer, units.number):
        value = read(node.text)
        if value is not None:
            return value
    return node.text
