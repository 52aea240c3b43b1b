"""What a guest does to a stream: let it go on, answer it, close it. All of it happens after the callback returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm.abi import pairs, status
from sidecar.wasm.abi.function import HostFunction, guarded
from sidecar.wasm.abi.headers import is_ours, judge_pairs
from sidecar.wasm.context import CLOSE, REPLY, RESUME_REQUEST, RESUME_RESPONSE

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_DETAILS: Final = 256
_RESUME: Final = {status.HTTP_REQUEST: RESUME_REQUEST, status.HTTP_RESPONSE: RESUME_RESPONSE}
_GRPC_STATUSES: Final = range(17)


@guarded
def continue_stream(instance: Instance, stream_type: int) -> int:
    """``proxy_continue_stream``; without effect when nothing is paused."""
    if stream_type > status.UPSTREAM:
        return status.BAD_ARGUMENT
    what = _RESUME.get(stream_type)
    if what is None:
        return status.UNIMPLEMENTED
    _want(instance, what)
    return status.OK


@guarded
def continue_request(instance: Instance) -> int:
    """``proxy_continue_request``."""
    _want(instance, RESUME_REQUEST)
    return status.OK


@guarded
def continue_response(instance: Instance) -> int:
    """``proxy_continue_response``."""
    _want(instance, RESUME_RESPONSE)
    return status.OK


@guarded
def close_stream(instance: Instance, stream_type: int) -> int:
    """``proxy_close_stream``: the client's stream is cut without an answer."""
    if stream_type > status.UPSTREAM:
        return status.BAD_ARGUMENT
    if stream_type not in _RESUME:
        return status.UNIMPLEMENTED
    _want(instance, CLOSE)
    return status.OK


def _want(instance: Instance, what: int) -> None:
    stream = instance.effective.stream
    if stream is not None:
        stream.want(what)


@guarded
def clear_route_cache(instance: Instance) -> int:
    """``proxy_clear_route_cache``: the router judges a changed request anew by itself."""
    return status.OK


@guarded
def send_local_response(
    instance: Instance, code: int, details: int, details_size: int, body: int, body_size: int,
    headers: int, headers_size: int, grpc_status: int,
) -> int:  # fmt: skip
    """``proxy_send_local_response``; the first one of a stream wins."""
    words = instance.read(details, min(details_size, MAX_DETAILS)).decode("utf-8", "replace").replace(" ", "_")
    content = instance.read(body, body_size)
    try:
        fields = pairs.decode(instance.read(headers, headers_size))
    except pairs.MalformedPairs as why:
        return instance.refuse(f"local response: malformed headers: {why}")
    reason = judge_pairs(fields)
    if reason:
        return instance.refuse(f"local response: {reason}")
    stream = instance.effective.stream
    if stream is None or stream.phase >= status.ON_LOG:
        instance.note("local response without a stream that could take it")
        return status.OK
    if stream.replied:
        instance.note("second local response of a stream: the first one counts")
        return status.OK
    if not 200 <= code <= 599:
        instance.note(f"local response with status {code}: sent as 500")
        code = 500
    stream.replied = True
    kept = [pair for pair in fields if pair[0][:1] != b":" and not is_ours(pair[0].lower())]
    stream.reply = (code, kept, content, grpc_status if grpc_status in _GRPC_STATUSES else None, words)
    stream.want(REPLY)
    return status.OK


@guarded
def set_effective_context(instance: Instance, context_id: int) -> int:
    """``proxy_set_effective_context``."""
    context = instance.contexts.get(context_id)
    if context is None:
        return status.BAD_ARGUMENT
    instance.effective = context
    return status.OK


@guarded
def done(instance: Instance) -> int:
    """``proxy_done``: what ``proxy_on_done`` had put off is finished."""
    context = instance.effective
    if not context.done_pending:
        return status.NOT_FOUND
    context.done_pending = False
    instance.finished.append(context)
    return status.OK


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_continue_stream", "i", continue_stream, since="0.2.0",
                 doc="Lets a paused request or response go on; TCP streams: Unimplemented."),
    HostFunction("proxy_continue_request", "", continue_request, "Lets a paused request go on.", variants=(("", ""),)),
    HostFunction("proxy_continue_response", "", continue_response, "Lets a paused response go on.",
                 variants=(("", ""),)),
    HostFunction("proxy_close_stream", "i", close_stream, since="0.2.0",
                 doc="Cuts the client's stream; TCP streams: Unimplemented."),
    HostFunction("proxy_clear_route_cache", "", clear_route_cache, variants=(("", ""),),
                 doc="Ok: a request that a plugin changed is routed anew in any case."),
    HostFunction("proxy_send_local_response", "iiiiiiii", send_local_response,
                 "Answers instead of the upstream; the first answer of a stream counts."),
    HostFunction("proxy_set_effective_context", "i", set_effective_context, "Turns to another live context."),
    HostFunction("proxy_done", "", done, "Finishes what `proxy_on_done` put off (for 5 s at most)."),
)  # fmt: skip
