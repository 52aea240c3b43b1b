"""Regular expressions for paths that no request can make slow (reliability row P15).

Python's ``re`` backtracks: ``(a+)+b`` takes longer than a day for forty bytes. Here a pattern is parsed by ``re``'s
own parser, but runs as a finite automaton built beforehand: one look-up per byte, whatever the pattern and the
path. What such an automaton cannot do (back-references, look-around), and a pattern that needs too many states, is
refused when the table is built. A pattern matches a whole path, as in Envoy; groups capture nothing here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    # The parser of `re` has no public name; `sre_parse` is the one that type checkers know.
    import sre_constants as op
    import sre_parse

MAX_PARTS: Final = 500
"""Most steps of one pattern; what stands under ``{n,m}`` counts as often as it repeats."""
MAX_STATES: Final = 500
"""Most states of one pattern's automaton: the bound on what building it may cost."""

_ANY: Final = frozenset(range(256))
_CATEGORIES: Final[dict[Any, Callable[[str], Any]]] = {
    op.CATEGORY_DIGIT: re.compile(r"\d", re.ASCII).match,
    op.CATEGORY_NOT_DIGIT: re.compile(r"\D", re.ASCII).match,
    op.CATEGORY_SPACE: re.compile(r"\s", re.ASCII).match,
    op.CATEGORY_NOT_SPACE: re.compile(r"\S", re.ASCII).match,
    op.CATEGORY_WORD: re.compile(r"\w", re.ASCII).match,
    op.CATEGORY_NOT_WORD: re.compile(r"\W", re.ASCII).match,
}


