"""Raw bytes that two parsers could read in two ways, or that nobody should send: refused, and the app sees no request.

Rows F1 to F7, F15, F16, F19, H1, H3, P1 to P3 and P7 to P13 of the catalogue, each as the bytes on the wire.
"""

from __future__ import annotations

import pytest

from tests.support.bystander import Stage
from tests.support.raw_client import Client, Gone, chunked, get
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("unharmed")

HOST = b"Host: app.test\r\n"
CODES = {431: "headers_too_large", 408: "request_timeout", 413: "body_too_large"}

Row = tuple[str, bytes]


def head(*lines: bytes, first: bytes = b"POST /f HTTP/1.1") -> bytes:
    """A request head with Host; ``lines`` are without their ends."""
    return b"\r\n".join((first, b"Host: app.test", *lines)) + b"\r\n\r\n"


def length(value: bytes) -> bytes:
    return head(b"Content-Length: " + value) + b"x"


def coding(value: bytes) -> bytes:
    return head(b"Transfer-Encoding: " + value) + chunked(b"x")


def body(after: bytes) -> bytes:
    """A chunked request whose body is these bytes."""
    return head(b"Transfer-Encoding: chunked") + after


def target(path: bytes, method: bytes = b"GET") -> bytes:
    return head(first=method + b" " + path + b" HTTP/1.1")


def host(value: bytes) -> bytes:
    return b"GET /f HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


LENGTHS = {
    "+1": b"+1", "-0": b"-0", "-1": b"-1", "1_0": b"1_0", "0x1": b"0x1", "blank": b"", "23digits": b"1" * 23,
    "01": b"01",
    "list": b"1, 1", "list-differing": b"1, 2", "comma": b"1,", "comma-first": b",1", "two-words": b"1 1",
    "decimal": b"1.0",
    "exponent": b"1e0", "semicolon": b"1;a", "arabic-digit": "١".encode(), "vertical-tab": b"1\x0b", "quoted": b'"1"',
    "word": b"one", "overflow64": b"18446744073709551617", "overflow32": b"4294967297x",
}  # fmt: skip
CODINGS = {
    "xchunked": b"xchunked", "chunked-identity": b"chunked, identity", "identity-chunked": b"identity, chunked",
    "gzip-chunked": b"gzip, chunked", "comma-first": b",chunked", "comma-last": b"chunked,",
    "twice": b"chunked, chunked",
    "vertical-tab": b"\x0bchunked", "vertical-tab-after": b"chunked\x0b", "form-feed": b"chunked\x0c",
    "quoted": b'"chunked"',
    "parameter": b"chunked;q=1", "identity": b"identity", "gzip": b"gzip", "blank": b"", "nbsp": b"\xa0chunked",
    "cunning-k": "chun\u212aed".encode(), "two-words": b"chunked foo", "nul": b"chunked\x00", "trailers": b"trailers",
}  # fmt: skip

