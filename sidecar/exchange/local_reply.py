"""The one place where a refusal becomes an answer: kind to status, gRPC status, headers, body.

gRPC callers get a trailers-only answer (gRPC over HTTP/2, "Responses"): HTTP 200, ``grpc-status`` and
``grpc-message`` in the only header block. The mapping of HTTP status to gRPC status is gRPC's own
(doc/http-grpc-status-mapping in the gRPC repository).
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import LocalReply
from sidecar.http.headers import HeaderMap

STATUS: dict[ErrorKind, int] = {
    ErrorKind.NO_ROUTE: 404,
    ErrorKind.DENIED: 403,
    ErrorKind.PLUGIN_FAILED: 503,
    ErrorKind.PLUGIN_TIMEOUT: 503,
    ErrorKind.BODY_TOO_LARGE: 413,
    ErrorKind.HEADERS_TOO_LARGE: 431,
    ErrorKind.BAD_REQUEST: 400,
    ErrorKind.OVERLOADED: 503,
    ErrorKind.UPSTREAM_CONNECT: 503,
    ErrorKind.UPSTREAM_RESET: 502,
    ErrorKind.UPSTREAM_TIMEOUT: 504,
    ErrorKind.UPSTREAM_TLS: 503,
    ErrorKind.DRAINING: 503,
    ErrorKind.REQUEST_TIMEOUT: 408,
    ErrorKind.INTERNAL: 500,
}

_GRPC_OF_HTTP: dict[int, int] = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_OF_KIND: dict[ErrorKind, int] = {
    ErrorKind.BODY_TOO_LARGE: 8,
    ErrorKind.HEADERS_TOO_LARGE: 8,
    ErrorKind.UPSTREAM_TIMEOUT: 4,
    ErrorKind.REQUEST_TIMEOUT: 4,
}
_UNKNOWN = 2


def reply_for(error: ProxyError) -> LocalReply:
    """The answer that tells a peer as much about ``error`` as it may know."""
    headers = [(b"x-sidecar-error", error.kind.value.encode())]
    if error.kind is ErrorKind.OVERLOADED:
        headers.append((b"retry-after", b"1"))
    status = error.status or STATUS[error.kind]
    return LocalReply(status, headers, error=error, details=error.kind.value, grpc_status=_GRPC_OF_KIND.get(error.kind))


def is_grpc(request_headers: HeaderMap) -> bool:
    """True for ``application/grpc`` and its ``+`` variants, not for gRPC-Web."""
    content_type = request_headers.get(b"content-type")
    if content_type is None or not content_type.startswith(b"application/grpc"):
        return False
    return content_type[16:17] in (b"", b"+", b";")


def render(reply: LocalReply, request_headers: HeaderMap) -> tuple[HeaderMap, bytes]:
    """The head (``:status`` first) and the body to send.

    The length is always ours, ``text/plain`` is the type of a body that came without one (as in Envoy), and
    repeated names are kept, since ``set-cookie`` needs them.
    """
    if is_grpc(request_headers):
        return _render_grpc(reply), b""
    body = reply.body
    fields = [(b":status", b"%d" % reply.status, b":status")]
    typed = False
    for name, value in reply.headers:
        lower = name.lower()
        if lower == b"content-length" or lower[:1] == b":":
            continue
        typed = typed or lower == b"content-type"
        fields.append((lower, value, name))
    if body and not typed:
        fields.append((b"content-type", b"text/plain", b"content-type"))
    if reply.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(body), b"content-length"))
    return HeaderMap(fields), body


def _render_grpc(reply: LocalReply) -> HeaderMap:
    status = reply.grpc_status
    if status is None:
        status = _GRPC_OF_HTTP.get(reply.status, _UNKNOWN)
    pairs = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % status)]
    if reply.body:
        pairs.append((b"grpc-message", quote_from_bytes(reply.body, safe=" !\"#$&'()*+,/:;<=>?@[]^_`{|}~").encode()))
    dropped = (b"content-type", b"content-length", b"grpc-status", b"grpc-message")
    pairs += [(name, value) for name, value in reply.headers if name.lower() not in dropped and name[:1] != b":"]
    return HeaderMap.of(pairs)
