"""Message heads in Python: the specification that ``_head_c.pyx`` follows, and the fallback without a compiler.

Strict RFC 9112 sections 2 to 5: lines end in CRLF and nothing else, no folding, no space before the colon. Values are
bytes; 0x80 to 0xFF pass. ``data[start:end]`` is a head without its final empty line: every line in it ends in CRLF.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.codec.h1.names import (
    CONTENT_LENGTH,
    FLAGS,
    HOST,
    METHOD_LIMIT,
    NAME_LIMIT,
    NEVER_WRITTEN,
    REPEATED,
    HeadError,
)
from sidecar.http.headers import Field

# The first run of blanks is possessive: given back one by one it would make a long run of them quadratic.
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_VISIBLE: Final = re.compile(rb"[\x21-\x7e]*")
_METHOD_FIELD: Final = b":method"
_AUTHORITY_FIELD: Final = b":authority"
_PATH_FIELD: Final = b":path"
_STATUS_FIELD: Final = b":status"


def parse_request(
    data: bytes, start: int, end: int, scheme: Field, max_fields: int
) -> tuple[list[Field], int, int]:
    """Fields, minor version, flags. The four pseudo-headers come first; Host is taken out, into ``:authority``.

    The third member of ``:authority`` is the spelling of Host. Raises HeadError 400, 431 or 505.
    """
    line, _, rest = _block(data, start, end).partition(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HeadError(400, "malformed request line")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise HeadError(505, "HTTP version not supported")
    if len(method) > METHOD_LIMIT:
        raise HeadError(400, "method too long")
    fields: list[Field] = [
        (_METHOD_FIELD, method, _METHOD_FIELD),
        scheme,
        (_AUTHORITY_FIELD, b"", b"Host"),
        (_PATH_FIELD, target, _PATH_FIELD),
    ]
    return fields, int(minor), _parse_fields(rest, fields, max_fields, 2)


def parse_response(data: bytes, start: int, end: int, max_fields: int) -> tuple[list[Field], int, int]:
    """Fields with ``:status`` first, minor version, flags; raises HeadError."""
    line, _, rest = _block(data, start, end).partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise HeadError(400, "malformed status line")
    fields: list[Field] = [(_STATUS_FIELD, match[2], _STATUS_FIELD)]
    return fields, int(match[1]), _parse_fields(rest, fields, max_fields, -1)


def parse_trailers(data: bytes, start: int, end: int, max_fields: int) -> tuple[list[Field], int]:
    """The fields of a trailer section and their flags; raises HeadError."""
    fields: list[Field] = []
    return fields, _parse_fields(_block(data, start, end), fields, max_fields, -1)


def _block(data: bytes, start: int, end: int) -> bytes:
    block = data[start:end]
    if block[-2:] != b"\r\n":
        raise HeadError(400, "head does not end in CRLF")
    return block


def _parse_fields(block: bytes, fields: list[Field], max_fields: int, host_at: int) -> int:
    """Append the fields of ``block``; a Host goes to index ``host_at`` instead, unless that is negative."""
    flags = 0
    if not block:
        return flags
    lines = block[:-2].split(b"\r\n")
    if len(lines) > max_fields:
        raise HeadError(431, "too many fields", "header_count")
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError(400, "malformed field line")
        spelling, value = match.groups()
        if len(spelling) > NAME_LIMIT:
            raise HeadError(431, "field name too long", "header_bytes")
        name = spelling.lower()
        flag = FLAGS.get(name, 0)
        if flag:
            flags |= flag << REPEATED if flags & flag else flag
            if flag == HOST and host_at >= 0:
                if not flags & HOST << REPEATED:
                    fields[host_at] = (_AUTHORITY_FIELD, value, spelling)
                continue
        fields.append((name, value, spelling))
    return flags


def write_request(fields: list[Field], leaves_out: int) -> tuple[bytes, bytes | None, int]:
    """A request line from the leading pseudo-headers, Host, then as :func:`write_fields`; any other Host is left out.

    Without ``:path`` the authority is the target (CONNECT). Raises ValueError.
    """
    method = path = b""
    authority = b""
    host = b"Host"
    for name, value, spelling in fields:
        if name == _METHOD_FIELD:
            method = value
        elif name == _AUTHORITY_FIELD:
            authority = value
            host = host if spelling[:1] == b":" else spelling
        elif name == _PATH_FIELD:
            path = value
        elif name[:1] != b":":
            break
    target = path or authority
    if not target or not _NAME.fullmatch(method) or not _VISIBLE.fullmatch(target) or not _VISIBLE.fullmatch(authority):
        raise ValueError("request line must not be written")
    if host.lower() != b"host":
        raise ValueError("field b':authority' must not be written")
    return write_fields(b"%b %b HTTP/1.1\r\n%b: %b\r\n" % (method, target, host, authority), fields, leaves_out | HOST)


def write_fields(start: bytes, fields: list[Field], leaves_out: int) -> tuple[bytes, bytes | None, int]:
    """``start`` and the field lines, without the final empty line; the last content-length value; the flags seen.

    Left out are pseudo-headers, what belongs to a connection, and names with a flag in ``leaves_out``; their flags are
    told all the same. Raises ValueError for a field that no peer may see.
    """
    parts = [start]
    length: bytes | None = None
    flags = 0
    leaves_out |= NEVER_WRITTEN
    for name, value, spelling in fields:
        if name[:1] == b":":
            continue
        flag = FLAGS.get(name, 0)
        if flag:
            flags |= flag << REPEATED if flags & flag else flag
            if flag == CONTENT_LENGTH:
                length = value
            if flag & leaves_out:
                continue
        # A spelling of another name would carry past what was judged by the name.
        if spelling.lower() != name or not _NAME.fullmatch(spelling) or not _VALUE.fullmatch(value):
            raise ValueError(f"field {name[:40]!r} must not be written")
        parts.append(b"%b: %b\r\n" % (spelling, value))
    return b"".join(parts), length, flags
