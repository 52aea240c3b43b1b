"""Rows F13, F14 and X9: what an app says back. Broken is 502 and never reaches another; odd but lawful passes.

Where part of an answer has been passed on before it turned out broken, the client's connection is cut, so that the
answer cannot be taken for a whole one.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.bystander import Stage
from tests.support.raw_app import AppConnection, Script, Seen, saying
from tests.support.raw_client import Answer, Client, Fields, Gone, chunked, get
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("unharmed")

OK = b"HTTP/1.1 200 OK\r\n"


def head(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n"


def first(line: bytes) -> bytes:
    return head(b"Content-Length: 1", first=line) + b"x"


def field(line: bytes) -> bytes:
    return head(b"Content-Length: 1", line) + b"x"


def chunks(data: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + data


LENGTHS = {
    "two-equal": b"1\r\nContent-Length: 1", "two-differing": b"1\r\nContent-Length: 2", "list": b"1, 1",
    "list-2": b"1, 2",
    "plus": b"+1", "minus": b"-1", "leading-zero": b"01", "underscore": b"1_0", "hex": b"0x1", "blank": b"",
    "word": b"one",
    "overflow": b"18446744073709551617", "decimal": b"1.0", "semicolon": b"1;a", "vertical-tab": b"1\x0b",
    "digits": b"9" * 40,
}  # fmt: skip
CODINGS = {
    "xchunked": b"xchunked", "gzip-chunked": b"gzip, chunked", "chunked-gzip": b"chunked, gzip",
    "twice": b"chunked, chunked",
    "identity": b"identity", "comma": b",chunked", "vertical-tab": b"\x0bchunked", "quoted": b'"chunked"',
    "blank": b"",
    "two-fields": b"chunked\r\nTransfer-Encoding: chunked",
}  # fmt: skip
FIRST_LINES = {
    "99": b"HTTP/1.1 99 OK", "1000": b"HTTP/1.1 1000 OK", "600": b"HTTP/1.1 600 OK", "000": b"HTTP/1.1 000 OK",
    "word": b"HTTP/1.1 OK",
    "minus": b"HTTP/1.1 -20 OK", "20": b"HTTP/1.1 20 OK", "2.0": b"HTTP/1.1 2.0 OK", "no-status": b"HTTP/1.1",
    "1.2": b"HTTP/1.2 200 OK",
    "2.0-version": b"HTTP/2.0 200 OK", "ICY": b"ICY 200 OK", "lower": b"http/1.1 200 OK", "0.9": b"HTTP/0.9 200 OK",
    "space-first": b" HTTP/1.1 200 OK", "two-spaces": b"HTTP/1.1  200 OK", "tab": b"HTTP/1.1\t200\tOK",
    "nul": b"HTTP/1.1 200 O\0K",
    "cr": b"HTTP/1.1 200 O\rK", "junk": b"\x16\x03\x01\x02\x00", "glued": b"HTTP/1.1 200OK", "blank": b"",
    "request": b"GET / HTTP/1.1",
}  # fmt: skip
FIELDS = {
    "lf": b"A: b\nC: d", "cr": b"A: b\rC: d", "nul": b"A: b\0", "del": b"A: b\x7f", "control": b"A: b\x01",
    "fold": b"A: b\r\n c",
    "fold-tab": b"A: b\r\n\tc", "space-before-colon": b"A : b", "no-colon": b"nothing", "empty-name": b": b",
    "paren": b"A(B: c",
    "name-high": b"A\xe4: c", "name-space": b"A B: c", "name-300": b"N" * 300 + b": c",
    "cl-space": b"Content-Length : 5",
}  # fmt: skip
BROKEN: dict[str, bytes] = {
    **{f"length-{name}": head(b"Content-Length: " + value) + b"x" for name, value in LENGTHS.items()},
    "length-and-coding": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + chunked(b"x"),
    "coding-and-length": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + chunked(b"x"),
    **{f"coding-{name}": head(b"Transfer-Encoding: " + value) + chunked(b"x") for name, value in CODINGS.items()},
    "coding-1.0": head(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK") + chunked(b"x"),
    **{f"first-{name}": first(line) for name, line in FIRST_LINES.items()},
    **{f"field-{name}": field(line) for name, line in FIELDS.items()},
    "lf-everywhere": b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    "lf-first": b"HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\nx",
    "lf-empty-line": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\nx",
    "http-0.9": b"hello, this is no HTTP\r\n\r\n",
    "html": b"<html><body>error</body></html>\n",
    "fields-200": head(b"Content-Length: 0", *(b"A%d: b" % n for n in range(200))),
    "field-70000": head(b"Content-Length: 0", b"A: " + b"x" * 70_000),
    "never-ending-head": OK + b"A: " + b"x" * 200_000,
    "101-unasked": head(b"Connection: upgrade", b"Upgrade: websocket", first=b"HTTP/1.1 101 Switching Protocols"),
    "101-unasked-plain": head(first=b"HTTP/1.1 101 Switching Protocols"),
    "interim-endless": head(first=b"HTTP/1.1 103 Early Hints") * 17 + head(b"Content-Length: 0"),
    "interim-broken": head(b"A : b", first=b"HTTP/1.1 103 Early Hints") + head(b"Content-Length: 0"),
    "closed-at-once": b"",
    "closed-in-first-line": b"HTTP/1.1 20",
    "closed-in-head": OK + b"Content-Length: 5\r\n",
    "closed-after-100": head(first=b"HTTP/1.1 100 Continue"),
}
CUT: dict[str, bytes] = {
    "length-short": head(b"Content-Length: 10") + b"12345",
    "length-none": head(b"Content-Length: 10"),
    "chunk-short": chunks(b"a\r\n12345"),
    "chunk-no-last": chunks(b"5\r\n12345\r\n"),
    "chunk-no-end": chunks(b"5\r\n12345\r\n0\r\n"),
    "chunk-half-trailer": chunks(b"5\r\n12345\r\n0\r\nA: b\r\n"),
    "chunk-size-half": chunks(b"5\r\n12345\r\n5"),
}
BAD_CHUNKS = {
    "0x": b"0x1\r\nx\r\n", "17-digits": b"00000000000000001\r\nx\r\n", "overflow": b"fffffffffffffffff\r\nx\r\n",
    "minus": b"-1\r\nx\r\n",
    "letter": b"g\r\nx\r\n", "space": b" 1\r\nx\r\n", "empty": b"\r\nx\r\n", "lf": b"1\nx\n",
    "long-data": b"1\r\nxyz\r\n",
    "lf-in-extension": b"1;a\nb\r\nx\r\n", "extension-5000": b"1;" + b"a" * 5000 + b"\r\nx\r\n",
    "plus": b"+1\r\nx\r\n",
    "trailer-lf": b"0\r\nA: b\n\r\n", "trailer-space": b"0\r\nA : b\r\n\r\n", "sign-bit": b"ffffffffffffffff\r\nx",
}  # fmt: skip


def run(stage: Stage, answer: bytes, then: str, direction: str = "inbound") -> Answer | str:
    """What the client gets for ``answer``: an answer, or how the connection ended without one."""
    stage.app.script = _to_first(answer, then)
    with Client(stage.sidecar.ports[direction]) as client:
        try:
            return client.send(get("/broken", "x-id: first")).read_answer()
        except Gone as gone:
            return gone.how


def _to_first(answer: bytes, then: str) -> Script:
    """``answer`` to the request that asks for it, the truth to every other."""
    broken = saying(answer, then)

    def script(connection: AppConnection, seen: Seen) -> None:
        (broken if seen.target == b"/broken" else _echo)(connection, seen)

    return script


def _echo(connection: AppConnection, seen: Seen) -> None:
    body = b"%b %b" % (seen.target, seen.get(b"x-id") or b"")
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def others_get_their_own(stage: Stage) -> None:
    """Whatever the app said too much is not the answer to what others ask next."""
    for number in range(3):
        answer = stage.sidecar.ask(f"/other/{number}", f"x-id: {number}")
        assert (answer.status, answer.body) == (200, b"/other/%d %d" % (number, number))


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("name", BROKEN)
def test_F13_broken_answer_is_502(quick_stage: Stage, direction: str, name: str) -> None:
    # Only an answer that ends where it should not needs the app to hang up; the others are judged by their bytes.
    hangs_up = name.startswith("closed") or name in ("html", "first-junk")
    got = run(quick_stage, BROKEN[name], "close" if hangs_up else "", direction)
    assert isinstance(got, Answer), got
    assert got.refusal == (502, "upstream_reset")
    others_get_their_own(quick_stage)


@pytest.mark.parametrize("ending", ["close", "cut"])
@pytest.mark.parametrize("name", CUT)
def test_X9_answer_that_ends_early_is_cut_not_ended(quick_stage: Stage, name: str, ending: str) -> None:
    got = run(quick_stage, CUT[name], ending)
    if isinstance(got, Answer):
        assert got.end != "whole" or got.refusal == (502, "upstream_reset")
    others_get_their_own(quick_stage)


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_F13_broken_chunk_is_cut_not_ended(quick_stage: Stage, name: str) -> None:
    got = run(quick_stage, chunks(b"4\r\ngood\r\n" + BAD_CHUNKS[name] + b"0\r\n\r\n"), "")
    if isinstance(got, Answer):
        assert got.end != "whole" or got.refusal == (502, "upstream_reset")
    others_get_their_own(quick_stage)


EXTRA = head(b"Content-Length: 6") + b"poison"


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(EXTRA, id="whole-answer"),
        pytest.param(EXTRA * 3, id="three-answers"),
        pytest.param(b"x", id="one-byte"),
        pytest.param(b"HTTP/1.1 200", id="half-head"),
        pytest.param(b"\r\n", id="blank-line"),
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(head(first=b"HTTP/1.1 100 Continue"), id="interim"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True], ids=["with-it", "after-it"])
def test_F14_more_than_was_asked_for_is_nobodys_answer(quick_stage: Stage, extra: bytes, is_late: bool) -> None:
    good = head(b"Content-Length: 4") + b"good"
    quick_stage.app.drop_connections()
    if not is_late:
        got = run(quick_stage, good + extra, "")
    else:
        got = run(quick_stage, good, "")
        connection = quick_stage.app.connections[-1]
        connection.send(extra)
        eventually(lambda: connection.is_closed)
    assert isinstance(got, Answer)
    assert (got.status, got.body) == (200, b"good")
    others_get_their_own(quick_stage)


def test_F14_app_that_answers_before_it_was_asked_is_not_believed(quick_stage: Stage) -> None:
    quick_stage.app.drop_connections()
    spoken: list[AppConnection] = []

    def speak_first(connection: AppConnection) -> None:
        if not spoken:
            spoken.append(connection)
            connection.send(EXTRA)

    quick_stage.app.on_connect = speak_first
    quick_stage.app.script = _to_first(b"", "")
    # Who made the app connect may well take that for the answer: nobody can know. Its true answer is then one too many.
    quick_stage.sidecar.ask("/other/first", "x-id: first")
    eventually(lambda: spoken[0].is_closed)
    others_get_their_own(quick_stage)


@dataclass
class Odd:
    """An odd but lawful answer and what the client gets of it."""

    name: str
    data: bytes
    status: int
    body: bytes = b""
    fields: Fields | None = None
    method: str = "GET"
    trailers: Fields | None = None
    then: str = ""


ODD = [
    Odd("lower-case-names", head(b"content-length: 1", b"x-lower: 1") + b"x", 200, b"x", [(b"x-lower", b"1")]),
    Odd("mixed-case", head(b"CoNtEnT-LeNgTh: 1", b"X-MiXeD: 1") + b"x", 200, b"x", [(b"X-MiXeD", b"1")]),
    Odd("cookies", head(b"Set-Cookie: a=1; Path=/", b"Content-Length: 0", b"set-cookie: b=2", b"Set-Cookie: a=3"), 200,
        b"",
        [(b"Set-Cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2"), (b"Set-Cookie", b"a=3")]),
    Odd("order", head(b"B: 1", b"A: 2", b"Content-Length: 0", b"B: 3"), 200, b"",
        [(b"B", b"1"), (b"A", b"2"), (b"B", b"3")]),
    Odd("high-bytes", head(b"Content-Length: 0", b"X: \x80\xff\xc3\x28"), 200, b"", [(b"X", b"\x80\xff\xc3\x28")]),
    Odd("empty-value", head(b"Content-Length: 0", b"X:", b"Y:  "), 200, b"", [(b"X", b""), (b"Y", b"")]),
    Odd("long-value", head(b"Content-Length: 0", b"X: " + b"v" * 60_000), 200, b"", [(b"X", b"v" * 60_000)]),
    Odd("no-reason", head(b"Content-Length: 0", first=b"HTTP/1.1 200 "), 200, b"", []),
    Odd("no-reason-no-space", head(b"Content-Length: 0", first=b"HTTP/1.1 200"), 200, b"", []),
    Odd("reason-odd", head(b"Content-Length: 0", first=b"HTTP/1.1 404 Nicht gefunden! \xe4"), 404, b"", []),
    *(Odd(f"status-{status}", head(b"Content-Length: 1", first=b"HTTP/1.1 %d X" % status) + b"x", status, b"x", [])
      for status in (201, 203, 206, 226, 299, 300, 302, 399, 400, 401, 418, 451, 499, 500, 502, 503, 504, 599)),
    Odd("204", head(b"X: 1", first=b"HTTP/1.1 204 No Content"), 204, b"", [(b"X", b"1")]),
    Odd("304-length", head(b"Content-Length: 1234", b"ETag: \"a\"", first=b"HTTP/1.1 304 Not Modified"), 304, b"",
        [(b"ETag", b'"a"')]),
    Odd("head-length", head(b"Content-Length: 1234"), 200, b"", [], method="HEAD"),
    Odd("head-chunked", head(b"Transfer-Encoding: chunked"), 200, b"", [], method="HEAD"),
    Odd("head-404", head(b"Content-Length: 9", first=b"HTTP/1.1 404 Not Found"), 404, b"", [], method="HEAD"),
    Odd("length-0", head(b"Content-Length: 0"), 200, b"", []),
    Odd("205", head(b"Content-Length: 0", first=b"HTTP/1.1 205 Reset Content"), 205, b"", []),
    Odd("chunked", chunks(chunked(b"ab", b"cde")), 200, b"abcde", []),
    Odd("chunked-empty", chunks(chunked()), 200, b"", []),
    Odd("chunked-extension", chunks(b'5;a="b c"\r\nhello\r\n0;x\r\n\r\n'), 200, b"hello", []),
    Odd("chunked-zeros", chunks(b"005\r\nhello\r\n000\r\n\r\n"), 200, b"hello", []),
    Odd("chunked-hex", chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), 200, b"0123456789", []),
    Odd("trailers", chunks(chunked(b"x", trailers=b"X-Sum: 1\r\nx-sum: 2\r\n")), 200, b"x", [],
        trailers=[(b"X-Sum", b"1"), (b"x-sum", b"2")]),
    Odd("until-close", head(b"X: 1") + b"all of it", 200, b"all of it", [(b"X", b"1")], then="close"),
    Odd("until-close-empty", head(), 200, b"", [], then="close"),
    Odd("until-close-large", head() + b"z" * 300_000, 200, b"z" * 300_000, [], then="close"),
    Odd("1.0", head(b"Content-Length: 1", first=b"HTTP/1.0 200 OK") + b"x", 200, b"x", []),
    Odd("1.0-until-close", head(first=b"HTTP/1.0 200 OK") + b"old", 200, b"old", [], then="close"),
    Odd("1.0-keep-alive", head(b"Connection: keep-alive", b"Content-Length: 1", first=b"HTTP/1.0 200 OK") + b"x", 200,
        b"x", []),
    Odd("connection-close", head(b"Connection: close", b"Content-Length: 1") + b"x", 200, b"x", [], then="close"),
    Odd("connection-names-one", head(b"Connection: x-hop", b"X-Hop: 1", b"Content-Length: 0", b"X-Stay: 1"), 200, b"",
        [(b"X-Stay", b"1")]),
    Odd("keep-alive", head(b"Keep-Alive: timeout=5, max=100", b"Content-Length: 0"), 200, b"", []),
    Odd("interim-102", head(first=b"HTTP/1.1 102 Processing") + head(b"Content-Length: 1") + b"x", 200, b"x", []),
    Odd("interim-103", head(b"Link: </a>", first=b"HTTP/1.1 103 Early Hints") * 3 + head(b"Content-Length: 1") + b"x",
        200, b"x", []),
    Odd("interim-100-unasked", head(first=b"HTTP/1.1 100 Continue") + head(b"Content-Length: 1") + b"x", 200, b"x", []),
    Odd("early-response-to-nothing", head(b"Content-Length: 5", b"Date: x", b"Server: y") + b"hello", 200, b"hello",
        [(b"Date", b"x"), (b"Server", b"y")]),
    Odd("503-of-the-app", head(b"Content-Length: 0", b"Retry-After: 1", first=b"HTTP/1.1 503 X"), 503, b"",
        [(b"Retry-After", b"1")]),
]  # fmt: skip
FRAMING = (b"content-length", b"transfer-encoding", b"connection")


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name) for odd in ODD])
def test_odd_but_lawful_answer_passes(quick_stage: Stage, direction: str, odd: Odd) -> None:
    quick_stage.app.script = _to_first(odd.data, odd.then)
    with Client(quick_stage.sidecar.ports[direction]) as client:
        answer = client.send(get("/broken", method=odd.method)).read_answer(odd.method)
        assert (answer.status, answer.body, answer.end) == (odd.status, odd.body, "whole")
        assert [pair for pair in answer.fields if pair[0].lower() not in FRAMING] == odd.fields
        assert answer.trailers == (odd.trailers or [])
        assert client.send(get("/next", "x-id: 2")).read_answer().body == b"/next 2"


def test_304_and_head_keep_the_length_of_what_they_stand_for(quick_stage: Stage) -> None:
    for method, line in (("GET", b"HTTP/1.1 304 Not Modified"), ("HEAD", b"HTTP/1.1 200 OK")):
        quick_stage.app.script = _to_first(head(b"Content-Length: 1234", first=line), "")
        with Client(quick_stage.sidecar.inbound) as client:
            answer = client.send(get("/broken", method=method)).read_answer(method)
            assert answer.get("content-length") == "1234"
            assert client.send(get("/next", "x-id: 2")).read_answer().body == b"/next 2"


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", b"204 No Content"), ("GET", b"304 Not Modified"), ("HEAD", b"200 OK"), ("HEAD", b"304 Not Modified")],
)
def test_F13_body_where_there_is_none_is_nobodys_answer(quick_stage: Stage, method: str, status: bytes) -> None:
    quick_stage.app.drop_connections()
    quick_stage.app.script = _to_first(head(b"Content-Length: 6", first=b"HTTP/1.1 " + status) + b"poison", "")
    with Client(quick_stage.sidecar.inbound) as client:
        answer = client.send(get("/broken", method=method)).read_answer(method)
        assert answer.status == int(status[:3]) or answer.refusal == (502, "upstream_reset")
        assert b"poison" not in client.buffer
    others_get_their_own(quick_stage)


def test_interim_answers_reach_the_client(quick_stage: Stage) -> None:
    hints = head(b"Link: </style.css>", b"link: </b>", first=b"HTTP/1.1 103 Early Hints")
    quick_stage.app.script = _to_first(hints * 2 + head(b"Content-Length: 4") + b"good", "")
    answer = quick_stage.sidecar.ask("/broken")
    assert [(each.status, each.all("link")) for each in answer.interim] == [(103, ["</style.css>", "</b>"])] * 2
    assert answer.body == b"good"
