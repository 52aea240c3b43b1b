"""What is asked of two Proxy-Wasm hosts at once: about fifty guests, each with the requests that bring it out.

:mod:`tests.conformance.test_envoy_oracle` runs each in Envoy and here, and compares the client's answer, what the app
got and the guest's own log. ``differs`` names, in words that docs/proxy-wasm.md has too, why an outcome of ours is
another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.guest import (
    LONG,
    OUT,
    SIZE,
    STREAM,
    WORD,
    AtEnd,
    Call,
    Guest,
    Once,
    Return,
    Say,
    Trap,
    call,
    pairs,
)

REQUEST_HEADERS, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_TRAILERS = range(4)
CALL_HEADERS = 6
REQUEST_BODY, RESPONSE_BODY = 0, 1
CALL_BODY, VM_CONFIGURATION, PLUGIN_CONFIGURATION = 4, 6, 7
ALL = 0xFFFFFFFF

ON_REQUEST = "proxy_on_request_headers"
ON_REQUEST_BODY = "proxy_on_request_body"
ON_RESPONSE = "proxy_on_response_headers"
ON_RESPONSE_BODY = "proxy_on_response_body"
ON_LOG = "proxy_on_log"

GET, PAIRS = "proxy_get_header_map_value", "proxy_get_header_map_pairs"
ADD, REPLACE, REMOVE = (
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
)
BUFFER, SET_BUFFER = "proxy_get_buffer_bytes", "proxy_set_buffer_bytes"
PROPERTY, REPLY = "proxy_get_property", "proxy_send_local_response"
CONTINUE, EFFECTIVE = "proxy_continue_stream", "proxy_set_effective_context"
HTTP_CALL = "proxy_http_call"


@dataclass(frozen=True)
class Ask:
    """One request and the app's answer to it."""

    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    chunks: tuple[bytes, ...] = ()
    """Sent chunked, one write each."""
    answer: tuple[int, tuple[tuple[str, str], ...], bytes] = (200, (("x-app", "1"),), b"hello from the app")


@dataclass(frozen=True)
class Probe:
    name: str
    guest: Guest
    asks: tuple[Ask, ...] = (Ask(),)
    config: str = ""
    differs: str = ""
    """Why our outcome is another one, on purpose."""
    ours: tuple[str, ...] = field(default=())
    """Which parts differ: ``answer``, ``app`` or ``log``."""


HEADERS = (("x-a", "1"), ("x-a", "2"), ("x-empty", ""), ("X-Mixed", "Case"))
POST = Ask("POST", body=b"0123456789")
CHUNKED = Ask("POST", chunks=(b"aaaa", b"bbbb", b"cccc"))


def reply(status: int, body: bytes = b"", headers: bytes = b"", details: bytes = b"", grpc: int = -1) -> Call:
    """``proxy_send_local_response``."""
    return call(REPLY, status, details, body, headers, grpc)


def probes() -> Iterator[Probe]:
    yield from header_probes()
    yield from body_probes()
    yield from reply_probes()
    yield from lifecycle_probes()
    yield from property_probes()
    yield from shared_probes()
    yield from callout_probes()
    yield from abuse_probes()