FRAMING: list[Row] = [
    ("F1-cl-te", head(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\nG"),
    ("F1-te-cl", head(b"Transfer-Encoding: chunked", b"Content-Length: 6") + b"0\r\n\r\nG"),
    ("F1-cl0-te", head(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunked(b"x")),
    ("F1-case", head(b"content-LENGTH: 5", b"transfer-ENCODING: chunked") + chunked()),
    ("F1-get", head(b"Content-Length: 5", b"Transfer-Encoding: chunked", first=b"GET /f HTTP/1.1") + chunked()),
    ("F1-te-identity-cl", head(b"Transfer-Encoding: identity", b"Content-Length: 1") + b"x"),
    ("F1-1.0", head(b"Content-Length: 5", b"Transfer-Encoding: chunked", first=b"POST /f HTTP/1.0") + chunked()),
    ("F2-two-equal", head(b"Content-Length: 1", b"Content-Length: 1") + b"x"),
    ("F2-two-differing", head(b"Content-Length: 1", b"Content-Length: 2") + b"xy"),
    ("F2-two-apart", head(b"Content-Length: 1", b"Accept: */*", b"content-length: 1") + b"x"),
    *((f"F2-{name}", length(value)) for name, value in LENGTHS.items()),
    *((f"F3-{name}", coding(value)) for name, value in CODINGS.items()),
    ("F3-two-fields", head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + chunked(b"x")),
    ("F3-two-fields-identity", head(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + chunked(b"x")),
    ("F3-underscore", head(b"Transfer_Encoding: chunked") + chunked(b"x")),
    ("F3-underscore-cl", head(b"Transfer_Encoding: chunked", b"Content-Length: 1") + b"x"),
    ("F3-fold", head(b"Transfer-Encoding:", b" chunked") + chunked(b"x")),
    ("F3-name-space", head(b"Transfer-Encoding : chunked") + chunked(b"x")),
    ("F3-name-control", head(b"\x00Transfer-Encoding: chunked") + chunked(b"x")),
    ("F4-chunked-1.0", head(b"Transfer-Encoding: chunked", first=b"POST /f HTTP/1.0") + chunked(b"x")),
    ("F4-chunked-1.0-keepalive",
     head(b"Connection: keep-alive", b"Transfer-Encoding: chunked", first=b"POST /f HTTP/1.0") + chunked(b"x")),
]  # fmt: skip

LINES: list[Row] = [
    ("F5-lf-everywhere", b"GET /f HTTP/1.1\nHost: app.test\n\n"),
    ("F5-lf-request-line", b"GET /f HTTP/1.1\n" + HOST + b"\r\n"),
    ("F5-lf-field", b"GET /f HTTP/1.1\r\nHost: app.test\nA: b\r\n\r\n"),
    ("F5-lf-hides-field", b"GET /f HTTP/1.1\r\n" + HOST + b"A: b\nContent-Length: 5\r\n\r\nhello"),
    ("F5-lf-empty-line", b"GET /f HTTP/1.1\r\n" + HOST + b"\nGET /g HTTP/1.1\r\n" + HOST + b"\r\n"),
    ("F5-cr-line-ends", b"GET /f HTTP/1.1\rHost: app.test\r\r\n\r\n"),
    ("F5-cr-in-value", head(b"A: b\rc", first=b"GET /f HTTP/1.1")),
    ("F5-cr-hides-field", head(b"A: b\rContent-Length: 5", first=b"GET /f HTTP/1.1") + b"hello"),
    ("F5-cr-cr-lf", b"GET /f HTTP/1.1\r\n" + HOST + b"A: b\r\r\n\r\n"),
    ("F5-cr-before-colon", head(b"A\r: b", first=b"GET /f HTTP/1.1")),
    *((f"F5-control-{code:02x}-in-value", head(b"A: b%bc" % bytes([code]), first=b"GET /f HTTP/1.1"))
      for code in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x0E, 0x1B, 0x1F, 0x7F)),
    *((f"F5-control-{code:02x}-in-name", head(b"A%bB: c" % bytes([code]), first=b"GET /f HTTP/1.1"))
      for code in (0x00, 0x09, 0x0B, 0x1F, 0x7F, 0x80, 0xFF)),
    ("F6-space-before-colon", head(b"A : b", first=b"GET /f HTTP/1.1")),
    ("F6-tab-before-colon", head(b"A\t: b", first=b"GET /f HTTP/1.1")),
    ("F6-space-before-colon-cl", head(b"Content-Length : 1") + b"x"),
    ("F6-fold-space", head(b"A: b", b" c", first=b"GET /f HTTP/1.1")),
    ("F6-fold-tab", head(b"A: b", b"\tc", first=b"GET /f HTTP/1.1")),
    ("F6-fold-first", b"GET /f HTTP/1.1\r\n Host: app.test\r\n\r\n"),
    ("F6-fold-length", head(b"Content-Length:", b" 1") + b"x"),
    ("F6-empty-name", head(b": b", first=b"GET /f HTTP/1.1")),
    ("F6-no-colon", head(b"nothing", first=b"GET /f HTTP/1.1")),
    ("F6-space-in-name", head(b"A B: c", first=b"GET /f HTTP/1.1")),
    *((f"F6-name-{code:02x}", head(b"A%bB: c" % bytes([code]), first=b"GET /f HTTP/1.1"))
      for code in b'(),/;<=>?@[\\]{}"'),
    ("F15-0.9", b"GET /f\r\n\r\n"),
    ("F15-0.9-bare", b"GET /f\r\n" + HOST + b"\r\n"),
    *((f"F15-{name}", head(first=b"GET /f " + version)) for name, version in {
        "1.2": b"HTTP/1.2", "2.0": b"HTTP/2.0", "3": b"HTTP/3", "0.9-words": b"HTTP/0.9", "9.9": b"HTTP/9.9",
        "ICE": b"ICE/1.0",
        "RTSP": b"RTSP/1.0", "1.10": b"HTTP/1.10", "01.1": b"HTTP/01.1", "lower": b"http/1.1", "no-dot": b"HTTP/11",
        "space-inside": b"HTTP/ 1.1", "space-after": b"HTTP/1.1 ", "words-after": b"HTTP/1.1 x", "empty": b"",
        "slash": b"HTTP/",
        "minus": b"HTTP/1.-1", "hex": b"HTTP/1.A", "tab-after": b"HTTP/1.1\t",
    }.items()),
    ("F15-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("F15-two-blank-lines", b"\r\n\r\n" + get("/f")),
    ("F15-blank-lf", b"\n" + get("/f")),
    ("F15-space-first", b" " + get("/f")),
    ("F15-tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    ("F15-two-spaces", head(first=b"GET  /f HTTP/1.1")),
    ("F15-two-spaces-later", head(first=b"GET /f  HTTP/1.1")),
    ("F15-tab-between", head(first=b"GET\t/f\tHTTP/1.1")),
    ("F15-no-target", head(first=b"GET HTTP/1.1")),
    ("F15-smtp", b"HELO app.test\r\n\r\n"),
    ("F16-none", b"GET /f HTTP/1.1\r\n\r\n"),
    ("F16-two-equal", head(b"Host: app.test", first=b"GET /f HTTP/1.1")),
    ("F16-two-differing", head(b"host: other.test", first=b"GET /f HTTP/1.1")),
    *((f"F16-{name}", host(value)) for name, value in {
        "userinfo": b"u@app.test", "userinfo-password": b"u:p@app.test", "space": b"app test",
        "comma": b"app.test,other.test",
        "path": b"app.test/x", "port-99999": b"app.test:99999", "port-word": b"app.test:http",
        "two-ports": b"app.test:80:80",
        "fragment": b"app.test#x", "query": b"app.test?x", "backslash": b"app.test\\x", "open-bracket": b"[::1",
        "bracket-word": b"[zz]",
        "bracket-tail": b"[::1]x", "quote": b'"app.test"', "less": b"<app.test>", "tab": b"app\ttest",
        "utf8": "äpp.test".encode(),
        "port-negative": b"app.test:-1", "scheme": b"http://app.test", "nul-escape": b"app.test%00", "star": b"*",
    }.items()),
]  # fmt: skip

CHUNKS: list[Row] = [
    (f"F7-{name}", body(data)) for name, data in {
        "0x": b"0x1\r\nx\r\n0\r\n\r\n", "17-digits": b"00000000000000001\r\nx\r\n0\r\n\r\n",
        "overflow": b"ffffffffffffffff1\r\nx",
        "sign-bit": b"ffffffffffffffff\r\nx", "minus": b"-1\r\nx\r\n0\r\n\r\n", "plus": b"+1\r\nx\r\n0\r\n\r\n",
        "letter": b"g\r\nx\r\n0\r\n\r\n",
        "empty-size": b"\r\nx\r\n0\r\n\r\n", "only-extension": b";a=b\r\nx\r\n0\r\n\r\n",
        "space-first": b" 1\r\nx\r\n0\r\n\r\n",
        "underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n", "comma": b"1,1\r\nx\r\n0\r\n\r\n",
        "lf-after-size": b"1\nx\r\n0\r\n\r\n",
        "lf-after-data": b"1\r\nx\n0\r\n\r\n", "lf-after-last": b"1\r\nx\r\n0\n\n",
        "lf-in-extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
        "cr-in-extension": b"1;a\rb\r\nx\r\n0\r\n\r\n", "nul-in-extension": b"1;a\0b\r\nx\r\n0\r\n\r\n",
        "no-data-end": b"1\r\nxx\r\n0\r\n\r\n",
        "long-data": b"3\r\nabcd\r\n0\r\n\r\n", "extension-1MB": b"1;" + b"a" * (1 << 20) + b"\r\nx\r\n0\r\n\r\n",
        "extension-5000": b"1;" + b"a" * 5000 + b"\r\nx\r\n0\r\n\r\n",
        "extensions-sum": b"1;aaaaaaaa\r\nx\r\n" * 600 + b"0\r\n\r\n",
        "trailer-fold": b"0\r\nA: b\r\n c\r\n\r\n", "trailer-lf": b"0\r\nA: b\n\r\n",
        "trailer-no-colon": b"0\r\nabc\r\n\r\n",
        "trailer-space": b"0\r\nA : b\r\n\r\n", "trailer-nul": b"0\r\nA: \0\r\n\r\n",
        "hex-word": b"1h\r\nx\r\n0\r\n\r\n",
        "cr-only": b"1\rx\r\n0\r\n\r\n", "two-crlf": b"1\r\n\r\nx\r\n0\r\n\r\n",
    }.items()
]  # fmt: skip

TARGETS: list[Row] = [
    *((f"P1-{name}", target(path)) for name, path in {
        "up": b"/public/../private/x", "here": b"/./f", "up-last": b"/f/..", "here-last": b"/f/.",
        "up-parameter": b"/a/..;/private",
        "up-first": b"/../f", "up-parameter-value": b"/a/..;v=1/f", "here-parameter": b"/a/.;/f",
    }.items()),
    *((f"P2-{name}", target(path)) for name, path in {
        "escaped": b"/a/%2e%2e/f", "upper": b"/a/%2E%2E/f", "half": b"/a/.%2e/f", "half-first": b"/a/%2e./f",
        "here": b"/%2e/f",
        "escaped-parameter": b"/a/%2e%2e;x/f", "escaped-semicolon": b"/a/..%3b/f", "last": b"/a/%2e%2e",
    }.items()),
    *((f"P3-{name}", target(path)) for name, path in {
        "slash": b"/a%2fb", "slash-upper": b"/a%2Fb", "backslash-escaped": b"/a%5cb", "backslash-upper": b"/a%5Cb",
        "backslash": b"/a\\b",
        "backslash-up": b"/a\\..\\f", "first": b"/%2ff",
    }.items()),
    *((f"P4-{name}", target(path)) for name, path in {
        "first": b"//private", "inside": b"/a//b", "last": b"/a//", "absolute": b"http://app.test//x",
        "three": b"///f",
    }.items()),
    *((f"P7-{name}", target(path)) for name, path in {
        "nul": b"/a%00", "crlf": b"/a%0d%0ab", "bad": b"/a%zz", "lone": b"/a%", "half": b"/a%2",
        "overlong": b"/a%c0%af", "del": b"/a%7f",
        "unit": b"/a%1f", "broken-utf8": b"/a%c3", "query-bad": b"/a?b=%zz", "query-nul": b"/a?b=%00",
        "surrogate": b"/a%ed%a0%80",
    }.items()),
    *((f"P8-{name}", target(path)) for name, path in {
        "fragment": b"/a#b", "fragment-query": b"/a?b#c", "space": b"/a b", "utf8": "/ä".encode(),
        "latin1": b"/\xe4", "nul": b"/a\0",
        "del": b"/a\x7f", "tab": b"/a\tb", "high-query": b"/a?\xff",
    }.items()),
    ("P9-differs", head(first=b"GET http://other.test/x HTTP/1.1")),
    ("P9-userinfo", head(first=b"GET http://u@app.test/x HTTP/1.1")),
    ("P9-ftp", head(first=b"GET ftp://app.test/x HTTP/1.1")),
    ("P9-file", head(first=b"GET file:///etc/passwd HTTP/1.1")),
    ("P9-no-host", head(first=b"GET http:///x HTTP/1.1")),
    ("P9-bad-port", head(first=b"GET http://app.test:99999/x HTTP/1.1")),
    ("P10-star-get", target(b"*")),
    ("P10-star-post", target(b"*", b"POST")),
    ("P10-no-slash", target(b"f")),
    ("P10-host-only", target(b"app.test")),
    ("P10-authority", target(b"app.test:80")),
    ("P10-query-only", target(b"?a")),
    ("P10-star-more", target(b"*/f", b"OPTIONS")),
    *((f"P13-{name}", target(b"/f", method)) for name, method in {
        "lower": b"get", "mixed": b"Get", "paren": b"G(T", "colon": b"GET:", "long": b"A" * 1000, "empty": b"",
        "utf8": "GÉT".encode(),
        "quote": b'"GET"',
    }.items()),
]  # fmt: skip

TOO_MUCH: list[tuple[str, bytes, tuple[int, ...]]] = [
    ("H1-one-field", head(b"A: " + b"x" * 65537, first=b"GET /f HTTP/1.1"), (431,)),
    ("H1-total", head(*(b"A%d: " % n + b"x" * 1000 for n in range(70)), first=b"GET /f HTTP/1.1"), (431,)),
    ("H1-101-fields", head(*(b"A%d: x" % n for n in range(100)), first=b"GET /f HTTP/1.1"), (431,)),
    ("H1-name-300", head(b"A" * 300 + b": x", first=b"GET /f HTTP/1.1"), (431,)),
    ("H1-never-ending", b"GET /f HTTP/1.1\r\nA: " + b"x" * 200_000, (431,)),
    ("H3-target", target(b"/" + b"a" * 65536), (414, 431)),
    ("H3-never-ending", b"GET /" + b"a" * 200_000, (414, 431)),
    ("H3-method", b"A" * 200_000, (400, 414, 431)),
    ("F19-connect", b"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", (405, 403)),
    ("F19-connect-path", b"CONNECT /f HTTP/1.1\r\n" + HOST + b"\r\n", (400, 405, 403)),
    ("F19-connect-loopback", b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", (405, 403)),
]


def cases(rows: list[Row]) -> list[object]:
    return [pytest.param(data, id=name) for name, data in rows]


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("data", cases(FRAMING + LINES))
def test_ambiguous_head_is_refused_and_nothing_reaches_the_app(quick_stage: Stage, direction: str, data: bytes) -> None:
    before = quick_stage.app.bytes_received
    with Client(quick_stage.sidecar.ports[direction]) as client:
        answer = client.send(data).read_answer()
        assert answer.status in (400, 501, 505)
        assert answer.error == "bad_request"
        assert answer.get("connection") == "close"
        client.wait_for_end()
    assert quick_stage.app.bytes_received == before


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("data", cases(CHUNKS))
def test_broken_chunk_is_refused_and_no_whole_request_reaches_the_app(
    quick_stage: Stage, direction: str, data: bytes
) -> None:
    with Client(quick_stage.sidecar.ports[direction]) as client:
        answer = client.send(data).read_answer()
        assert answer.refusal == (400, "bad_request")
        client.wait_for_end()
    # The head may have gone on before the body was seen; then the app is told that it was cut.
    eventually(lambda: all(seen.cut or not seen.is_read for seen in quick_stage.app.requests), 5)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("data", cases(TARGETS))
def test_target_that_means_two_things_is_refused(quick_stage: Stage, direction: str, data: bytes) -> None:
    before = quick_stage.app.bytes_received
    with Client(quick_stage.sidecar.ports[direction]) as client:
        answer = client.send(data).read_answer()
        assert answer.refusal == (400, "bad_request")
        assert quick_stage.app.bytes_received == before
        _is_closed_or_in_step(client)


@pytest.mark.parametrize(
    ("data", "statuses"), [pytest.param(data, statuses, id=name) for name, data, statuses in TOO_MUCH]
)
def test_too_much_is_refused(quick_stage: Stage, data: bytes, statuses: tuple[int, ...]) -> None:
    before = quick_stage.app.bytes_received
    with Client(quick_stage.sidecar.inbound) as client:
        answer = client.send(data).read_answer()
        assert answer.status in statuses
        assert answer.error == CODES.get(answer.status, "bad_request")
    assert quick_stage.app.bytes_received == before


def _is_closed_or_in_step(client: Client) -> None:
    """After a refusal the connection ends, or the next answer belongs to the next request."""
    client.send(get("/after"))
    try:
        answer = client.read_answer()
    except Gone:
        return
    assert (answer.status, answer.body) == (200, b"GET /after id=\n")
