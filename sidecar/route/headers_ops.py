"""The header edits of a route (``request_headers``, ``response_headers``), compiled once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sidecar.http.edits import reason_against, value_problem
from sidecar.http.headers import Field, HeaderMap


class HeaderOps:
    """One compiled edit: remove first, then set, then add. Raises ValueError for a name or value it cannot carry."""

    __slots__ = ("_added", "_removed", "_set")

    def __init__(
        self,
        *,
        set: Mapping[str, str] | None = None,
        add: Mapping[str, str] | None = None,
        remove: Iterable[str] = (),
    ) -> None:
        self._removed = frozenset(_name(name)[0] for name in remove)
        self._set = tuple((_name(name)[0], _value(name, value)) for name, value in (set or {}).items())
        self._added: tuple[Field, ...] = tuple(
            (lowered, _value(spelling.decode(), value), spelling)
            for (lowered, spelling), value in ((_name(name), value) for name, value in (add or {}).items())
        )

    @property
    def is_empty(self) -> bool:
        return not (self._removed or self._set or self._added)

    def apply(self, headers: HeaderMap) -> None:
        """Edit ``headers`` in place; ``headers.revision`` grows when something changed."""
        removed = self._removed
        if removed:
            kept = [field for field in headers.fields if field[0] not in removed]
            if len(kept) != len(headers.fields):
                headers.fields = kept
                headers.revision += 1
        for name, value in self._set:
            headers.set(name, value)
        for name, value, spelling in self._added:
            headers.add(name, value, spelling)


def _name(name: str) -> tuple[bytes, bytes]:
    """The name as compared and as spelled."""
    reason = reason_against(name)
    if reason is not None:
        raise ValueError(reason)
    return name.lower().encode("ascii"), name.encode("ascii")


def _value(name: str, value: str) -> bytes:
    problem = value_problem(value)
    if problem:
        raise ValueError(f"the value of '{name}' {problem}")
    return value.strip(" \t").encode("utf-8")
