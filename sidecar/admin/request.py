"""The one kind of HTTP request these pages take: a head of bounded size, strictly read. Pure functions."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

MAX_HEAD: Final = 8 << 10
MAX_BODY: Final = 64 << 10
MAX_TARGET: Final = 2048

_request_line = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.[01]").fullmatch
_field_line = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*").fullmatch


class Request(NamedTuple):
    """``path`` is without the query and still as sent: nothing is decoded, so nothing can be decoded twice."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body_size: int


class Refusal(Exception):
    """A request that gets ``status`` and a closed connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def parse_request(head: bytes) -> Request:
    """``head`` ends with the empty line; raises :class:`Refusal`."""
    lines = head[:-4].split(b"\r\n")
    match = _request_line(lines[0])
    if match is None:
        raise Refusal(400, "not an HTTP/1.1 request")
    method, target = match.group(1).decode(), match.group(2).decode()
    if len(target) > MAX_TARGET:
        raise Refusal(414, "the target is too long")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        field = _field_line(line)
        if field is None:
            raise Refusal(400, "malformed header line")
        name, value = field.group(1).decode().lower(), field.group(2).decode("latin-1")
        if name in headers and name in {"host", "content-length", "origin", "transfer-encoding"}:
            raise Refusal(400, f"{name} is there twice")
        headers[name] = value
    if "transfer-encoding" in headers:
        raise Refusal(501, "no transfer coding is understood here")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise Refusal(400, "malformed content-length")
    if len(length) > 9 or int(length) > MAX_BODY:
        raise Refusal(413, "no page takes a body of that size")
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, int(length))


def check_browser(request: Request) -> None:
    """Keep other sites' pages out: raises :class:`Refusal` 403.

    DNS rebinding brings a name as Host, so only loopback literals and ``localhost`` are taken; an Origin must be ours.
    """
    host = request.headers.get("host", "")
    if not is_loopback_host(host):
        raise Refusal(403, "this port answers to a loopback address or localhost as Host only")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        raise Refusal(403, "this port does not answer other origins")
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise Refusal(403, "this port does not answer other sites")


def is_loopback_host(host: str) -> bool:
    """``localhost``, ``127.x.y.z`` or ``[::1]``, with or without a port."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::\d{1,5})?", host)
    if match is None:
        return False
    name = match.group(1).strip("[]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
