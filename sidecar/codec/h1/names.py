"""What both head parsers share: the error, the limits of grammar, and the names that mean something to a codec."""

from __future__ import annotations

from typing import Final

NAME_LIMIT: Final = 256
METHOD_LIMIT: Final = 64

HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 4
CONNECTION: Final = 8
HOP: Final = 16
UPGRADE: Final = 32
EXPECT: Final = 64
SHADOW: Final = 128
TE: Final = 256
REPEATED: Final = 16
"""Shift: ``flag << REPEATED`` says that the name stood there more than once."""

FLAGS: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"http2-settings": HOP,
    b"te": TE,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"content_length": SHADOW,
    b"transfer_encoding": SHADOW,
}
"""Names by what they tell the codec; ``SHADOW`` are look-alikes that some servers take for the real thing."""

OF_CONNECTION: Final = CONNECTION | HOP | TE | UPGRADE | TRANSFER_ENCODING
"""A head with one of these holds fields that end here."""

NEVER_WRITTEN: Final = CONNECTION | HOP | TRANSFER_ENCODING
"""Never written from an event: the codec decides about its own connection."""

COMMON: Final = (
    b"Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Credentials "
    b"Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin "
    b"Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers "
    b"Access-Control-Request-Method Age Allow Alt-Svc Authorization B3 Baggage Cache-Control Cache-Status Connection "
    b"Content-Disposition Content-Encoding Content-Language Content-Length Content-Location Content-Range "
    b"Content-Security-Policy Content-Type Content_Length Cookie Cross-Origin-Opener-Policy "
    b"Cross-Origin-Resource-Policy DNT Date ETag Expect Expires Forwarded From Grpc-Encoding Grpc-Message "
    b"Grpc-Status Grpc-Timeout HTTP2-Settings Host If-Match If-Modified-Since If-None-Match If-Range "
    b"If-Unmodified-Since Keep-Alive Last-Modified Link Location Max-Forwards Origin Permissions-Policy Pragma "
    b"Priority Proxy-Authorization Proxy-Connection Range Referer Referrer-Policy Retry-After Sec-CH-UA "
    b"Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User "
    b"Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version "
    b"Server Server-Timing Set-Cookie Strict-Transport-Security TE Traceparent Tracestate Trailer Transfer-Encoding "
    b"Transfer_Encoding Uber-Trace-Id Upgrade Upgrade-Insecure-Requests User-Agent Vary Via WWW-Authenticate Warning "
    b"X-Api-Key X-B3-ParentSpanId X-B3-Sampled X-B3-SpanId X-B3-TraceId X-Content-Type-Options "
    b"X-Envoy-Upstream-Service-Time X-Forwarded-Client-Cert X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto "
    b"X-Frame-Options X-Powered-By X-RateLimit-Limit X-RateLimit-Remaining X-RateLimit-Reset X-Real-IP X-Request-ID "
    b"X-Requested-With X-Sidecar-Attempt X-Sidecar-Error X-XSS-Protection"
).split()
"""Usual spellings, so that the compiled twin hands out shared objects; holds every name of :data:`FLAGS`."""


class HeadError(Exception):
    """A head that is refused; ``limit`` names the limit it broke, or is empty."""

    def __init__(self, status: int, detail: str, limit: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.limit = limit
