"""Message heads in Python: the specification that ``_head_c.pyx`` follows, and the fallback without a compiler.

Strict RFC 9112 sections 2 to 5: lines end in CRLF and nothing else, no folding, no space before the colon. Values are
bytes; 0x80 to 0xFF pass. ``data[start:end]`` is a head without its final empty line: every line in it ends in CRLF.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.codec.h1.names import DROPPED, FLAGS, METHOD_LIMIT, NAME_LIMIT, REPEATED, HeadError
from sidecar.http.headers import Field

_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_METHOD_FIELD: Final = b":method"
_AUTHORITY_FIELD: Final = b":authority"
_PATH_FIELD: Final = b":path"
_STATUS_FIELD: Final = b":status"


def parse_request(
    data: bytes, start: int, end: int, scheme: Field, max_fields: int
) -> tuple[list[Field], int, int]:
    """Fields with the four pseudo-headers first (Host taken out, its first value in ``:authority``), minor version, flags.

    Raises HeadError 400, 431 or 505.
    """
    line, _, rest = data[start:end].partition(b"\r\n")
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
    line, _, rest = data[start:end].partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise HeadError(400, "malformed status line")
    fields: list[Field] = [(_STATUS_FIELD, match[2], _STATUS_FIELD)]
    return fields, int(match[1]), _parse_fields(rest, fields, max_fields, -1)


def parse_trailers(data: bytes, start: int, end: int, max_fields: int) -> tuple[list[Field], int]:
    """The fields of a trailer section and their flags; raises HeadError."""
    fields: list[Field] = []
    return fields, _parse_fields(data[start:end], fields, max_fields, -1)


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
            if flag == 1 and host_at >= 0:
                if not flags & 1 << REPEATED:
                    fields[host_at] = (_AUTHORITY_FIELD, value, b"Host")
                continue
        fields.append((name, value, spelling))
    return flags


def write_fields(start: bytes, fields: list[Field], keeps_length: bool) -> tuple[bytes, bytes | None, int]:
    """``start`` and the field lines, without the final empty line; the content-length value; how many there were.

    Pseudo-headers and what belongs to a connection are left out. Raises ValueError for a field that no peer may see.
    """
    parts = [start]
    length: bytes | None = None
    count = 0
    for name, value, spelling in fields:
        if name[:1] == b":" or name in DROPPED:
            continue
        if name == b"content-length":
            count += 1
            length = value
            if not keeps_length:
                continue
        if not _NAME.fullmatch(spelling) or not _VALUE.fullmatch(value):
            raise ValueError(f"field {name[:40]!r} must not be written")
        parts.append(b"%b: %b\r\n" % (spelling, value))
    return b"".join(parts), length, count
