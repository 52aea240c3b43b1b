"""Request targets that are not a path: absolute form, authority form, asterisk (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from typing import Final

from sidecar.codec.h1.names import HOST, HeadError
from sidecar.http.headers import Field
from sidecar.http.validate import canonical_host

_ABSOLUTE: Final = re.compile(rb"(?i:(https?)://)([^/?#]+)([^#]*)")


def apply_target(fields: list[Field], flags: int) -> None:
    """Bring ``:authority`` and ``:path`` of a head into origin form, in place; raises HeadError.

    The target wins over Host, and a Host that names another is refused rather than repaired.
    """
    method, target = fields[0][1], fields[3][1]
    if method == b"CONNECT":
        _agree(fields, flags, target, b"http")
        del fields[3]
        return
    if target == b"*":
        return
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise HeadError(400, "malformed request target")
    scheme, authority, rest = match.groups()
    _agree(fields, flags, authority, scheme.lower())
    if not rest and method == b"OPTIONS":
        path = b"*"  # RFC 9112 section 3.2.4
    else:
        path = rest if rest[:1] == b"/" else b"/" + rest
    fields[3] = (b":path", path, b":path")


def _agree(fields: list[Field], flags: int, authority: bytes, scheme: bytes) -> None:
    host = fields[2][1]
    if flags & HOST and canonical_host(host, scheme) != canonical_host(authority, scheme):
        raise HeadError(400, "Host and request target differ")
    fields[2] = (b":authority", authority, fields[2][2])