def header_probes() -> Iterator[Probe]:
    yield Probe(
        "headers-read",
        Guest().on(
            ON_REQUEST,
            call(GET, REQUEST_HEADERS, b"x-a", OUT, show="bytes"),
            call(GET, REQUEST_HEADERS, b"X-A", OUT, show="bytes", label="upper"),
            call(GET, REQUEST_HEADERS, b"x-mixed", OUT, show="bytes", label="mixed"),
            call(GET, REQUEST_HEADERS, b"x-empty", OUT, show="bytes", label="empty"),
            call(GET, REQUEST_HEADERS, b"x-none", OUT, show="bytes", label="none"),
            call(GET, REQUEST_HEADERS, b"", OUT, show="bytes", label="no name"),
        ),
        (Ask(headers=HEADERS),),
    )
    yield Probe(
        "headers-edit",
        Guest().on(
            ON_REQUEST,
            call(ADD, REQUEST_HEADERS, b"x-a", b"3"),
            call(ADD, REQUEST_HEADERS, b"X-New", b"v"),
            call(REPLACE, REQUEST_HEADERS, b"x-mixed", b"replaced"),
            call(REPLACE, REQUEST_HEADERS, b"x-created", b"by replace"),
            call(REMOVE, REQUEST_HEADERS, b"x-empty"),
            call(REMOVE, REQUEST_HEADERS, b"x-absent", label="remove absent"),
            call(GET, REQUEST_HEADERS, b"x-new", OUT, show="bytes"),
        ),
        (Ask(headers=HEADERS),),
    )
    yield Probe(
        "headers-replace-collapses",
        Guest().on(ON_REQUEST, call(REPLACE, REQUEST_HEADERS, b"x-a", b"one"), call(ADD, REQUEST_HEADERS, b"x-e", b"")),
        (Ask(headers=HEADERS),),
    )
    yield Probe(
        "pseudo-headers",
        Guest().on(
            ON_REQUEST,
            *(
                call(GET, REQUEST_HEADERS, name, OUT, show="bytes", label=name.decode())
                for name in (b":method", b":path", b":scheme", b":authority", b"host")
            ),
        ),
        (Ask("PUT", headers=(("host", "shop.example"),), body=b""),),
    )
    for pseudo, value in ((b":path", b"/elsewhere?q=1"), (b":authority", b"other.example"), (b":method", b"PATCH")):
        yield Probe(
            f"rewrite{pseudo.decode().replace(':', '-')}",
            Guest().on(
                ON_REQUEST,
                call(REPLACE, REQUEST_HEADERS, pseudo, value),
                call(GET, REQUEST_HEADERS, pseudo, OUT, show="bytes"),
            ),
        )
    yield Probe(
        "set-pairs",
        Guest().on(
            ON_REQUEST,
            call(
                "proxy_set_header_map_pairs",
                REQUEST_HEADERS,
                pairs((b":method", b"GET"), (b":path", b"/set"), (b":authority", b"set.example"), (b":scheme", b"http"),
                      (b"X-Set", b"1"), (b"x-dup", b"a"), (b"x-dup", b"b")),
            ),
            call(PAIRS, REQUEST_HEADERS, OUT, show="map"),
        ),
        (Ask(headers=HEADERS),),
        differs="a request whose headers were all replaced goes where the new ones say",
        ours=("answer", "app"),
    )  # fmt: skip
    yield Probe(
        "pairs-of-the-answer",
        Guest().on(ON_RESPONSE, call(PAIRS, RESPONSE_HEADERS, OUT, show="size", label="answered")),
        (Ask(answer=(200, (), b"")),),
        differs="sizes of header maps depend on the headers that a proxy adds",
        ours=("log",),
    )
    yield Probe(
        "map-sizes",
        Guest()
        .on(ON_REQUEST, call("proxy_get_header_map_size", REQUEST_TRAILERS, WORD, show="word", label="trailers"))
        .on(ON_RESPONSE, call("proxy_get_header_map_size", RESPONSE_TRAILERS, WORD, show="word", label="trailers")),
        differs="a map that does not exist yet is NotFound, not BadArgument, so that no SDK panics",
        ours=("log",),
    )
    yield Probe(
        "maps-out-of-phase",
        Guest()
        .on(
            ON_REQUEST,
            call(GET, RESPONSE_HEADERS, b":status", OUT, label="status early"),
            call(ADD, RESPONSE_HEADERS, b"x-b", b"1", label="add early"),
            call(GET, REQUEST_TRAILERS, b"x", OUT, label="trailer"),
            call(GET, 9, b"x", OUT, label="no such map"),
        )
        .on(
            ON_RESPONSE,
            call(GET, RESPONSE_HEADERS, b":status", OUT, show="bytes", label="status"),
            call(ADD, REQUEST_HEADERS, b"x-late", b"1", label="add late"),
        ),
        differs="a map that does not exist yet is NotFound, not BadArgument, so that no SDK panics",
        ours=("log",),
    )
    yield Probe(
        "request-headers-later",
        Guest()
        .on(ON_RESPONSE, call(GET, REQUEST_HEADERS, b"x-a", OUT, show="bytes", label="in response"))
        .on(ON_LOG, call(GET, REQUEST_HEADERS, b"x-a", OUT, show="bytes", label="in log"),
            call(GET, RESPONSE_HEADERS, b":status", OUT, show="bytes", label="status in log")),
        (Ask(headers=HEADERS),),
        differs="request headers stay readable in the response phases",
        ours=("log",),
    )  # fmt: skip
    yield Probe(
        "answer-edit",
        Guest().on(
            ON_RESPONSE,
            call(ADD, RESPONSE_HEADERS, b"set-cookie", b"a=1"),
            call(ADD, RESPONSE_HEADERS, b"set-cookie", b"b=2"),
            call(REPLACE, RESPONSE_HEADERS, b"x-app", b"changed"),
            call(REMOVE, RESPONSE_HEADERS, b"x-gone"),
            call(REPLACE, RESPONSE_HEADERS, b":status", b"418"),
        ),
        (Ask(answer=(200, (("x-app", "1"), ("x-gone", "1"), ("set-cookie", "c=3")), b"tea")),),
    )
    yield Probe(
        "content-length-is-ours",
        Guest().on(ON_RESPONSE, call(REMOVE, RESPONSE_HEADERS, b"content-length")),
    )
    yield Probe(
        "control-bytes",
        Guest().on(
            ON_REQUEST,
            call(ADD, REQUEST_HEADERS, b"x-split", b"a\r\nx-evil: 1"),
            call(ADD, REQUEST_HEADERS, b"x-ok", b"1"),
        ),
        differs="CR, LF and NUL are refused at the call (BadArgument) instead of failing the request later",
        ours=("answer", "app", "log"),
    )


