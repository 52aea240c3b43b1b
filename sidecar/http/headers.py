"""One ordered header block, the same for every HTTP version and for plugins.

A block is a list of ``(name, value, spelling)`` triples: the lower-case name everybody compares, the value
bytes, and the name as it stood on the wire, kept so that HTTP/1.1 passes through byte for byte. Pseudo-headers
(``:method``, ``:scheme``, ``:authority``, ``:path``; ``:status``) come first, as in RFC 9113 section 8.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Field = tuple[bytes, bytes, bytes]


class HeaderMap:
    """An ordered multi-map of header fields. Names given to its methods must be lower-case bytes."""

    __slots__ = ("fields", "revision")

    def __init__(self, fields: list[Field] | None = None) -> None:
        self.fields: list[Field] = [] if fields is None else fields
        self.revision = 0
        """Grows with each change, so that a cached view (route, serialised pairs) knows when it is stale."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> HeaderMap:
        """Build from plain pairs; names are lower-cased and their spelling kept."""
        return cls([(name.lower(), value, name) for name, value in pairs])

    def get(self, name: bytes) -> bytes | None:
        """The first value of ``name``."""
        for field in self.fields:
            if field[0] == name:
                return field[1]
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of ``name`` in order."""
        return [field[1] for field in self.fields if field[0] == name]

    def add(self, name: bytes, value: bytes, spelling: bytes | None = None) -> None:
        """Append a field; pseudo-headers go after the last pseudo-header already there."""
        self.revision += 1
        field = (name, value, spelling or name)
        if name[:1] == b":":
            self.fields.insert(sum(1 for present in self.fields if present[0][:1] == b":"), field)
        else:
            self.fields.append(field)

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field called ``name`` by one, in the place of the first; append when there was none."""
        fields = self.fields
        index = self._find(name)
        if index < 0:
            self.add(name, value)
            return
        self.revision += 1
        fields[index] = (name, value, fields[index][2])
        if any(field[0] == name for field in fields[index + 1 :]):
            fields[index + 1 :] = [field for field in fields[index + 1 :] if field[0] != name]

    def _find(self, name: bytes) -> int:
        """Where the first ``name`` stands, or -1."""
        for index, field in enumerate(self.fields):
            if field[0] == name:
                return index
        return -1

    def remove(self, name: bytes) -> bool:
        """Drop every field called ``name``; True when there was one."""
        kept = [field for field in self.fields if field[0] != name]
        if len(kept) == len(self.fields):
            return False
        self.fields = kept
        self.revision += 1
        return True

    def replace_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Put other pairs in place of everything; a spelling already known for a name is kept."""
        spellings = {field[0]: field[2] for field in self.fields}
        fresh = [(name.lower(), value) for name, value in pairs]
        self.fields = [(name, value, spellings.get(name, name)) for name, value in fresh]
        self.fields.sort(key=lambda field: field[0][:1] != b":")
        self.revision += 1

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Lower-case names and values, in order."""
        return [(field[0], field[1]) for field in self.fields]

    def copy(self) -> HeaderMap:
        return HeaderMap(self.fields.copy())

    def byte_size(self) -> int:
        """Bytes of names and values, the figure that header limits are about."""
        return sum(len(field[0]) + len(field[1]) for field in self.fields)

    def __contains__(self, name: bytes) -> bool:
        return any(field[0] == name for field in self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderMap) and self.pairs() == other.pairs()

    __hash__ = None  # type: ignore[assignment]  # a mutable map must not be a key

    def __repr__(self) -> str:
        return f"HeaderMap({self.pairs()!r})"
