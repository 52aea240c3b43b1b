"""Raw bytes that are odd but lawful: the app gets exactly what the client sent, and the client the answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.bystander import Stage
from tests.support.raw_app import Seen
from tests.support.raw_client import Client, Fields, chunked, get

pytestmark = pytest.mark.usefixtures("unharmed")

HOST = (b"Host", b"app.test")


@dataclass
class Row:
    """``line`` is the request line that the app must see and ``fields`` those it must see, in this order."""

    name: str
    data: bytes
    line: bytes = b"GET /p HTTP/1.1"
    fields: Fields | None = None
    body: bytes = b""
    trailers: Fields | None = None


def fields_of(*lines: bytes) -> Fields:
    pairs = [line.partition(b":") for line in lines]
    return [HOST, *((name, value.strip(b" \t")) for name, _, value in pairs)]


def lines(name: str, *given: bytes, seen: tuple[bytes, ...] | None = None) -> Row:
    """A GET with these field lines; ``seen`` are the lines the app must get, the same by default."""
    data = b"\r\n".join((b"GET /p HTTP/1.1", b"Host: app.test", *given)) + b"\r\n\r\n"
    return Row(name, data, fields=fields_of(*(given if seen is None else seen)))


def target(name: str, path: bytes, method: bytes = b"GET", seen: bytes | None = None) -> Row:
    line = method + b" " + (path if seen is None else seen) + b" HTTP/1.1"
    return Row(name, method + b" " + path + b" HTTP/1.1\r\nHost: app.test\r\n\r\n", line, [HOST])


def host(name: str, value: bytes) -> Row:
    return Row(name, b"GET /p HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", fields=[(b"Host", value)])


def sized(name: str, body: bytes, method: bytes = b"POST") -> Row:
    data = method + b" /p HTTP/1.1\r\nHost: app.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return Row(name, data, method + b" /p HTTP/1.1", [HOST, (b"Content-Length", b"%d" % len(body))], body)


def pieces(name: str, wire: bytes, body: bytes, *trailers: tuple[bytes, bytes], method: bytes = b"POST") -> Row:
    data = method + b" /p HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n" + wire
    return Row(name, data, method + b" /p HTTP/1.1", [HOST], body, list(trailers))


INNER = b"GET /inner HTTP/1.1\r\nHost: app.test\r\n\r\n"
FORBIDDEN = (
    b"Content-Length: 5\r\nHost: other\r\nAuthorization: x\r\nOk: 1\r\n"
    b"Transfer-Encoding: chunked\r\nX-Forwarded-Client-Cert: x\r\n"
)

ROWS = [
    lines("plain"),
    lines("lower-case", b"accept: */*", b"x-lower: 1"),
    lines("mixed-case", b"ACCEPT: */*", b"x-MiXeD: 1", b"X-Upper: 2"),
    lines("order-and-duplicates", b"B: 1", b"A: 2", b"b: 3", b"B: 1", b"a: 4"),
    lines("empty-value", b"X-Empty:", b"X-Blank: ", b"X-Tab:\t"),
    lines("white-space-around", b"X-Pad:   a b \t ", b"X-None:a", b"X-Tab:\ta\t"),
    lines("white-space-inside", b"X-In: a\tb  c"),
    lines("H6-high-bytes", b"X-High: \x80\xa0\xc3\x28\xfe\xff"),
    lines("H6-latin1", b"X-Name: J\xfcrgen"),
    lines("H6-utf8", "X-Name: Jürgen ☃ 𝄞".encode()),
    lines("H6-broken-utf8", b"X-Name: \xed\xa0\x80 \xc0\xaf \xf5"),
    lines("every-token-character", b"!#$%&'*+-.^_`|~09azAZ: x"),
    lines("every-visible-character", b"X-All: " + bytes(range(0x21, 0x7F))),
    lines("one-letter-names", b"a: 1", b"Z: 2", b"0: 3"),
    lines("name-of-256", b"N" * 256 + b": x"),
    lines("value-of-60000", b"X-Long: " + b"v" * 60000),
    lines("95-fields", *(b"X-%d: %d" % (number, number) for number in range(95))),
    lines("many-cookies", b"Cookie: a=1; b=2", b"cookie: c=3"),
    lines("quotes-and-commas", b'X-List: "a,b", c;q="\\""'),
    lines("colon-in-value", b"X-Time: 12:30:00", b"X-Colon: :"),
    lines("H5-underscore", b"X_Custom: 1", b"X-Custom: 2"),
    lines("H7-traceparent-junk", b"traceparent: zz-not-a-trace", b"tracestate: ,,=;"),
    lines("H8-grpc-timeout-junk", b"grpc-timeout: 99999999H", b"grpc-encoding: nothing"),
    lines("H8-grpc-timeout-negative", b"grpc-timeout: -1S"),
    lines("P13-method-override", b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /o", b"X-Rewrite-URL: /o"),
    lines("range", b"Range: bytes=0-0,-1,5-"),
    lines("content-type-odd", b"Content-Type: multipart/form-data; boundary=----x"),
    lines("te-trailers", b"TE: trailers", seen=(b"TE: trailers", b"connection: TE")),
    lines("connection-keep-alive", b"Connection: keep-alive", b"Keep-Alive: timeout=5", seen=()),
    lines("proxy-connection", b"Proxy-Connection: keep-alive", seen=()),
    lines("connection-names-one", b"Connection: x-hop", b"X-Hop: 1", b"X-Stay: 2", seen=(b"X-Stay: 2",)),
    lines("connection-list", b"Connection: x-one, X-TWO ,", b"x-one: 1", b"X-Two: 2", b"x-three: 3",
          seen=(b"x-three: 3",)),
    lines("F17-connection-names-authorization", b"Connection: authorization, cookie", b"Authorization: a", b"Cookie: b",
          seen=(b"Authorization: a", b"Cookie: b")),
    lines("F18-h2c", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
          b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", seen=()),
    lines("te-other", b"TE: gzip, deflate", seen=()),
    Row("blank-line-first", b"\r\n" + get("/p"), fields=[HOST]),
    target("query", b"/p?a=1&b=2&a=3"),
    target("query-empty", b"/p?"),
    target("query-odd", b"/p?//../%2e%2e/%2f;=&&=?/:@!$'()*+,"),
    target("query-question-marks", b"/p???"),
    target("root", b"/"),
    target("slash-last", b"/p/"),
    target("dots-in-names", b"/.../a..b/..c/c../.d"),
    target("escaped-space", b"/a%20b"),
    target("escaped-percent", b"/a%25b"),
    target("P2-escaped-twice", b"/a%252e%252e/b"),
    target("escaped-utf8", b"/%C3%A4/%E2%98%83"),
    target("escaped-letters", b"/%61%41"),
    target("escaped-plus", b"/a+b%2Bc"),
    target("sub-delimiters", b"/a!$&'()*+,=:@-._~b"),
    target("P5-parameters", b"/a;v=1/b;x"),
    target("P6-case", b"/PRIVATE/Path"),
    target("long", b"/" + b"a" * 8000),
    target("long-query", b"/p?" + b"q" * 15000),
    target("pipe-and-braces", b"/p?a={b}|c^d`"),
    target("P9-absolute", b"http://app.test/p?x", seen=b"/p?x"),
    target("P9-absolute-upper", b"HTTP://app.test/p", seen=b"/p"),
    target("P9-absolute-no-path", b"http://app.test", seen=b"/"),
    target("P9-absolute-query", b"http://app.test?x=1", seen=b"/?x=1"),
    target("P10-options-star", b"*", b"OPTIONS"),
    target("options", b"/p", b"OPTIONS"),
    target("trace", b"/p", b"TRACE"),
    target("delete", b"/p", b"DELETE"),
    target("P13-propfind", b"/p", b"PROPFIND"),
    target("P13-odd-token", b"/p", b"M-SEARCH"),
    target("P13-odder-token", b"/p", b"!#$%&'*+.^_`|~"),
    host("host-port", b"app.test:8080"),
    host("host-upper", b"APP.Test"),
    host("host-dot", b"app.test."),
    host("host-ip", b"127.0.0.1:80"),
    host("host-ip6", b"[::1]:8080"),
    host("host-underscore", b"my_app.test"),
    host("host-empty-port", b"app.test:"),
    sized("F10-get-body", b"hello", b"GET"),
    sized("F10-delete-body", b"hello", b"DELETE"),
    sized("F10-get-hidden-request", INNER, b"GET"),
    sized("F10-post-hidden-request", INNER + INNER),
    sized("post-empty", b""),
    sized("get-length-0", b"", b"GET"),
    sized("every-byte", bytes(range(256))),
    sized("put", b"x" * 100_000, b"PUT"),
    sized("patch", b"{}", b"PATCH"),
    pieces("chunks", chunked(b"ab", b"c", b"defgh"), b"abcdefgh"),
    pieces("chunks-none", chunked(), b""),
    pieces("chunks-get", chunked(b"x"), b"x", method=b"GET"),
    pieces("chunks-hex-case", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    pieces("chunks-leading-zeros", b"0005\r\nhello\r\n0000\r\n\r\n", b"hello"),
    pieces("chunk-extension", b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
    pieces("chunk-extension-blank", b"5 ;a = b\r\nhello\r\n0\r\n\r\n", b"hello"),
    pieces("chunk-hidden-request", chunked(INNER), INNER),
    pieces("chunk-large", chunked(b"z" * 200_000), b"z" * 200_000),
    pieces("trailers", chunked(b"x", trailers=b"X-Sum: 1\r\nx-Other: \xff\r\n"), b"x",
           (b"X-Sum", b"1"), (b"x-Other", b"\xff")),
    pieces("trailers-duplicate", chunked(b"x", trailers=b"A: 1\r\nA: 2\r\n"), b"x", (b"A", b"1"), (b"A", b"2")),
    pieces("F9-trailers-forbidden", chunked(b"x", trailers=FORBIDDEN), b"x", (b"Ok", b"1")),
]  # fmt: skip


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_lawful_request_arrives_as_it_was_sent(quick_stage: Stage, direction: str, row: Row) -> None:
    app = quick_stage.app
    with Client(quick_stage.sidecar.ports[direction]) as client:
        answer = client.send(row.data).read_answer()
        assert (answer.status, answer.end) == (200, "whole"), answer
        seen = app.requests[0]
        assert seen.head.partition(b"\r\n")[0] == row.line
        assert _fields(seen) == row.fields
        assert (seen.body, seen.cut) == (row.body, False)
        assert seen.trailers == (row.trailers or [])
        assert len(framing(seen)) <= 1
        if row.body:
            assert len(framing(seen)) == 1
        assert answer.body == _echo(seen)
        # The connection is in step: what comes next is answered as itself, and the app saw two requests, no more.
        after = client.send(get("/after", "x-id: after")).read_answer()
        assert after.body == b"GET /after id=after\n"
    assert [each.target for each in app.requests] == [seen.target, b"/after"]


def _fields(seen: Seen) -> Fields:
    return [pair for pair in seen.own_fields if pair[0].lower() != b"transfer-encoding"]


def framing(seen: Seen) -> Fields:
    return [pair for pair in seen.fields if pair[0].lower() in (b"content-length", b"transfer-encoding")]


def _echo(seen: Seen) -> bytes:
    return b"%b %b id=\n%b" % (seen.method, seen.target, seen.body)


@pytest.mark.parametrize(
    ("minor", "fields", "stays"),
    [
        pytest.param(0, "", False, id="1.0-no-host"),
        pytest.param(0, "Host: app.test\r\n", False, id="1.0-host"),
        pytest.param(0, "Host: app.test\r\nConnection: keep-alive\r\n", True, id="1.0-keep-alive"),
        pytest.param(1, "Host: app.test\r\nConnection: close\r\n", False, id="1.1-close"),
        pytest.param(1, "Host: app.test\r\nConnection: CLOSE, x\r\n", False, id="1.1-close-case"),
        pytest.param(1, "Host: app.test\r\n", True, id="1.1"),
    ],
)
def test_connection_stays_or_ends_as_the_client_asked(
    quick_stage: Stage, minor: int, fields: str, stays: bool
) -> None:
    with Client(quick_stage.sidecar.inbound) as client:
        answer = client.send(f"GET /p HTTP/1.{minor}\r\n{fields}\r\n".encode()).read_answer()
        assert (answer.status, answer.version) == (200, b"HTTP/1.1")
        assert answer.body.startswith(b"GET /p")
        if stays:
            assert answer.get("connection") in (None, "keep-alive")
            assert client.send(get("/after")).read_answer().body == b"GET /after id=\n"
        else:
            assert answer.get("connection") == "close"
            assert client.wait_for_end() == "eof"
    assert quick_stage.app.requests[0].version == b"HTTP/1.1"


@pytest.mark.parametrize("length", [0, 1, 16])
def test_pipelined_requests_are_answered_in_order(quick_stage: Stage, length: int) -> None:
    numbers = range(12)
    data = b"".join(
        get(f"/n/{number}", f"x-id: {number}", method="POST", body=b"b" * length + b"%d" % number) for number in numbers
    )
    with Client(quick_stage.sidecar.inbound) as client:
        client.send(data)
        for number in numbers:
            expected = f"POST /n/{number} id={number}\n{'b' * length}{number}".encode()
            assert client.read_answer().body == expected
    assert [seen.get(b"x-id") for seen in quick_stage.app.requests] == [b"%d" % number for number in numbers]


def test_F21_one_byte_at_a_time_is_the_same_request(quick_stage: Stage) -> None:
    data = get("/p?q=1", "x-id: slow", "X-High: \xe4") + (
        b"POST /q HTTP/1.1\r\nHost: app.test\r\nx-id: slower\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(b"abc", b"defghij", trailers=b"T: 1\r\n")
    )
    with Client(quick_stage.sidecar.inbound) as client:
        for at in range(len(data)):
            client.send(data[at : at + 1])
        assert client.read_answer().body == b"GET /p?q=1 id=slow\n"
        assert client.read_answer().body == b"POST /q id=slower\nabcdefghij"
    first, second = quick_stage.app.requests
    assert first.get(b"x-high") == b"\xe4"
    assert (second.body, second.trailers) == (b"abcdefghij", [(b"T", b"1")])


def test_F21_split_at_every_place_is_the_same_request(quick_stage: Stage) -> None:
    head = b"POST /s HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + chunked(b"abc", trailers=b"T: 1\r\n")
    expected: Any = None
    with Client(quick_stage.sidecar.inbound) as client:
        for at in range(1, len(data)):
            client.send(data[:at])
            client.send(data[at:])
            assert client.read_answer().body == b"POST /s id=\nabc"
            seen = quick_stage.app.requests[-1]
            view = (seen.method, seen.target, seen.own_fields, seen.body, seen.trailers)
            expected = expected or view
            assert view == expected
    assert len(quick_stage.app.requests) == len(data) - 1