def body_probes() -> Iterator[Probe]:
    hold = AtEnd(otherwise=(Return(1),))
    yield Probe(
        "body-hold-and-read",
        Guest().on(ON_REQUEST_BODY, hold, call(BUFFER, REQUEST_BODY, 0, SIZE, OUT, show="bytes")),
        (CHUNKED, POST),
    )
    for name, start, size, data in (
        ("replace-all", 0, ALL, b"other"),
        ("prepend", 0, 0, b"<"),
        ("append", ALL, 0, b">"),
        ("replace-head", 0, 4, b"XY"),
        ("clear", 0, ALL, b""),
    ):
        yield Probe(
            f"body-{name}",
            Guest().on(
                ON_REQUEST_BODY,
                hold,
                call(SET_BUFFER, REQUEST_BODY, start, size, data),
                call(BUFFER, REQUEST_BODY, 0, 100, OUT, show="bytes"),
            ),
            (CHUNKED,),
        )
    yield Probe(
        "body-replace-middle",
        Guest().on(ON_REQUEST_BODY, hold, call(SET_BUFFER, REQUEST_BODY, 3, 4, b"----")),
        (POST,),
        differs="set_buffer_bytes in the middle splices, as the specification says",
        ours=("app", "log"),
    )
    yield Probe(
        "body-read-ranges",
        Guest().on(
            ON_REQUEST_BODY,
            hold,
            call(BUFFER, REQUEST_BODY, 2, 3, OUT, show="bytes", label="2..5"),
            call(BUFFER, REQUEST_BODY, 8, 100, OUT, show="bytes", label="8.."),
            call(BUFFER, REQUEST_BODY, 10, 1, OUT, show="bytes", label="at the end"),
            call(BUFFER, REQUEST_BODY, 0, 0, OUT, show="bytes", label="nothing"),
        ),
        (POST,),
    )
    yield Probe(
        "body-of-nobody",
        Guest().on(
            ON_REQUEST,
            call(BUFFER, RESPONSE_BODY, 0, 10, OUT, show="bytes", label="response body early"),
            call(SET_BUFFER, REQUEST_BODY, 0, ALL, b"early", label="set early"),
        ),
    )
    yield Probe(
        "answer-hold-and-replace",
        Guest()
        .on(ON_RESPONSE, call(REMOVE, RESPONSE_HEADERS, b"content-length"))
        .on(
            ON_RESPONSE_BODY,
            hold,
            call(BUFFER, RESPONSE_BODY, 0, SIZE, OUT, show="bytes"),
            call(SET_BUFFER, RESPONSE_BODY, 0, ALL, b"instead"),
        ),
    )
    yield Probe(
        "answer-append-at-end",
        Guest()
        .on(ON_RESPONSE, call(REMOVE, RESPONSE_HEADERS, b"content-length"))
        .on(ON_RESPONSE_BODY, AtEnd(call(SET_BUFFER, RESPONSE_BODY, ALL, 0, b" and more"))),
    )
    yield Probe(
        "body-paused-in-headers",
        Guest()
        .on(ON_REQUEST, call("proxy_set_tick_period_milliseconds", 50), result=1)
        .on(ON_REQUEST_BODY, AtEnd(call(BUFFER, REQUEST_BODY, 0, SIZE, OUT, show="bytes")))
        .on("proxy_on_tick", call("proxy_set_tick_period_milliseconds", 0), call(EFFECTIVE, STREAM), call(CONTINUE, 0)),
        (POST,),
    )
    yield Probe(
        "body-paused-by-body",
        Guest()
        .on(ON_REQUEST_BODY, AtEnd(call("proxy_set_tick_period_milliseconds", 50), Return(1)))
        .on("proxy_on_tick", call("proxy_set_tick_period_milliseconds", 0), call(EFFECTIVE, STREAM), call(CONTINUE, 0)),
        (POST,),
        differs="a pause in the last callback of a body holds it until it is continued",
        ours=("log",),
    )