class PathPattern:
    """One compiled pattern. Raises ValueError with a reason for what is malformed, too big or not regular."""

    __slots__ = ("_classes", "_start", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        if not source.isascii():
            raise ValueError("a path pattern is ASCII")
        try:
            tree: Any = sre_parse.parse(_without_anchors(source), re.ASCII)
        except (re.error, RecursionError, OverflowError) as fault:
            raise ValueError(f"not a regular expression: {fault}") from None
        nodes = _Nodes()
        final = nodes.new()
        first = nodes.sequence(list(tree), final, bool(tree.state.flags & re.IGNORECASE))
        self._classes, class_count = _byte_classes(nodes)
        self._start = _determinise(nodes, first, final, self._classes, class_count)

    def fullmatch(self, path: bytes) -> bool:
        """True when the whole of ``path`` is in the language. One step per byte."""
        state: _State | None = self._start
        for kind in path.translate(self._classes):
            state = state.following[kind]  # type: ignore[union-attr]
            if state is None:
                return False
        return state.is_final  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"PathPattern({self.source!r})"


class _State:
    """A set of places in the pattern that a path can be at, all at once; ``following`` is indexed by byte class."""

    __slots__ = ("following", "is_final")

    def __init__(self, is_final: bool, class_count: int) -> None:
        self.is_final = is_final
        self.following: list[_State | None] = [None] * class_count


def _byte_classes(nodes: _Nodes) -> tuple[bytes, int]:
    """A table from byte to class, where no part of the pattern tells two bytes of one class apart."""
    sets = list({chars for edges in nodes.edges for chars, _ in edges})
    numbers: dict[tuple[bool, ...], int] = {}
    table = bytes(
        numbers.setdefault(tuple(byte in chars for chars in sets), len(numbers)) for byte in range(256)
    )
    return table, len(numbers)


def _determinise(nodes: _Nodes, first: int, final: int, classes: bytes, class_count: int) -> _State:
    """The automaton with one state per reachable set of nodes (the subset construction)."""
    kinds_of = {chars: {classes[byte] for byte in chars} for edges in nodes.edges for chars, _ in edges}
    start_set = nodes.closure((first,))
    start = _State(final in start_set, class_count)
    known = {start_set: start}
    todo = [start_set]
    while todo:
        members = todo.pop()
        state = known[members]
        targets: dict[int, set[int]] = {}
        for node in members:
            for chars, target in nodes.edges[node]:
                for kind in kinds_of[chars]:
                    targets.setdefault(kind, set()).add(target)
        for kind, reached in targets.items():
            closure = nodes.closure(reached)
            following = known.get(closure)
            if following is None:
                if len(known) >= MAX_STATES:
                    raise ValueError(f"the pattern is too ambiguous (more than {MAX_STATES} states)")
                following = known[closure] = _State(final in closure, class_count)
                todo.append(closure)
            state.following[kind] = following
    return start


class _Nodes:
    """The automaton before states are merged; built from the end of the pattern backwards."""

    __slots__ = ("edges", "jumps")

    def __init__(self) -> None:
        self.edges: list[list[tuple[frozenset[int], int]]] = []
        self.jumps: list[list[int]] = []

    def new(self) -> int:
        if len(self.edges) >= MAX_PARTS:
            raise ValueError(f"the pattern is too big (more than {MAX_PARTS} steps, repeats counted)")
        self.edges.append([])
        self.jumps.append([])
        return len(self.edges) - 1

    def closure(self, nodes: Iterable[int]) -> frozenset[int]:
        """``nodes`` and all that can be reached from them without a byte."""
        seen = set(nodes)
        todo = list(seen)
        while todo:
            for target in self.jumps[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)

    def sequence(self, items: list[Any], after: int, ignores_case: bool) -> int:
        for kind, argument in reversed(items):
            after = self._item(kind, argument, after, ignores_case)
        return after

    def _item(self, kind: Any, argument: Any, after: int, ignores_case: bool) -> int:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, items = argument
            return self._repeat(least, most, list(items), after, ignores_case)
        if kind is op.SUBPATTERN:
            _, added, removed, items = argument
            ignores_case = (ignores_case or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
            return self.sequence(list(items), after, ignores_case)
        node = self.new()
        if kind is op.BRANCH:
            for branch in argument[1]:
                self.jumps[node].append(self.sequence(list(branch), after, ignores_case))
            return node
        self.edges[node].append((_bytes_of(kind, argument, ignores_case), after))
        return node

    def _repeat(self, least: int, most: Any, items: list[Any], after: int, ignores_case: bool) -> int:
        if most is op.MAXREPEAT:
            loop = self.new()
            self.jumps[loop] += [after, self.sequence(items, loop, ignores_case)]
            after = loop
        else:
            end = after
            for _ in range(most - least):
                node = self.new()
                self.jumps[node] += [end, self.sequence(items, after, ignores_case)]
                after = node
        for _ in range(least):
            before = len(self.edges)
            after = self.sequence(items, after, ignores_case)
            if len(self.edges) == before:
                break
        return after


def _bytes_of(kind: Any, argument: Any, ignores_case: bool) -> frozenset[int]:
    """The bytes that one single-character item of a pattern accepts."""
    if kind is op.ANY:
        return _ANY
    if kind is op.LITERAL:
        found = {argument}
    elif kind is op.NOT_LITERAL:
        return frozenset(range(256)) - _both_cases({argument}, ignores_case)
    elif kind is op.IN:
        is_negated = argument[0][0] is op.NEGATE
        found = set()
        for inner, value in argument[is_negated:]:
            if inner is op.RANGE:
                found.update(range(value[0], min(value[1], 255) + 1))
            elif inner is op.CATEGORY:
                found.update(byte for byte in range(256) if _CATEGORIES[value](chr(byte)))
            else:
                found.add(value)
        if is_negated:
            return frozenset(range(256)) - _both_cases(found, ignores_case)
    else:
        raise ValueError(f"{_REFUSED.get(str(kind), str(kind).lower())} are not available in a path pattern")
    return _both_cases(found, ignores_case)


_REFUSED: Final = {
    "ASSERT": "look-ahead and look-behind",
    "ASSERT_NOT": "look-ahead and look-behind",
    "AT": "anchors inside the pattern",
    "ATOMIC_GROUP": "atomic groups",
    "GROUPREF": "back-references",
    "GROUPREF_EXISTS": "back-references",
    "POSSESSIVE_REPEAT": "possessive quantifiers",
}


def _both_cases(found: set[int], ignores_case: bool) -> frozenset[int]:
    if any(value > 255 for value in found):
        raise ValueError("a path is ASCII: write other characters as \\x.. bytes of UTF-8")
    if not ignores_case:
        return frozenset(found)
    return frozenset(
        ord(variant) for value in found for variant in (chr(value).lower(), chr(value).upper()) if ord(variant) < 256
    )


def _without_anchors(source: str) -> str:
    """A whole-path match has its anchors built in; writing them is common and changes nothing."""
    source = source.removeprefix("^")
    if source.endswith("$") and (len(source) - len(source[:-1].rstrip("\\")) - 1) % 2 == 0:
        return source[:-1]
    return source
