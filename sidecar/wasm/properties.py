"""Properties: paths and bytes as in Envoy, as far as there are facts; availability is wider (docs/proxy-wasm.md).

Strings are raw bytes; numbers, durations and times 8 bytes little-endian (nanoseconds); booleans one byte; maps as
they cross the border. Beyond Envoy: ``route.id`` and ``request.id`` as text, ``request.duration`` so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.address import Address
from sidecar.errors import ErrorKind
from sidecar.http.headers import HeaderMap
from sidecar.wasm.abi import pairs
from sidecar.wasm.abi.status import NOT_FOUND, SERIALIZATION_FAILURE
from sidecar.wasm.ports import StreamFacts

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

Value = bytes | None
Reader = Callable[[StreamFacts], Value]

_DIRECTIONS: Final = {"inbound": 1, "outbound": 2}
_GROUPS: Final = frozenset(
    {b"request", b"response", b"source", b"destination", b"connection", b"upstream", b"node", b"xds", b"xds\0node",
     b"filter_state", b"upstream_filter_state", b"request\0trailers"}
)  # fmt: skip
"""Paths that are there but are no value."""

_FLAGS: Final = {
    ErrorKind.UPSTREAM_TIMEOUT: 0x4,
    ErrorKind.UPSTREAM_CONNECT: 0x20,
    ErrorKind.UPSTREAM_TLS: 0x20,
    ErrorKind.UPSTREAM_RESET: 0x40,
    ErrorKind.OVERLOADED: 0x80,
    ErrorKind.NO_ROUTE: 0x100,
    ErrorKind.DENIED: 0x1000,
}
"""Envoy's response flags that have a counterpart among our errors."""


def read(instance: Instance, path: bytes) -> bytes | int:
    """The value for the effective context, or the ABI status that stands in its place."""
    settings = instance.settings
    if path == b"plugin_name":
        return settings.name.encode()
    if path == b"plugin_root_id":
        return settings.root_id.encode()
    if path == b"plugin_vm_id":
        return settings.vm_id.encode()
    name = path.removeprefix(b"xds\0")
    if name.startswith(b"node\0"):
        return _or_absent(_node(instance, name[5:]))
    facts = instance.effective.facts
    if name == b"listener_direction":
        found = _DIRECTIONS.get(facts.record.connection.direction, 0) if facts is not None else settings.direction
        return _number(found)
    if not path or path in _GROUPS:
        return SERIALIZATION_FAILURE
    if facts is None:
        return NOT_FOUND
    reader = _READERS.get(path)
    if reader is not None:
        return _or_absent(reader(facts))
    for prefix, read_map in _MAPS:
        if path.startswith(prefix):
            return _or_absent(_field(read_map(facts), path[len(prefix) :].lower()))
    own = facts.record.plugin_properties
    return _or_absent(own.get((settings.vm_id, path)) if own else None)


def _or_absent(value: Value) -> bytes | int:
    return NOT_FOUND if value is None else value


def _node(instance: Instance, name: bytes) -> Value:
    node = instance.settings.node
    if name == b"id":
        return node.id.encode()
    if name == b"cluster":
        return node.cluster.encode()
    if name.startswith(b"metadata\0"):
        found = node.metadata.get(name[9:].decode("utf-8", "replace"))
        return None if found is None else found.encode()
    return None