def reply_probes() -> Iterator[Probe]:
    fields = pairs((b"www-authenticate", b"Basic"), (b"x-dup", b"a"), (b"x-dup", b"b"))
    rich = reply(401, b"who are you", fields, b"why")
    yield Probe("reply-in-request-headers", Guest().on(ON_REQUEST, rich, result=1))
    yield Probe("reply-and-continue", Guest().on(ON_REQUEST, rich, result=0))
    yield Probe("reply-empty", Guest().on(ON_REQUEST, reply(204), result=1))
    yield Probe("reply-403-empty", Guest().on(ON_REQUEST, reply(403), result=1))
    yield Probe(
        "reply-with-type",
        Guest().on(ON_REQUEST, reply(400, b"{}", pairs((b"content-type", b"application/json"))), result=1),
    )
    yield Probe(
        "reply-in-request-body",
        Guest().on(ON_REQUEST_BODY, reply(400, b"bad body"), result=1),
        (POST,),
        differs="a head with a declared length waits for the first bytes of a body that a plugin may change",
        ours=("app",),
    )
    yield Probe(
        "reply-in-response-headers",
        Guest().on(ON_RESPONSE, Once(reply(500, b"instead")), result=1),
    )
    yield Probe(
        "reply-seen-by-response-phase",
        Guest()
        .on(ON_REQUEST, reply(429, b"slow down"), result=1)
        .on(ON_RESPONSE, call(GET, RESPONSE_HEADERS, b":status", OUT, show="bytes"),
            call(ADD, RESPONSE_HEADERS, b"x-marked", b"1")),
    )  # fmt: skip
    yield Probe(
        "reply-twice",
        Guest().on(ON_REQUEST, reply(401, b"first"), reply(402, b"second"), result=1),
    )
    yield Probe(
        "reply-from-tick",
        Guest()
        .on(ON_REQUEST, call("proxy_set_tick_period_milliseconds", 50), result=1)
        .on("proxy_on_tick", call("proxy_set_tick_period_milliseconds", 0), call(EFFECTIVE, STREAM),
            reply(403, b"too late")),
    )  # fmt: skip
    yield Probe(
        "close-stream",
        Guest().on(ON_REQUEST, call("proxy_close_stream", 1), result=1),
    )


def lifecycle_probes() -> Iterator[Probe]:
    everything = Guest()
    for name in (
        "proxy_on_context_create", ON_REQUEST, ON_RESPONSE, ON_LOG, "proxy_on_done", "proxy_on_delete",
    ):  # fmt: skip
        everything.on(name, Say(name))
    for name in (ON_REQUEST_BODY, ON_RESPONSE_BODY):
        everything.on(name, AtEnd(Say(f"{name} end")))
    yield Probe(
        "every-callback",
        everything,
        (Ask(), POST),
    )
    yield Probe("no-callbacks", Guest(), (Ask(), POST))
    yield Probe(
        "configuration",
        Guest().on(
            "proxy_on_configure",
            call(BUFFER, PLUGIN_CONFIGURATION, 0, SIZE, OUT, show="bytes", label="plugin"),
            call(BUFFER, VM_CONFIGURATION, 0, 100, OUT, show="bytes", label="vm"),
        ),
        config="the plugin's own words",
    )
    for value in (2, 3, 4):
        yield Probe(
            f"headers-return-{value}",
            Guest()
            .on(ON_REQUEST, *(() if value == 2 else (call("proxy_set_tick_period_milliseconds", 50),)), result=value)
            .on("proxy_on_tick", call("proxy_set_tick_period_milliseconds", 0), call(EFFECTIVE, STREAM),
                call(CONTINUE, 0)),
        )  # fmt: skip
    yield Probe(
        "continue-unpaused",
        Guest().on(ON_REQUEST, call(CONTINUE, 0)),
        differs="continuing a stream that is not paused has no effect",
        ours=("app",),
    )
    yield Probe(
        "tick",
        Guest()
        .on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 40))
        .on("proxy_on_tick", Say("tick"), call("proxy_set_tick_period_milliseconds", 0)),
    )
    yield Probe("effective-unknown", Guest().on(ON_REQUEST, call(EFFECTIVE, 4242), call(EFFECTIVE, STREAM)))
    yield Probe(
        "time-and-levels",
        Guest().on(
            ON_REQUEST,
            call("proxy_get_current_time_nanoseconds", LONG),
            call("proxy_get_log_level", WORD, show="word"),
            *(call("proxy_log", level, b"level", label=f"log {level}") for level in range(6)),
        ),
    )


