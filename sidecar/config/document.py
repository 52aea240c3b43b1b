"""YAML as a tree that remembers where each value stood. Strict on purpose: what YAML 1.1 would guess is left as text.

Only mappings with text keys, sequences and scalars. Duplicate keys, anchors, aliases, tags, merge keys and a second
document are refused, as is a file over a limit: a configuration must mean the same to its author and to us.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from sidecar.errors import Problem

MAX_FILE: Final = 4 << 20
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 32

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_IPV6: Final = re.compile(r"\[[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?:|[\s\[,]::")
_SURROGATES: Final = re.compile(r"((?<!\\)(?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(slots=True)
class Scalar:
    text: str
    is_plain: bool
    """Written without quotes, so that it may be a number, a boolean or null."""
    file: str
    line: int
    is_replaced: bool = False
    """Holds the value of a variable: quotes around it say nothing about its type, and it is never null."""

    @property
    def is_null(self) -> bool:
        return self.is_plain and not self.is_replaced and self.text in ("", "~", "null")


@dataclass(slots=True)
class Sequence:
    file: str
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    file: str
    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each key."""


Node = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """A file that is no document; holds the one problem that ended the reading."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_file(path: str) -> str:
    """The text of a regular file within the limit; raises :class:`Unreadable`."""
    try:
        # Not to hang on a pipe that nobody writes to.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            data = file.read(MAX_FILE + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise Unreadable(Problem(path, 0, "", f"cannot be read: {reason}")) from None
    if data is None:
        raise Unreadable(Problem(path, 0, "", "is not a regular file"))
    if len(data) > MAX_FILE:
        raise Unreadable(Problem(path, 0, "", f"is larger than {MAX_FILE >> 20} MiB"))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE, codecs.BOM_UTF8)):
        raise Unreadable(Problem(path, 1, "", "begins with a byte order mark: save it as plain UTF-8"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(Problem(path, line, "", "is not UTF-8")) from None
    strange = _CONTROL.search(text)
    if strange is not None:
        line = text.count("\n", 0, strange.start()) + 1
        raise Unreadable(Problem(path, line, "", f"holds the control character U+{ord(strange[0]):04X}"))
    return text


def parse(text: str, file: str) -> tuple[Mapping, list[Problem]]:
    """The document's top mapping and what is wrong inside it; raises :class:`Unreadable` when it cannot be read on."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(_joined_surrogates(text), Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        # At the end of a text the parser stands a line behind its last one.
        line = min(mark.line + 1, len(text.splitlines()) or 1) if mark else 0
        raise Unreadable(Problem(file, line, "", f"is not YAML: {what}{_hint(text, line)}")) from None
    except yaml.YAMLError as error:
        raise Unreadable(Problem(file, 0, "", f"is not YAML: {error}")) from None
    root = builder.root
    if root is None or (isinstance(root, Scalar) and root.is_null):
        return Mapping(file, 1), builder.problems
    if not isinstance(root, Mapping):
        raise Unreadable(Problem(file, root.line, "", "must be a mapping of blocks"))
    return root, builder.problems


def _joined_surrogates(text: str) -> str:
    """JSON writes a character beyond U+FFFF as two escapes (RFC 8259 section 7), which YAML does not know."""
    if "\\u" not in text or text.lstrip()[:1] not in ("{", "["):
        return text
    return _SURROGATES.sub(
        lambda match: match[1] + (bytes.fromhex(match[2]) + bytes.fromhex(match[3])).decode("utf-16-be"), text
    )


def _hint(text: str, line: int) -> str:
    """What most often stands behind a syntax error on ``line``."""
    lines = text.splitlines()
    wrong = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in wrong[: len(wrong) - len(wrong.lstrip())]:
        return " (a tab cannot indent: use spaces)"
    if "${" in wrong:
        return ' (between { } or [ ] a variable needs quotes: "${NAME}")'
    if _IPV6.search(wrong):
        return ' (an IPv6 address needs quotes: "[::1]:8080")'
    return ""


class _Builder:
    """Events to nodes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._stack: list[Mapping | Sequence] = []
        self._keys: list[str | None] = []
        self._count = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(Problem(self.file, line, "", "holds a second document; only one is read"))
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(line, f"'*{event.anchor}': aliases are not used here")
            self._add(Scalar("", True, self.file, line), line)
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()
            self._keys.pop()

    def _node(self, event: Any, line: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise Unreadable(Problem(self.file, line, "", f"holds more than {MAX_NODES} values"))
        if event.anchor:
            self._refuse(line, f"'&{event.anchor}': anchors are not used here")
        if event.tag:
            self._refuse(line, f"'{event.tag}': tags are not used here")
        if isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(event.value, not event.style, self.file, line), line)
            return
        node = Mapping(self.file, line) if isinstance(event, yaml.MappingStartEvent) else Sequence(self.file, line)
        self._add(node, line)
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(Problem(self.file, line, "", f"is nested deeper than {MAX_DEPTH} levels"))
        self._stack.append(node)
        self._keys.append(None)

    def _add(self, node: Node, line: int) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is not None:
            parent.entries.setdefault(key, node)
            self._keys[-1] = None
            return
        if not isinstance(node, Scalar):
            raise Unreadable(Problem(self.file, line, "", "a key must be plain text"))
        if node.is_plain and node.text == "<<":
            self._refuse(line, "'<<': merge keys are not used here")
        elif node.text in parent.entries:
            self._refuse(line, f"'{node.text}' stands here twice (first on line {parent.lines[node.text]})")
        parent.lines.setdefault(node.text, line)
        self._keys[-1] = node.text

    def _refuse(self, line: int, what: str) -> None:
        self.problems.append(Problem(self.file, line, "", what))


def merge(first: Mapping, later: Mapping) -> Mapping:
    """``later`` over ``first``: mappings join key by key, everything else is replaced whole."""
    merged = Mapping(later.file, later.line, dict(first.entries), dict(first.lines))
    for key, node in later.entries.items():
        present = merged.entries.get(key)
        if isinstance(present, Mapping) and isinstance(node, Mapping):
            merged.entries[key] = merge(present, node)
        else:
            merged.entries[key] = node
        merged.lines[key] = later.lines[key]
    return merged
