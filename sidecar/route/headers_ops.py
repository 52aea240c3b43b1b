"""The header edits of a route (``request_headers``, ``response_headers``), compiled once.

An edit never touches what frames a message or belongs to one hop (RFC 9110 section 7.6.1, RFC 9112 section 6), nor
what routing has judged (``host``, pseudo-headers): a rule of a route must not be able to make two readers of one
message disagree about it. Nor does it touch ``x-sidecar-*``, in which the sidecars speak to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sidecar.http.headers import Field, HeaderMap

PROTECTED: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def reason_against(name: str) -> str | None:
    """Why a route may not edit the header ``name`` (any case); None when it may."""
    lowered = name.lower()
    if lowered in PROTECTED or lowered.startswith(":"):
        return f"'{name}' belongs to framing or routing and cannot be edited"
    if lowered.startswith("x-sidecar-"):
        return f"'{name}' is what sidecars tell each other and cannot be edited"
    if not lowered or not _TOKEN.issuperset(lowered):
        return f"'{name}' is not a header name"
    return None


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
    if any(character in value for character in "\r\n\0"):
        raise ValueError(f"the value of '{name}' holds a line break or NUL")
    return value.strip(" \t").encode("utf-8")