def property_probes() -> Iterator[Probe]:
    def read(*path: str, show: str = "bytes") -> Call:
        return call(PROPERTY, b"\0".join(part.encode() for part in path), OUT, show=show, label=".".join(path))

    names = [
        ("request", "path"), ("request", "url_path"), ("request", "host"), ("request", "scheme"), ("request", "method"),
        ("request", "query"), ("request", "protocol"), ("request", "useragent"), ("request", "referer"),
        ("request", "headers", "x-a"), ("request", "headers", "x-none"),
        ("plugin_name",), ("plugin_root_id",), ("nothing",), ("request", "nothing"), ("response", "code_details"),
    ]  # fmt: skip
    sizes = [
        ("source", "address"), ("source", "port"), ("destination", "port"), ("connection", "mtls"),
        ("request", "time"), ("request", "duration"), ("response", "code"),
        ("connection", "id"), ("upstream", "address"),
    ]  # fmt: skip
    asked = Ask(headers=(("x-a", "1"), ("user-agent", "probe"), ("referer", "http://r/")))
    guest = Guest().on(ON_REQUEST, *(read(*path) for path in names))
    yield Probe("properties-in-request", guest, (asked,))
    at_end = [*names, ("response", "headers", "x-app"), ("response", "flags"), ("upstream", "port")]
    yield Probe("properties-in-log", Guest().on(ON_LOG, *(read(*path) for path in at_end[:-2])), (asked,))
    yield Probe(
        "property-sizes-in-log",
        Guest().on(ON_LOG, *(read(*path, show="") for path in sizes)),
        (asked,),
    )
    yield Probe("property-empty-path", Guest().on(ON_REQUEST, call(PROPERTY, b"", OUT)))
    yield Probe(
        "property-of-ours",
        Guest()
        .on(ON_REQUEST, call("proxy_set_property", b"mine", b"value"), read("mine"))
        .on(ON_LOG, read("mine")),
    )


def shared_probes() -> Iterator[Probe]:
    get, put = "proxy_get_shared_data", "proxy_set_shared_data"
    yield Probe(
        "shared-data",
        Guest().on(
            ON_REQUEST,
            call(get, b"absent", OUT, WORD, label="absent"),
            call(put, b"k", b"one", 0, label="set"),
            call(get, b"k", OUT, WORD, show="bytes", label="get"),
            call(put, b"k", b"two", 0xFFFFFF, label="wrong cas"),
            call(put, b"k", b"three", 0, label="no cas"),
            call(get, b"k", OUT, WORD, show="bytes", label="get again"),
            call(put, b"empty", b"", 0, label="set empty"),
            call(get, b"empty", OUT, WORD, show="bytes", label="get empty"),
        ),
    )
    yield Probe(
        "queue",
        Guest()
        .on(
            "proxy_on_configure",
            call("proxy_register_shared_queue", b"q", WORD, label="register"),
            call("proxy_register_shared_queue", b"q", WORD, label="register again"),
        )
        .on(
            ON_REQUEST,
            call("proxy_resolve_shared_queue", b"", b"absent", WORD, label="resolve absent"),
            call("proxy_dequeue_shared_queue", 4242, OUT, label="dequeue unknown"),
            call("proxy_enqueue_shared_queue", 4242, b"x", label="enqueue unknown"),
        ),
    )
    define, metric_get = "proxy_define_metric", "proxy_get_metric"
    yield Probe(
        "metrics",
        Guest().on(
            "proxy_on_configure",
            call(define, 0, b"probe_counter", WORD, label="counter"),
            call(define, 1, b"probe_gauge", WORD, label="gauge"),
            call(define, 2, b"probe_histogram", WORD, label="histogram"),
            call(define, 7, b"probe_bad", WORD, label="no such kind"),
            call("proxy_increment_metric", 4240, 1, label="increment unknown"),
            call("proxy_record_metric", 4240, 1, label="record unknown"),
            call(metric_get, 4240, LONG, label="get unknown"),
        ),
    )


