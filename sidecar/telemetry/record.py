"""The record of one exchange: filled on the way, read once at the end by spans, metrics, log and plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.address import Address
from sidecar.errors import ErrorKind

if TYPE_CHECKING:
    from sidecar.telemetry.span import Span


class ConnectionInfo:
    """Facts of a downstream connection, shared by all its exchanges."""

    __slots__ = ("connection_id", "destination", "direction", "listener", "peer_id", "protocol", "source")

    def __init__(
        self,
        connection_id: int,
        listener: str,
        direction: str,
        source: Address,
        destination: Address,
        protocol: str,
        peer_id: str = "",
    ) -> None:
        self.connection_id = connection_id
        self.listener = listener
        self.direction = direction
        """``inbound`` or ``outbound``."""
        self.source = source
        self.destination = destination
        self.protocol = protocol
        """``h1``, ``h2`` or ``h3``: a label."""
        self.peer_id = peer_id
        """SPIFFE id of a verified peer, else empty."""


class ExchangeRecord:
    """Times are monotonic seconds unless the name says ``unix``; 0.0 means it has not happened."""

    __slots__ = (
        "attempts",
        "connection",
        "details",
        "end",
        "error",
        "error_detail",
        "events",
        "http_version",
        "is_retry",
        "limit",
        "method",
        "path",
        "plugin_properties",
        "request_body_bytes",
        "request_end",
        "request_header_bytes",
        "request_id",
        "response_body_bytes",
        "response_header_bytes",
        "response_start",
        "route_id",
        "span",
        "start",
        "start_unix_nanos",
        "status",
        "upstream",
        "upstream_address",
        "upstream_local_address",
        "upstream_start",
    )

    def __init__(self, connection: ConnectionInfo, start: float, start_unix_nanos: int) -> None:
        self.connection = connection
        self.start = start
        self.start_unix_nanos = start_unix_nanos
        self.request_end = 0.0
        self.upstream_start = 0.0
        self.response_start = 0.0
        self.end = 0.0
        self.method = b""
        self.path = b""
        """``:path`` as the client sent it, with the query."""
        self.http_version = "HTTP/1.1"
        self.request_id = ""
        self.route_id = ""
        self.upstream = ""
        self.upstream_address = ""
        self.upstream_local_address = ""
        self.attempts = 0
        self.is_retry = False
        """The caller's own sidecar is trying again (``x-sidecar-attempt`` over 1)."""
        self.status = 0
        """Final status sent downstream, 0 when none was."""
        self.error: ErrorKind | None = None
        self.error_detail = ""
        self.limit = ""
        """The limit that ended it, as ``loom_limit_hits_total`` names it."""
        self.details = ""
        """Response code details, e.g. ``via_upstream`` or a plugin's own words."""
        self.request_header_bytes = 0
        self.request_body_bytes = 0
        self.response_header_bytes = 0
        self.response_body_bytes = 0
        self.plugin_properties: dict[tuple[str, bytes], bytes] | None = None
        """What plugins have set (``proxy_set_property``), by ``vm_id`` and path."""
        self.span: Span | None = None
        self.events: list[tuple[float, str, dict[str, str | int | float]]] = []
        """Span events: (monotonic time, name, attributes): slow or failed plugin calls, retries."""
