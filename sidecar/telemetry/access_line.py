"""The line of the access log as a structure; apart, since its class keywords are lost on a compiled module."""

from __future__ import annotations

import msgspec


class AccessLogLine(msgspec.Struct, omit_defaults=True):
    """The JSON line; keys in this order, empty ones left out."""

    time: str
    direction: str
    listener: str
    method: str
    path: str
    authority: str = ""
    protocol: str = ""
    status: int = -1
    error: str = ""
    error_detail: str = ""
    duration_ms: float = -1.0
    bytes_in: int = -1
    bytes_out: int = -1
    route: str = ""
    upstream: str = ""
    upstream_address: str = ""
    attempts: int = 0
    request_id: str = ""
    trace_id: str = ""
    source: str = ""
    peer: str = ""
    user_agent: str = ""
    details: str = ""
