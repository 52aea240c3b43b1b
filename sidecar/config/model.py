"""The configuration as frozen values; the one shape that every other floor sees, each its own piece.

Sizes are bytes, times are seconds; ``line`` is where it stood, and no part of what it is. The text under a field is its
page in ``docs/config.md``. What a later version brings has no field here: its keys are known to the readers of the
blocks, and refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.address import Address

PHASES = (
    "on_request_headers",
    "on_request_body",
    "on_request_trailers",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "on_log",
)
"""The names a plugin's ``phase`` may have."""

CAUSES = ("load", "trap", "timeout", "limit")
"""The causes of ``on_failure``."""


@dataclass(frozen=True, slots=True)
class Node:
    service: str = ""
    """OpenTelemetry ``service.name``; `OTEL_SERVICE_NAME` is honoured when absent."""
    namespace: str = ""
    """OpenTelemetry ``service.namespace``."""
    trust_domain: str = ""
    """The trust domain of this mesh."""


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    """Unique; the ``listener`` label of metrics and logs."""
    direction: str
    """``inbound`` (others call our app) or ``outbound`` (our app calls others)."""
    addresses: tuple[Address, ...]
    """Written ``address``: one address or a list. An IPv6 address binds IPv6 only."""
    protocol: str = "auto"
    """``auto`` or ``http``."""
    upstream: str | None = None
    """Where a request goes that no route matches; without it such a request is ``no_route`` 404."""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: Address
    """``HOST:PORT``, or the two keys ``host`` and ``port``."""
    weight: int = 1
    """Share of the traffic, beside the other endpoints' weights."""


@dataclass(frozen=True, slots=True)
class Match:
    hosts: tuple[str, ...] = ()
    """Outbound requests to these hosts (exact or ``*.suffix``) go to this upstream when no route matches."""


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    """Unique; what routes, listeners and plugins' HTTP calls name."""
    endpoints: tuple[Endpoint, ...]
    """A list of ``HOST:PORT`` or ``{host, port, weight}``."""
    protocol: str = "auto"
    """``auto`` or ``http1``."""
    match: Match | None = None
    """What no route names and still comes here."""
    load_balancer: str = "p2c_ewma"
    """``round_robin``, ``random``, ``least_request`` or ``p2c_ewma``."""
    connect_timeout: float = 5.0
    """Of one try to connect."""
    idle_timeout: float = 60.0
    """How long an unused connection is kept."""
    max_connections: int = 1024
    """Per endpoint and worker."""
    max_pending: int = 1024
    """Requests that wait for a connection, per endpoint and worker; beyond it ``overloaded``."""
    max_requests: int = 4096
    """Requests in flight to the upstream, per worker; beyond it ``overloaded``."""
    retry_budget: float = 0.2
    """Retries as a share of requests, on top of ten a second."""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Drain:
    delay: float = 5.0
    """How long connections are still accepted after readiness went off."""
    timeout: float = 25.0
    """How long open requests may take after that."""


@dataclass(frozen=True, slots=True)
class Plugin:
    name: str
    """Unique."""
    path: str
    """Absent: ``NAME.wasm`` is looked for in ``plugins``, beside this file and in ``/etc/sidecar/plugins``."""
    sha256: str = ""
    """Refuse other bytes than these."""
    phases: tuple[str, ...] | None = None
    """Written ``phase``: one name or a list; absent is every phase that the module exports."""
    priority: int = 0
    """Higher runs first on the request path and last on the response path; equal ones in the order of the file."""
    config: bytes = b""
    """A mapping is handed over as JSON, text as it is."""
    vm_config: bytes = b""
    """What ``proxy_on_vm_start`` is given; as ``config``."""
    root_id: str = ""
    """Which of a module's root contexts is meant."""
    vm_id: str = ""
    """Shared data and queues are shared among plugins of one ``vm_id``."""
    memory_limit: int = 16_000_000
    """Most linear memory of one instance."""
    timeout: float = 0.05
    """Per call into the plugin."""
    log_level: str = "info"
    """Least level of the plugin's own lines: ``trace`` to ``critical``, or ``off``."""
    direction: str = "both"
    """``inbound``, ``outbound`` or ``both``."""
    on_failure: Mapping[str, str] = field(default_factory=dict)
    """For each of ``load``, ``trap``, ``timeout`` and ``limit``: ``closed`` or ``open``."""
    max_body: int = 1 << 20
    """Most that the plugin may hold back of one body."""
    overflow_streams: bool = False
    """Written ``on_overflow``: ``reject`` (413) or ``stream``."""
    allow_upstreams: tuple[str, ...] | None = None
    """What its HTTP calls may reach; absent is any named upstream."""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PluginUse:
    """A plugin as one route names it."""

    name: str
    """Of a configured plugin."""
    config: bytes | None = None
    """In place of the plugin's own."""


DEFAULT_RETRY_ON = ("connect-failure", "refused-stream")


@dataclass(frozen=True, slots=True)
class Retries:
    attempts: int = 1
    """Tries after the first."""
    on: tuple[str, ...] = DEFAULT_RETRY_ON
    """``connect-failure``, ``refused-stream``, ``reset``, ``gateway-error``, ``5xx`` or a status code."""
    per_try_timeout: float | None = None
    """Absent: only the route's timeout."""


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    set: Mapping[str, str] = field(default_factory=dict)
    """Name to value; replaces what is there."""
    add: Mapping[str, str] = field(default_factory=dict)
    """Name to value; stands beside what is there."""
    remove: tuple[str, ...] = ()
    """Names."""


