"""Calls to other services. HTTP calls are made; gRPC calls are not available yet and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.errors import ProxyError
from sidecar.http.headers import HeaderMap
from sidecar.wasm.abi import pairs, status
from sidecar.wasm.abi.function import HostFunction, guarded
from sidecar.wasm.abi.headers import is_ours, judge_pairs

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_PER_STREAM: Final = 16
MAX_PER_INSTANCE: Final = 128
DEFAULT_TIMEOUT: Final = 60.0
"""Seconds for a call that named none."""
MAX_TIMEOUT: Final = 600.0
_REQUIRED: Final = (b":method", b":path", b":authority")


@guarded
def http_call(
    instance: Instance, upstream: int, upstream_size: int, headers: int, headers_size: int, body: int, body_size: int,
    trailers: int, trailers_size: int, timeout: int, id_slot: int,
) -> int:  # fmt: skip
    """``proxy_http_call``: the answer comes as ``proxy_on_http_call_response`` of the root context."""
    name = instance.read(upstream, upstream_size).decode("utf-8", "replace")
    head = _head(instance.read(headers, headers_size))
    content = instance.read(body, body_size)
    tail = _fields(instance.read(trailers, trailers_size))
    if not instance.vm.has_range(id_slot, 4):
        return status.INVALID_MEMORY_ACCESS
    allowed = instance.settings.allow_upstreams
    if (allowed is not None and name not in allowed) or not instance.services.calls.has_upstream(name):
        return instance.refuse(f"http_call: no upstream {name[:100]!r} that this plugin may call")
    if isinstance(head, str) or isinstance(tail, str):
        return instance.refuse(f"http_call: {head if isinstance(head, str) else tail}")
    if timeout > 0x7FFFFFFF:
        return instance.refuse("http_call: negative timeout")
    refusal = _over_limit(instance, content)
    if refusal:
        instance.services.metrics.limit_hit("plugin_calls")
        instance.refuse(f"http_call: {refusal}")
        return status.INTERNAL_FAILURE
    seconds = min(timeout / 1000, MAX_TIMEOUT) if timeout else DEFAULT_TIMEOUT
    try:
        call_id = instance.start_call(name, head, content, tail if tail.fields else None, seconds)
    except ProxyError as error:
        instance.refuse(f"http_call: {error}")
        return status.INTERNAL_FAILURE
    instance.vm.write_u32(id_slot, call_id)
    return status.OK


def _head(data: bytes) -> HeaderMap | str:
    """The request head, or what is wrong with it."""
    found = _fields(data)
    if isinstance(found, str):
        return found
    if b":authority" not in found and (host := found.get(b"host")):
        found.add(b":authority", host)
    found.remove(b"host")
    missing = [name.decode() for name in _REQUIRED if not found.get(name)]
    if missing:
        return f"no {', '.join(missing)}"
    if len({field[0] for field in found.fields if field[0][:1] == b":"}) != sum(f[0][:1] == b":" for f in found.fields):
        return "a pseudo-header appears twice"
    return found


def _fields(data: bytes) -> HeaderMap | str:
    try:
        found = pairs.decode(data)
    except pairs.MalformedPairs as why:
        return f"malformed headers: {why}"
    reason = judge_pairs(found)
    if reason:
        return reason
    for name, value in found:
        if name[:1] == b":" and any(byte < 33 or byte == 127 for byte in value):
            return f"control byte or space in {name[:40]!r}"
    fields = [(name.lower(), value) for name, value in found if not is_ours(name.lower())]
    fields.sort(key=lambda field: field[0][:1] != b":")
    return HeaderMap.of(fields)


def _over_limit(instance: Instance, body: bytes) -> str:
    stream = instance.effective.stream
    if len(instance.calls) >= MAX_PER_INSTANCE or (stream is not None and stream.calls_in_flight >= MAX_PER_STREAM):
        return "too many calls in flight"
    if len(body) > instance.settings.max_body:
        return "body over max_body"
    return ""


@guarded
def grpc_refused(instance: Instance, *arguments: int) -> int:
    """``proxy_grpc_call`` and ``proxy_grpc_stream``."""
    return status.INTERNAL_FAILURE


@guarded
def grpc_unknown(instance: Instance, *arguments: int) -> int:
    """``proxy_grpc_send``, ``_cancel`` and ``_close``: there is no such call."""
    return status.NOT_FOUND


_REFUSED: Final = "InternalFailure"
_UNKNOWN: Final = "NotFound"

FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_http_call", "iiiiiiiiii", http_call,
                 "Calls an entry of `upstreams`; at most 16 at a time per stream and 128 per instance."),
    HostFunction("proxy_grpc_call", "iiiiiiiiiiii", grpc_refused, "gRPC calls are not available yet.",
                 answers=_REFUSED, variants=(("iiiiiiiiii", "i"),)),
    HostFunction("proxy_grpc_stream", "iiiiiiiii", grpc_refused, "gRPC streams are not available yet.",
                 answers=_REFUSED, variants=(("iiiiiii", "i"),)),
    HostFunction("proxy_grpc_send", "iiii", grpc_unknown, "No gRPC stream can be open.", answers=_UNKNOWN),
    HostFunction("proxy_grpc_cancel", "i", grpc_unknown, "No gRPC call can be open.", answers=_UNKNOWN),
    HostFunction("proxy_grpc_close", "i", grpc_unknown, "No gRPC call can be open.", answers=_UNKNOWN),
)  # fmt: skip
