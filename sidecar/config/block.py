"""Reading one mapping of the document by its schema: each accessor takes a key, says what is wrong, and goes on.

A reader asks for every key it knows and then calls :meth:`Block.finish`, which turns what nobody asked for into
problems. So the accessors *are* the schema, and nothing can be accepted and then ignored.

Where text is meant, a scalar is what stands there: ``on``, ``no``, ``014`` and ``1.10`` are text then. Where a number
or a boolean is meant, only a plain decimal and ``true`` or ``false`` without quotes are one.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from sidecar.address import Address, parse_address
from sidecar.config import units
from sidecar.config.document import Mapping, Node, Scalar
from sidecar.config.document import Sequence as SequenceNode
from sidecar.errors import Problem
from sidecar.http.validate import check_authority

Value = TypeVar("Value")
LATER: Final = "is not available yet"
MAX_NAME: Final = 128
MAX_HINTS: Final = 500
"""Problems after which nobody reads hints, each of which costs more than all of the reading."""

_NUMERIC_HOST: Final = re.compile(r"[0-9.]+")


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the most similar of ``known``, or nothing."""
    import difflib  # only a mistake needs it

    # The comparison is quadratic, and the word is whatever stood in the file.
    found = difflib.get_close_matches(word[:MAX_NAME], list(known), 1, 0.5)
    return f" (did you mean '{found[0]}'?)" if found else ""


def one_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(f"'{name}'" for name in names[:-1]), f"'{names[-1]}'")))


def host_problem(host: str) -> str:
    """Empty when ``host`` is an IP literal or can be a name, else what is wrong with it."""
    try:
        ipaddress.ip_address(host)
        return ""
    except ValueError:
        pass
    if _NUMERIC_HOST.fullmatch(host):
        return f"'{host}' is not an IPv4 address"
    is_name = ":" not in host and host.isascii() and not check_authority(host.encode())
    return "" if is_name else f"'{host[:60]}' is neither an IP address nor a host name"


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
        """A problem of ``key``, on the line of ``node``, else of the key's value, else of the block."""
        at = node or self.node.entries.get(key)
        if at is None:
            line = self.node.line
        elif node is None and not isinstance(at, Scalar):
            line = self.node.lines[key]
        else:
            line = at.line
        self.problems.append(Problem((at or self.node).file, line, self.where(key), message))

    def finish(self, elsewhere: dict[str, str] | None = None) -> None:
        """Every key that no accessor asked for is unknown; ``elsewhere`` says where some of them belong."""
        for key, node in self.node.entries.items():
            if key not in self._asked:
                hint = f" ({elsewhere[key]})" if elsewhere and key in elsewhere else self._hint(key)
                self.problems.append(Problem(node.file, self.node.lines[key], self.where(key), f"unknown key{hint}"))

    def _hint(self, key: str) -> str:
        if len(self.problems) > MAX_HINTS:
            return ""
        known = sorted(self._asked)
        return nearest(key, known) or f" (known here: {', '.join(known)})"

    # --- looking -----------------------------------------------------------------------------------------------

    @property
    def asked(self) -> frozenset[str]:
        """The keys that are known so far."""
        return frozenset(self._asked)

    def get(self, key: str) -> Node | None:
        """The value of ``key``; None when it is absent or null."""
        self._asked.add(key)
        node = self.node.entries.get(key)
        return None if node is None or (isinstance(node, Scalar) and node.is_null) else node

    def has(self, key: str) -> bool:
        return self.get(key) is not None

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
            self.require(key)
            return ""
        node = self.scalar(key)
        if node is not None and not node.text:
            self.complain(key, "must not be empty")
        return node.text if node is not None else ""

    def require(self, key: str, what: str = "is required") -> bool:
        """True when ``key`` is there; else a problem, unless one already says why it has no value."""
        if self.has(key):
            return True
        if not any(problem.path == self.where(key) for problem in self.problems):
            self.complain(key, what)
        return False

    def name(self, key: str = "name") -> str:
        """Required text that can be a label of metrics and a word of a log line."""
        name = self.required(key)
        if len(name) > MAX_NAME:
            self.complain(key, f"is longer than {MAX_NAME} characters")
        elif not name.isprintable() or " " in name:
            self.complain(key, f"{name!r} holds a space or a character that cannot be printed")
        return name

    def _read(
        self, key: str, read: Callable[[str], Value | None], what: str, default: Value, needs_plain: bool = False
    ) -> Value:
        node = self.scalar(key)
        if node is None:
            return default
        value = read(node.text) if node.is_plain or node.is_replaced or not needs_plain else None
        if value is None:
            quoted = needs_plain and not node.is_plain and read(node.text) is not None
            self.complain(key, f"'{node.text[:60]}' is not {what}{' (it stands in quotes)' if quoted else ''}")
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

    def file_path(self, key: str, default: str = "") -> str:
        """A path; a relative one is relative to the folder of the file that names it. Absolute in the answer."""
        node = self.scalar(key)
        if node is None:
            return default
        if not node.text:
            self.complain(key, "must not be empty")
            return default
        return os.path.abspath(os.path.join(os.path.dirname(node.file), node.text))

    def listen_address(self, key: str, default: Address) -> Address:
        """An address to listen on: an IP address and a port."""
        node = self.scalar(key)
        if node is None:
            return default
        address = self.as_address(key, node)
        return address if address is not None and self.check_ip(key, address, node) else default

    def as_address(self, key: str, node: Scalar) -> Address | None:
        try:
            address = parse_address(node.text)
            reason = host_problem(address.host)
        except ValueError as error:
            address, reason = None, str(error)
        if reason:
            self.complain(key, reason, node)
            return None
        return address

    def check_ip(self, key: str, address: Address, node: Node) -> bool:
        try:
            ipaddress.ip_address(address.host)
        except ValueError:
            self.complain(key, f"'{address.host}' is a name; what is listened on is an IP address", node)
            return False
        return True

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
        """One block for each item of the list under ``key``; what is no mapping is said, and stands as an empty one."""
        found = []
        for index, node in enumerate(self.items(key)):
            place = f"{self.where(key)}[{index}]"
            if isinstance(node, Mapping):
                found.append(Block(node, place, self.problems))
            else:
                self.complain(f"{key}[{index}]", f"must be a mapping, not a {kind_of(node)}", node)
                found.append(Block(Mapping(node.file, node.line), place, []))
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

    def texts(self, key: str, *, empty: str = "") -> tuple[str, ...]:
        """A list of text, or one text alone. ``empty`` says why a list that is there must not be empty."""
        node = self.get(key)
        if isinstance(node, Scalar):
            return (node.text,)
        if empty and isinstance(node, SequenceNode) and not node.items:
            self.complain(key, empty)
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
        for name, node in block.node.entries.items():
            if isinstance(node, Scalar) and node.is_null:
                block.complain(name, "must be text, not nothing", node)
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
