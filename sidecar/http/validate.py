"""The one validator of requests, for every HTTP version, before routing and policy.

What is ambiguous is refused, not repaired: the app must get exactly the request that routes and policy judged.
Sources: RFC 9110 sections 4.2, 5 and 9.1, RFC 9112 section 3.2, RFC 3986 sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sidecar.http.headers import HeaderMap

METHOD_LIMIT: Final = 64


class Refusal(NamedTuple):
    """Why a request is refused: the HTTP status (its code is ``bad_request``) and a sentence for the log."""

    status: int
    detail: str


_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,17}")

# Lower-case letters are lawful in a method, but servers that fold case would see another one than policy did.
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]{1,64}")
_PLAIN_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS"})

# One look decides for nearly every request: no escapes, no ';', no segment of dots, no empty segment.
_PLAIN_PATH: Final = re.compile(
    rb"/(?:[A-Za-z0-9_~!$&'()*+,=:@\-][A-Za-z0-9_~!$&'()*+,=:@.\-]*/)*"
    rb"(?:[A-Za-z0-9_~!$&'()*+,=:@\-][A-Za-z0-9_~!$&'()*+,=:@.\-]*)?(?:\?[A-Za-z0-9_~!$&'()*+,=:@./?;\-]*)?"
)
_PATH_BYTES: Final = re.compile(rb"/[!$-\x5b\x5d-~]*")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")
_DOT_SEGMENT: Final = re.compile(rb"(?:\.|%2[eE]){1,2}(?:;.*)?")

_AUTHORITY: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}(?:%25[A-Za-z0-9._~\-]+)?\]|[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254})(?::([0-9]{0,5}))?"
)
_DEFAULT_PORTS: Final = {b"http": b"80", b"https": b"443"}


def check_request(headers: HeaderMap, allows_connect: bool = False) -> Refusal | None:
    """None when the request head may be routed, else why not."""
    method = authority = path = None
    for name, value, _ in headers.fields:
        if name == b":path":
            path = value
        elif name == b":method":
            method = value
        elif name == b":authority":
            authority = value
        elif name[:1] != b":":
            break
    if method is None:
        return Refusal(400, "no method")
    if method not in _PLAIN_METHODS:
        if not _METHOD.fullmatch(method):
            return Refusal(400, "method is not an upper-case token")
        if method == b"CONNECT":
            return _check_connect(authority, allows_connect)
    if authority and (reason := check_authority(authority)):
        return Refusal(400, reason)
    if path is None:
        return Refusal(400, "no path")
    if _PLAIN_PATH.fullmatch(path):
        return None
    reason = check_path(path, method)
    return Refusal(400, reason) if reason else None


def _check_connect(authority: bytes | None, is_allowed: bool) -> Refusal | None:
    if not is_allowed:
        return Refusal(405, "CONNECT is not routed here")
    if not authority or b":" not in authority or authority.endswith(b":"):
        return Refusal(400, "CONNECT needs host:port")
    reason = check_authority(authority)
    return Refusal(400, reason) if reason else None


def check_path(path: bytes, method: bytes = b"GET") -> str:
    """Empty when ``path`` (with its query) reads the same to everybody, else the reason.

    Dots, slashes and backslashes hidden behind escapes are judged after one decoding; ``%25`` stays a percent sign.
    """
    if path == b"*":
        return "" if method == b"OPTIONS" else "'*' is a target of OPTIONS only"
    if path[:1] != b"/":
        return "path does not begin with a slash"
    if not _PATH_BYTES.fullmatch(path):
        return "byte in the path that does not belong there"
    path, _, query = path.partition(b"?")
    if b"%" in query and (reason := _check_escapes(query, is_path=False)):
        return reason
    if b"%" in path and (reason := _check_escapes(path, is_path=True)):
        return reason
    if b"//" in path:
        return "empty path segment"
    for segment in path.split(b"/"):
        if segment[:1] in (b".", b"%") and _DOT_SEGMENT.fullmatch(segment):
            return "dot segment in the path"
        # "/..%3b/x" is a dot segment to a server that decodes before it cuts parameters off.
        if b"%3" in segment and _DOT_SEGMENT.fullmatch(segment.replace(b"%3b", b";").replace(b"%3B", b";")):
            return "dot segment in the path"
    return ""


def _check_escapes(text: bytes, is_path: bool) -> str:
    decoded = bytearray()
    for match in _ESCAPE.finditer(text):
        digits = match[1]
        if digits is None:
            return "broken percent escape"
        code = int(digits, 16)
        decoded.append(code)
        if is_path and (code < 0x20 or code == 0x7F):
            return "escaped control byte in the path"
        if not is_path and code == 0:
            return "escaped NUL in the query"
        if is_path and code in (0x2F, 0x5C):
            return "escaped slash or backslash in the path"
        if code in (0xC0, 0xC1) or code > 0xF4:
            return "escape that no UTF-8 text contains"
    if is_path and max(decoded, default=0) >= 0x80:
        try:
            _unescape(text).decode("utf-8")
        except UnicodeDecodeError:
            return "escapes in the path are not UTF-8"
    return ""


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)


def check_authority(authority: bytes) -> str:
    """Empty when ``authority`` is host and optional port without userinfo, else the reason.

    RFC 3986 allows percent escapes in a name; no host is called so, and each reader decodes them otherwise.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return "host is malformed"
    port = match[1]
    if port and int(port) > 65535:
        return "port out of range"
    return ""


def canonical_host(authority: bytes, scheme: bytes = b"http") -> bytes:
    """The form in which hosts are compared: lower case, no trailing dot, no default port of ``scheme``."""
    host, colon, port = authority.lower().rpartition(b":")
    if not colon or b"]" in port:
        host, port = authority.lower(), b""
    if host.endswith(b".") and len(host) > 1:
        host = host[:-1]
    return host if not port or port == _DEFAULT_PORTS.get(scheme) else host + b":" + port


def content_length(value: bytes) -> int | None:
    """The number of a ``content-length`` value; None unless it is one plain decimal (no sign, list or leading zero)."""
    return int(value) if _LENGTH.fullmatch(value) else None


def check_fields(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """Empty when every pair may be written to any peer, else the reason. Pseudo-header names pass by their form."""
    for name, value in pairs:
        plain = name[1:] if name[:1] == b":" else name
        if not _TOKEN.fullmatch(plain):
            return f"field name {name[:40]!r} is not a token"
        if not _FIELD_VALUE.fullmatch(value):
            return f"control byte in the value of {name[:40]!r}"
    return ""
