"""What fields mean whichever version carries them: hop-by-hop fields, trailers, lists of tokens.

Sources: RFC 9110 sections 5.6.1 (lists), 6.5.1 (trailers) and 7.6.1 (Connection).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.http.headers import Field

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade", b"http2-settings"}
)
"""Fields that speak of one connection only, listed by ``Connection`` or not."""

_NEVER_STRIPPED: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"expect",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"forwarded",
        b"via",
        b"x-request-id",
        b"x-real-ip",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"b3",
        b"uber-trace-id",
        b"origin",
        b"date",
        b"cache-control",
    }
)
_NEVER_STRIPPED_PREFIXES: Final = (b"x-forwarded-", b"x-sidecar-", b"x-b3-", b"x-envoy-", b":")

_OF_MESH: Final = frozenset({b"x-forwarded-client-cert"})
_OF_MESH_PREFIX: Final = b"x-sidecar-"
_SHADOWED: Final = _OF_MESH | {
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
    b"content-length",
    b"transfer-encoding",
    b"traceparent",
    b"x-real-ip",
}

_FORBIDDEN_TRAILERS: Final = frozenset(
    {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"host",
        b"location",
        b"max-forwards",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"trailer",
        b"vary",
        b"www-authenticate",
        b"x-forwarded-client-cert",
        b"x-request-id",
    }
) | HOP_BY_HOP


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """The members of a comma-separated list, lower-case, empty ones left out."""
    return [token for value in values for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def is_forged(name: bytes) -> bool:
    """True for a name that never passes from outside: only the mesh may set it, or it imitates one that we set.

    Application servers that fold ``_`` into ``-`` would take ``x_request_id`` for the real thing.
    """
    if name.startswith(_OF_MESH_PREFIX) or name in _OF_MESH:
        return True
    if b"_" not in name:
        return False
    plain = name.replace(b"_", b"-")
    return plain in _SHADOWED or plain.startswith(_OF_MESH_PREFIX)


def is_strippable(name: bytes) -> bool:
    """False for a field that a peer's ``Connection`` list must not take away (CVE-2022-31813 and its kin)."""
    return name not in _NEVER_STRIPPED and not name.startswith(_NEVER_STRIPPED_PREFIXES)


def strip_hop_by_hop(fields: list[Field], options: list[bytes], keeps_upgrade: bool = False) -> list[Field]:
    """``fields`` without what belongs to the connection they came on; ``options`` are the ``Connection`` tokens.

    ``te: trailers`` survives, since whether trailers are understood is asked end to end in practice (gRPC).
    """
    listed = {option for option in options if is_strippable(option)}
    kept = []
    for field in fields:
        name = field[0]
        if name in HOP_BY_HOP:
            if name == b"te" and b"trailers" in tokens([field[1]]):
                kept.append((name, b"trailers", field[2]))
            elif name == b"upgrade" and keeps_upgrade:
                kept.append(field)
        elif name not in listed:
            kept.append(field)
    return kept


def trailer_fields(fields: list[Field]) -> list[Field]:
    """The fields that may stand in a trailer section (RFC 9110 section 6.5.1); the others are dropped."""
    return [field for field in fields if field[0] not in _FORBIDDEN_TRAILERS and not is_forged(field[0])]