def callout_probes() -> Iterator[Probe]:
    head = pairs((b":method", b"GET"), (b":path", b"/callee"), (b":authority", b"callee"))
    answered = "proxy_on_http_call_response"
    show = (
        call(GET, CALL_HEADERS, b":status", OUT, show="bytes", label="status"),
        call(GET, CALL_HEADERS, b"x-app", OUT, show="bytes", label="x-app"),
        call(BUFFER, CALL_BODY, 0, 100, OUT, show="bytes", label="body"),
        call(EFFECTIVE, STREAM),
        call(CONTINUE, 0),
    )

    def caller(upstream: bytes, headers: bytes, timeout: int = 2000) -> Call:
        return call(HTTP_CALL, upstream, headers, b"", pairs(), timeout, WORD)

    yield Probe("callout", Guest().on(ON_REQUEST, caller(b"callee", head), result=1).on(answered, *show))
    yield Probe(
        "callout-with-body",
        Guest()
        .on(ON_REQUEST, call(HTTP_CALL, b"callee", pairs((b":method", b"POST"), (b":path", b"/callee"),
                                                         (b":authority", b"callee"), (b"x-own", b"1")),
                             b"payload", pairs(), 2000, WORD), result=1)
        .on(answered, *show),
    )  # fmt: skip
    yield Probe("callout-nowhere", Guest().on(ON_REQUEST, caller(b"unknown", head)))
    yield Probe(
        "callout-without-path",
        Guest().on(ON_REQUEST, caller(b"callee", pairs((b":method", b"GET"), (b":authority", b"callee")))),
    )
    yield Probe(
        "callout-without-authority",
        Guest().on(ON_REQUEST, caller(b"callee", pairs((b":method", b"GET"), (b":path", b"/")))),
    )
    yield Probe(
        "callout-refused",
        Guest()
        .on(ON_REQUEST, caller(b"dead", head), result=1)
        .on(answered, show[0], call(EFFECTIVE, STREAM), call(CONTINUE, 0)),
    )
    yield Probe(
        "callout-timeout",
        Guest()
        .on(ON_REQUEST, caller(b"silent", head, 100), result=1)
        .on(answered, show[0], call(EFFECTIVE, STREAM), call(CONTINUE, 0)),
    )
    yield Probe(
        "callout-reply",
        Guest()
        .on(ON_REQUEST, caller(b"callee", head), result=1)
        .on(answered, call(EFFECTIVE, STREAM), reply(403, b"said the service")),
    )


def abuse_probes() -> Iterator[Probe]:
    far = 0x7FFFFFF0
    yield Probe(
        "bad-pointers",
        Guest().on(
            ON_REQUEST,
            call(GET, REQUEST_HEADERS, far, 4, OUT, label="key outside"),
            call(GET, REQUEST_HEADERS, b"x-a", far, far, label="slots outside"),
            call(ADD, REQUEST_HEADERS, b"x-b", far, 10, label="value outside"),
            call("proxy_log", 2, far, 10, label="log outside"),
            call(BUFFER, VM_CONFIGURATION, 0, 10, far, far, label="buffer slots outside"),
            call(PROPERTY, far, 5, OUT, label="path outside"),
        ),
        (Ask(headers=HEADERS),),
    )
    yield Probe(
        "unknown-things",
        Guest().on(
            ON_REQUEST,
            call("proxy_call_foreign_function", b"nobody", b"", OUT, label="foreign"),
            call(BUFFER, 99, 0, 10, OUT, label="no such buffer"),
            call(CONTINUE, 9, label="no such stream"),
        ),
    )
    yield Probe("trap-in-log", Guest().on(ON_LOG, Trap()))
    yield Probe(
        "trap-in-request",
        Guest().on(ON_REQUEST, Trap()),
    )
    # Last: it leaves Envoy's connection to the app with bytes that no request owns.
    yield Probe(
        "body-longer-than-declared",
        Guest().on(
            ON_REQUEST_BODY,
            AtEnd(otherwise=(Return(1),)),
            call(SET_BUFFER, REQUEST_BODY, 0, ALL, b"longer than it was"),
        ),
        (POST,),
        differs="content-length is put right after a body change",
        ours=("answer", "app"),
    )