def _number(value: int) -> bytes:
    return (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")


def _text(value: str) -> Value:
    return value.encode() if value else None


def _nanos(seconds: float) -> bytes:
    return _number(max(0, int(seconds * 1e9)))


def _field(headers: HeaderMap | None, name: bytes) -> Value:
    """All values of a name, joined by commas as Envoy does it."""
    if headers is None:
        return None
    values = headers.get_all(b":authority" if name == b"host" and b"host" not in headers else name)
    return b",".join(values) if values else None


def _map(headers: HeaderMap | None) -> Value:
    return pairs.encode(headers.fields if headers is not None else [])


def _path(facts: StreamFacts) -> bytes:
    return facts.request_headers.get(b":path") or b""


def _request_id(facts: StreamFacts) -> Value:
    return facts.request_headers.get(b"x-request-id") or _text(facts.record.request_id)


def _duration(facts: StreamFacts) -> Value:
    record = facts.record
    return _nanos((record.end or facts.timers.now()) - record.start)


def _request_size(facts: StreamFacts) -> int:
    declared = facts.request_headers.get(b"content-length")
    if declared is not None and declared.isdigit() and len(declared) < 19:
        return int(declared)
    return facts.record.request_body_bytes


def _status(facts: StreamFacts) -> Value:
    headers = facts.response_headers
    code = headers.get(b":status") if headers is not None else None
    if code is not None and code.isdigit():
        return _number(int(code))
    return _number(facts.record.status) if facts.record.status else None


def _flags(facts: StreamFacts) -> Value:
    if facts.response_headers is None and not facts.is_over:
        return None
    error = facts.record.error
    return _number(_FLAGS.get(error, 0) if error is not None else 0)


def _grpc_status(facts: StreamFacts) -> Value:
    for headers in (facts.response_trailers, facts.response_headers):
        found = headers.get(b"grpc-status") if headers is not None else None
        if found is not None and found.isdigit() and len(found) < 4:
            return _number(int(found))
    return None


def _response_total(facts: StreamFacts) -> Value:
    headers = facts.response_headers
    return _number((headers.byte_size() if headers is not None else 0) + facts.record.response_body_bytes)


def _latency(facts: StreamFacts) -> Value:
    record = facts.record
    if not record.response_start or not record.upstream_start:
        return None
    return _nanos(record.response_start - record.upstream_start)


def _upstream_address(facts: StreamFacts) -> Value:
    return _text(facts.record.upstream_address)


def _upstream_port(facts: StreamFacts) -> Value:
    port = facts.record.upstream_address.rpartition(":")[2]
    return _number(int(port)) if port.isdigit() else None


def _address(address: Address) -> bytes:
    return str(address).encode()


def _route(facts: StreamFacts) -> Value:
    return _text(facts.record.route_id)


def _cluster(facts: StreamFacts) -> Value:
    return _text(facts.record.upstream)


_MAPS: Final[tuple[tuple[bytes, Callable[[StreamFacts], HeaderMap | None]], ...]] = (
    (b"request\0headers\0", lambda facts: facts.request_headers),
    (b"request\0trailers\0", lambda facts: facts.request_trailers),
    (b"response\0headers\0", lambda facts: facts.response_headers),
    (b"response\0trailers\0", lambda facts: facts.response_trailers),
)

_READERS: Final[dict[bytes, Reader]] = {
    name.replace(".", "\0").encode(): reader
    for name, reader in {
        "request.path": lambda facts: facts.request_headers.get(b":path"),
        "request.url_path": lambda facts: _path(facts).partition(b"?")[0],
        "request.query": lambda facts: _path(facts).partition(b"?")[2],
        "request.host": lambda facts: facts.request_headers.get(b":authority"),
        "request.scheme": lambda facts: facts.request_headers.get(b":scheme"),
        "request.method": lambda facts: facts.request_headers.get(b":method"),
        "request.headers": lambda facts: _map(facts.request_headers),
        "request.referer": lambda facts: facts.request_headers.get(b"referer"),
        "request.useragent": lambda facts: facts.request_headers.get(b"user-agent"),
        "request.time": lambda facts: _number(facts.record.start_unix_nanos),
        "request.id": _request_id,
        "request.protocol": lambda facts: _text(facts.record.http_version),
        "request.duration": _duration,
        "request.size": lambda facts: _number(_request_size(facts)),
        "request.total_size": lambda facts: _number(
            facts.request_headers.byte_size() + facts.record.request_body_bytes
        ),
        "response.code": _status,
        "response.code_details": lambda facts: _text(facts.record.details),
        "response.flags": _flags,
        "response.grpc_status": _grpc_status,
        "response.headers": lambda facts: _map(facts.response_headers),
        "response.trailers": lambda facts: _map(facts.response_trailers),
        "response.size": lambda facts: _number(facts.record.response_body_bytes),
        "response.total_size": _response_total,
        "response.backend_latency": _latency,
        "source.address": lambda facts: _address(facts.record.connection.source),
        "source.port": lambda facts: _number(facts.record.connection.source.port),
        "destination.address": lambda facts: _address(facts.record.connection.destination),
        "destination.port": lambda facts: _number(facts.record.connection.destination.port),
        "connection.id": lambda facts: _number(facts.record.connection.connection_id),
        "connection_id": lambda facts: _number(facts.record.connection.connection_id),
        "connection.mtls": lambda facts: b"\1" if facts.record.connection.peer_id else b"\0",
        "connection.uri_san_peer_certificate": lambda facts: _text(facts.record.connection.peer_id),
        "upstream.address": _upstream_address,
        "upstream.port": _upstream_port,
        "upstream.local_address": lambda facts: _text(facts.record.upstream_local_address),
        "upstream.request_attempt_count": lambda facts: (
            _number(facts.record.attempts) if facts.record.attempts else None
        ),
        "route.id": _route,
        "route_name": _route,
        "xds.route_name": _route,
        "cluster_name": _cluster,
        "xds.cluster_name": _cluster,
        "metadata": lambda facts: b"",
    }.items()
}

NAMES: Final = (
    *sorted(path.replace(b"\0", b".").decode() for path in _READERS),
    "request.headers.<name>", "request.trailers.<name>", "response.headers.<name>", "response.trailers.<name>",
    "listener_direction", "xds.listener_direction", "node.id", "node.cluster", "node.metadata.<key>",
    "xds.node.<as node>", "plugin_name", "plugin_root_id", "plugin_vm_id",
)  # fmt: skip
"""Every path that is answered, for the documentation."""
