"""The blocks about being seen and bounded: tracing, metrics, health, admin, access_log and limits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.config import model
from sidecar.config.block import Block, host_problem, nearest, one_of

PROPAGATION: Final = ("tracecontext", "baggage", "b3", "jaeger")
LATER_LIMITS: Final = (
    "connect_allow",
    "h2_control",
    "h2_resets",
    "h3_control",
    "h3_resets",
    "pending_handshakes",
    "per_peer",
    "self_loop",
    "streams_per_connection",
)
SIZES: Final = {"header_bytes", "request_line", "chunk_ext", "body_window", "held_bodies", "callout_body", "body_rate"}
MAY_BE_ZERO: Final = {"route_timeout", "body_rate", "interim", "body_grace"}


def read_tracing(top: Block) -> model.Tracing | None:
    block = top.block("tracing")
    if block is None:
        return None
    endpoint = block.text("endpoint") or None
    if endpoint is not None:
        _check_url(block, endpoint)
    formats = block.texts("propagation") if block.has("propagation") else PROPAGATION
    for name in formats:
        if name not in PROPAGATION:
            block.complain("propagation", f"'{name[:60]}' is not {one_of(PROPAGATION)}{nearest(name, PROPAGATION)}")
    tracing = model.Tracing(
        endpoint=endpoint,
        protocol=block.choice("protocol", "grpc", ("grpc", "http/protobuf")) if block.has("protocol") else None,
        sample_rate=block.number("sample_rate", 1.0, 0.0, 1.0) if block.has("sample_rate") else None,
        propagation=formats,
    )
    block.finish()
    return tracing


def _check_url(block: Block, endpoint: str) -> None:
    try:
        url = urlsplit(endpoint)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
        is_url = is_url and not host_problem(url.hostname or "")
    except ValueError:
        is_url = False
    if not is_url:
        block.complain("endpoint", f"'{endpoint[:60]}' is not a URL like http://collector:4317")
    elif url.username is not None:
        block.complain("endpoint", "carries a user name, which is not sent: use OTEL_EXPORTER_OTLP_HEADERS")


def read_metrics(top: Block) -> model.Metrics:
    default = model.Metrics()
    block = top.block("metrics")
    if block is None:
        return default
    metrics = model.Metrics(
        block.listen_address("address", default.address),
        block.integer("max_series", default.max_series, 100, 1_000_000),
    )
    block.finish()
    return metrics


def read_health(top: Block) -> model.Health:
    default = model.Health()
    block = top.block("health")
    if block is None:
        return default
    health = model.Health(block.listen_address("address", default.address))
    block.finish()
    return health


def read_admin(top: Block) -> model.Admin:
    default = model.Admin()
    block = top.block("admin")
    if block is None:
        return default
    address = block.listen_address("address", default.address)
    if not address.is_loopback:
        block.complain("address", f"{address}: the admin pages are for loopback only")
    path = block.file_path("socket", default.socket)
    if len(path.encode()) > 107:
        block.complain("socket", "is longer than a Unix socket's path may be (107 bytes)")
    block.finish()
    return model.Admin(address, path)


def read_access_log(top: Block) -> model.AccessLog:
    default = model.AccessLog()
    block = top.block("access_log")
    if block is None:
        return default
    log = model.AccessLog(
        block.boolean("enabled", default.enabled),
        block.choice("format", default.format, ("json", "text")),
        block.file_path("path", default.path),
    )
    block.finish()
    return log


def read_limits(top: Block) -> model.Limits:
    """Every field of the model by its name: floats are durations, sizes are those in :data:`SIZES`."""
    block = top.block("limits")
    if block is None:
        return model.Limits()
    block.later(*LATER_LIMITS)
    chosen: dict[str, Any] = {}
    for field in fields(model.Limits):
        default: Any = field.default
        least = 0 if field.name in MAY_BE_ZERO else 1
        if field.name in SIZES:
            chosen[field.name] = block.size(field.name, default, least, 1 << 40)
        elif isinstance(default, float):
            chosen[field.name] = block.duration(field.name, default, 0.0 if least == 0 else 0.001)
        else:
            chosen[field.name] = block.integer(field.name, default, least, 10_000_000)
    block.finish()
    return model.Limits(**chosen)