@dataclass(frozen=True, slots=True)
class Route:
    id: str
    """Unique; the ``route`` label of metrics and the name of spans."""
    direction: str = "both"
    """``inbound``, ``outbound`` or ``both``."""
    host: str | None = None
    """Exact, or ``*.suffix``."""
    path: str | None = None
    """Exact, or a prefix ``/x/*``."""
    path_regex: str | None = None
    """Written ``path: {regex: ...}``; matches the whole path."""
    methods: tuple[str, ...] = ()
    """A list in upper case; absent is any."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """All must match."""
    split: tuple[tuple[str, int], ...] = ()
    """A list of ``{upstream, weight}``; written ``upstream: name`` when it is one."""
    plugins: tuple[PluginUse, ...] | None = None
    """Only these, in priority order; absent is all."""
    timeout: float | None = None
    """For the whole answer; absent is ``limits.route_timeout``."""
    retries: Retries | None = None
    """Absent: only what is always safe, a connection that died before it was used."""
    rewrite_prefix: str | None = None
    """Written ``rewrite: {prefix: ...}``."""
    request_headers: HeaderEdit = HeaderEdit()
    """Edits on the way to the upstream."""
    response_headers: HeaderEdit = HeaderEdit()
    """Edits on the way back."""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Tracing:
    endpoint: str | None = None
    """An OTLP collector. Absent: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`."""
    protocol: str | None = None
    """``grpc`` or ``http/protobuf``. Absent: the environment, else grpc."""
    sample_rate: float | None = None
    """0.0 to 1.0, parent-based. Absent: `OTEL_TRACES_SAMPLER`, else 1.0."""
    propagation: tuple[str, ...] = ("tracecontext", "baggage", "b3", "jaeger")
    """Formats that are read and written, in this order."""


METRICS_ADDRESS = Address("0.0.0.0", 15020)
HEALTH_ADDRESS = Address("0.0.0.0", 15021)
ADMIN_ADDRESS = Address("127.0.0.1", 15000)


@dataclass(frozen=True, slots=True)
class Metrics:
    address: Address = METRICS_ADDRESS
    """Where ``/metrics`` is."""
    max_series: int = 2000
    """Hard cap; what traffic makes beyond it is counted as ``other``."""


@dataclass(frozen=True, slots=True)
class Health:
    address: Address = HEALTH_ADDRESS
    """Where probes ask."""


@dataclass(frozen=True, slots=True)
class Admin:
    address: Address = ADMIN_ADDRESS
    """Loopback only; read-only."""
    socket: str = "/run/sidecar/admin.sock"
    """Unix socket for changes; mode 0600."""


@dataclass(frozen=True, slots=True)
class AccessLog:
    enabled: bool = True
    """Whether there is one."""
    format: str = "json"
    """``json`` or ``text``."""
    path: str = "/dev/stdout"
    """A file (opened again when it was rotated), ``/dev/stdout`` or ``/dev/stderr``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Per worker where they count something."""

    connections: int = 10_000
    """Downstream connections per listener; beyond it ``overloaded``, beyond twice it cut."""
    requests_in_flight: int = 10_000
    """Per listener."""
    header_bytes: int = 65_536
    """Of one head or trailer section."""
    header_count: int = 100
    """Fields of one head or trailer section."""
    request_line: int = 16_384
    """Beyond it 414."""
    """Method, target and version together."""
    chunk_ext: int = 4096
    """Chunk extensions of one body."""
    interim: int = 16
    """1xx answers before the final one."""
    pipeline: int = 16
    """Requests waiting on one connection; then reading stops."""
    body_window: int = 65_536
    """Bytes of one body in flight between two sockets."""
    held_bodies: int = 256 << 20
    """Bytes that all paused plugins keep together; beyond it ``overloaded``."""
    callout_body: int = 1 << 20
    """Of an answer to a plugin's HTTP call."""
    header_timeout: float = 10.0
    """From the first byte of a head to its last."""
    idle_timeout: float = 300.0
    """Of a downstream connection without a request."""
    route_timeout: float = 0.0
    """From the end of the request to the end of the answer, where a route names none; 0 is none, as in Istio."""
    stream_idle_timeout: float = 300.0
    """Without a byte in either direction, tunnels included."""
    write_stall: float = 60.0
    """A reader that takes nothing."""
    body_rate: int = 512
    """Bytes per second that a request body must make after ``body_grace``; 0 turns it off."""
    body_grace: float = 10.0
    """How long a body may be slow before ``body_rate`` counts."""


@dataclass(frozen=True, slots=True)
class Config:
    """One whole configuration."""

    node: Node = Node()
    workers: int = 1
    """Processes; absent: the cgroup's CPU quota rounded up, 1 without one."""
    listeners: tuple[Listener, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    routes: tuple[Route, ...] = ()
    drain: Drain = Drain()
    tracing: Tracing | None = None
    """Absent: no spans, unless `OTEL_EXPORTER_OTLP_ENDPOINT` or its traces variant is set."""
    metrics: Metrics = Metrics()
    health: Health = Health()
    admin: Admin = Admin()
    access_log: AccessLog = AccessLog()
    limits: Limits = Limits()
    files: tuple[str, ...] = ()
    """Absolute paths of the files it was read from."""
    warnings: tuple[str, ...] = ()
    """What is allowed but probably not meant, one line each."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """The merged document after replacement of variables, for ``sidecar config``; secrets are masked by the page."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """The file that each top block came from (the last one, where blocks were joined), as the user named it."""
