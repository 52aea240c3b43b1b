"""Heads, read and written; every test runs on both twins."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

from sidecar.codec.h1 import _head_py, head
from sidecar.codec.h1.names import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOP,
    HOST,
    REPEATED,
    SHADOW,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeadError,
)

SCHEME = (b":scheme", b"http", b":scheme")


@pytest.fixture(params=["_head_py", "_head_c"])
def twin(request: pytest.FixtureRequest) -> Any:
    try:
        return importlib.import_module(f"sidecar.codec.h1.{request.param}")
    except ImportError as error:
        pytest.skip(f"the compiled twin is not built: {error}")


def request(twin: Any, data: bytes, most: int = 100) -> Any:
    return twin.parse_request(data, 0, len(data), SCHEME, most)


def response(twin: Any, data: bytes, most: int = 100) -> Any:
    return twin.parse_response(data, 0, len(data), most)


def refused(call: Any, *arguments: Any) -> tuple[int, str]:
    with pytest.raises(HeadError) as caught:
        call(*arguments)
    return caught.value.status, caught.value.limit


class TestRequest:
    def test_pseudo_headers_come_first_and_spelling_is_kept(self, twin: Any) -> None:
        fields, minor, flags = request(twin, b"PUT /a?b HTTP/1.1\r\nhOST: x\r\nX-One:  1 \t\r\nUSER-agent: me\r\n")
        assert fields == [
            (b":method", b"PUT", b":method"),
            SCHEME,
            (b":authority", b"x", b"hOST"),
            (b":path", b"/a?b", b":path"),
            (b"x-one", b"1", b"X-One"),
            (b"user-agent", b"me", b"USER-agent"),
        ]
        assert (minor, flags) == (1, HOST)

    def test_bounds_are_those_of_a_slice(self, twin: Any) -> None:
        data = b"junkGET / HTTP/1.0\r\nA: b\r\n\r\nmore"
        fields, minor, flags = twin.parse_request(data, 4, data.index(b"\r\n\r\n") + 2, SCHEME, 9)
        assert ([field[:2] for field in fields[2:]], minor, flags) == (
            [(b":authority", b""), (b":path", b"/"), (b"a", b"b")],
            0,
            0,
        )

    def test_every_name_that_means_something_has_its_flag(self, twin: Any) -> None:
        lines = (
            b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Connection: x", b"Keep-Alive: 1", b"TE: trailers",
            b"Upgrade: x", b"Expect: 100-continue", b"Content_Length: 1",
        )  # fmt: skip
        data = b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n"
        wanted = CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION | HOP | TE | UPGRADE | EXPECT | SHADOW
        assert request(twin, data)[2] == wanted

    def test_repeated_name_is_told(self, twin: Any) -> None:
        fields, _, flags = request(twin, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nHost: c\r\n")
        assert flags == HOST | HOST << REPEATED
        assert fields[2][1] == b"a"

    @pytest.mark.parametrize(
        "line",
        [
            b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET /a b HTTP/1.1",
            b"GET / http/1.1",
            b"GET\t/ HTTP/1.1", b"G(T / HTTP/1.1", b"GET /\x80 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET / HTTP/11.1",
            b"GET / HTTP/1.1\x00", b"GET / RTSP/1.0", b"GET / ICE/1.0", b"", b"GET", b"GET /\r HTTP/1.1",
            b"GET / HTTP/1",
            b"GET / HTTP/x.1", b"GET / HTTP/1,1", b"M" * 65 + b" / HTTP/1.1",
        ],
    )  # fmt: skip
    def test_malformed_request_line(self, twin: Any, line: bytes) -> None:
        assert refused(request, twin, line + b"\r\nHost: a\r\n") == (400, "")

    @pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.1", b"9.9"])
    def test_other_version(self, twin: Any, version: bytes) -> None:
        assert refused(request, twin, b"GET / HTTP/" + version + b"\r\n") == (505, "")

    def test_longest_method_passes(self, twin: Any) -> None:
        assert request(twin, b"M" * 64 + b" / HTTP/1.1\r\n")[0][0][1] == b"M" * 64

    @pytest.mark.parametrize("cut", [b"", b"\r", b"\n", b"X"])
    def test_head_that_does_not_end_in_crlf(self, twin: Any, cut: bytes) -> None:
        assert refused(request, twin, b"GET / HTTP/1.1" + cut) == (400, "")
        assert refused(twin.parse_trailers, b"A: b" + cut, 0, 5, 9) == (400, "")


class TestFields:
    @pytest.mark.parametrize(
        "line",
        [
            b"A : b", b" A: b", b"\tA: b", b": b", b"A", b"", b"A(: b", b"A: b\x00", b"A: \x7fb", b"A: b\x01c",
            b"A: b\rc",
            b"A: b\nc", b"A: b\x0bc", b"A\xc3: b", b"A\x00: b", b"A: b\n", b"A: \r", b"@: b",
        ],
    )  # fmt: skip
    def test_malformed_line(self, twin: Any, line: bytes) -> None:
        assert refused(request, twin, b"GET / HTTP/1.1\r\n" + line + b"\r\n") == (400, "")
        assert refused(response, twin, b"HTTP/1.1 200 OK\r\n" + line + b"\r\n") == (400, "")

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            (b"A:", b""), (b"A: \t ", b""), (b"A:b", b"b"), (b"A:\t b \t c\t", b"b \t c"), (b"A: \xff\x80",
            b"\xff\x80"),
            (b"A: :", b":"), (b"A: a:b: c", b"a:b: c"),
        ],
    )  # fmt: skip
    def test_value_loses_its_blanks_and_nothing_else(self, twin: Any, line: bytes, value: bytes) -> None:
        assert request(twin, b"GET / HTTP/1.1\r\n" + line + b"\r\n")[0][4] == (b"a", value, b"A")

    def test_too_many_fields(self, twin: Any) -> None:
        lines = b"A: b\r\n" * 3
        assert len(request(twin, b"GET / HTTP/1.1\r\n" + lines, 3)[0]) == 7
        assert refused(request, twin, b"GET / HTTP/1.1\r\n" + lines, 2) == (431, "header_count")
        assert refused(request, twin, b"GET / HTTP/1.1\r\nbad\r\n" + lines, 2) == (431, "header_count")

    def test_H1_name_over_the_limit(self, twin: Any) -> None:
        name = b"n" * 256
        assert request(twin, b"GET / HTTP/1.1\r\n" + name + b": 1\r\n")[0][4] == (name, b"1", name)
        assert refused(request, twin, b"GET / HTTP/1.1\r\nn" + name + b": 1\r\n") == (431, "header_bytes")
        assert refused(request, twin, b"GET / HTTP/1.1\r\nn" + name + b": \x00\r\n") == (400, "")

    def test_many_blanks_are_read_in_one_go(self, twin: Any) -> None:
        """Quadratic matching would need minutes."""
        assert refused(request, twin, b"GET / HTTP/1.1\r\nA:" + b" \t" * 30000 + b"\x00\r\n") == (400, "")

    def test_H6_trailers_are_fields_without_a_line(self, twin: Any) -> None:
        data = b"X-Sum: \xfe\r\nHost: a\r\n"
        fields, flags = twin.parse_trailers(data, 0, len(data), 9)
        assert fields == [(b"x-sum", b"\xfe", b"X-Sum"), (b"host", b"a", b"Host")]
        assert flags == HOST


class TestResponse:
    @pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xe9\t."])
    def test_phrase_means_nothing(self, twin: Any, line: bytes) -> None:
        fields, minor, flags = response(twin, line + b"\r\nServer: x\r\n")
        assert fields == [(b":status", b"200", b":status"), (b"server", b"x", b"Server")]
        assert (minor, flags) == (1, 0)

    @pytest.mark.parametrize(
        "line",
        [
            b"HTTP/1.1 99", b"HTTP/1.1 099 x", b"HTTP/1.1 600 x", b"HTTP/1.1 2000 x", b"HTTP/1.1 20x OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 200 \x00", b"HTTP/1.1 200\tOK",
            b"200 OK",
            b"HTTP/1.1 -20 OK", b"HTTP/1.1", b"", b"HTTP/1.1 200 a\rb",
        ],
    )  # fmt: skip
    def test_F13_malformed_status_line(self, twin: Any, line: bytes) -> None:
        assert refused(response, twin, line + b"\r\nServer: x\r\n") == (400, "")


class TestWriting:
    def test_fields_in_order_with_their_spelling(self, twin: Any) -> None:
        fields = [
            (b":status", b"200", b":status"),
            (b"x-b", b"2", b"X-b"),
            (b"set-cookie", b"a", b"Set-Cookie"),
            (b"set-cookie", b"", b"set-cookie"),
        ]
        wanted = b"HTTP/1.1 200 OK\r\nX-b: 2\r\nSet-Cookie: a\r\nset-cookie: \r\n"
        assert twin.write_fields(b"HTTP/1.1 200 OK\r\n", fields, 0) == (wanted, None, 0)

    def test_what_belongs_to_the_connection_is_left_out_and_told(self, twin: Any) -> None:
        names = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"http2-settings")
        text, length, flags = twin.write_fields(b"", [(name, b"x", name) for name in names], 0)
        assert (text, length) == (b"", None)
        assert flags & (CONNECTION | HOP | TRANSFER_ENCODING) == CONNECTION | HOP | TRANSFER_ENCODING

    def test_length_is_told_written_or_not(self, twin: Any) -> None:
        fields = [(b"content-length", b"5", b"Content-Length")]
        assert twin.write_fields(b"", fields, 0) == (b"Content-Length: 5\r\n", b"5", CONTENT_LENGTH)
        assert twin.write_fields(b"", fields, CONTENT_LENGTH) == (b"", b"5", CONTENT_LENGTH)
        assert twin.write_fields(b"", fields * 2, 0)[2] == CONTENT_LENGTH | CONTENT_LENGTH << REPEATED

    @pytest.mark.parametrize(
        "field",
        [
            (b"a", b"b\r\nc: d", b"a"), (b"a", b"\n", b"a"), (b"a", b"\x00", b"a"), (b"a b", b"c", b"a b"), (b"",
            b"c", b""),
            (b"a", b"c", b"a\r"), (b"a", b"c", b"b"), (b"x", b"chunked", b"Transfer-Encoding"), (b"A", b"c", b"A"),
            (b"Transfer-Encoding", b"chunked", b"Transfer-Encoding"), (b"a\xc3", b"c", b"a\xc3"), (b"a", b"\x7f", b"a"),
        ],
    )  # fmt: skip
    def test_what_no_peer_may_see_is_not_written(self, twin: Any, field: Any) -> None:
        with pytest.raises(ValueError, match="must not be written"):
            twin.write_fields(b"", [field], 0)

    def test_large_fields(self, twin: Any) -> None:
        value = bytes(range(0x21, 0x7F)) * 700
        text, _, _ = twin.write_fields(b"S\r\n", [(b"x", value, b"X")], 0)
        assert text == b"S\r\nX: " + value + b"\r\n"

    def test_request_line_and_host_come_from_pseudo_headers(self, twin: Any) -> None:
        fields, _, _ = request(twin, b"GET /a HTTP/1.1\r\nX: 1\r\nhost: h\r\n")
        assert twin.write_request(fields, 0)[0] == b"GET /a HTTP/1.1\r\nhost: h\r\nX: 1\r\n"

    def test_second_host_is_never_written(self, twin: Any) -> None:
        fields = [
            (b":method", b"GET", b":method"),
            (b":path", b"/", b":path"),
            (b":authority", b"a", b":authority"),
            (b"host", b"b", b"Host"),
        ]
        assert twin.write_request(fields, 0) == (b"GET / HTTP/1.1\r\nHost: a\r\n", None, HOST)

    def test_connect_has_the_authority_as_its_target(self, twin: Any) -> None:
        fields = [(b":method", b"CONNECT", b":method"), (b":authority", b"a:1", b":authority")]
        assert twin.write_request(fields, 0)[0] == b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"

    @pytest.mark.parametrize(
        "pairs",
        [
            {}, {b":method": b"GET"}, {b":path": b"/"}, {b":method": b"G T", b":path": b"/"},
            {b":method": b"GET", b":path": b"/ HTTP/1.1\r\nX: y"}, {b":method": b"GET", b":path": b"/a b"},
            {b":method": b"GET", b":path": b"/", b":authority": b"a\r\nX: y"},
            {b":method": b"GET", b":path": b"/\xc3\xa9"}, {b":method": b"GET", b":path": b"/", b":authority": b"a b"},
        ],
    )  # fmt: skip
    def test_request_line_that_must_not_be_written(self, twin: Any, pairs: dict[bytes, bytes]) -> None:
        with pytest.raises(ValueError, match="must not be written"):
            twin.write_request([(name, value, name) for name, value in pairs.items()], 0)

    def test_host_spelled_as_another_name(self, twin: Any) -> None:
        fields = [(b":method", b"GET", b":method"), (b":path", b"/", b":path"), (b":authority", b"a", b"Via")]
        with pytest.raises(ValueError, match="must not be written"):
            twin.write_request(fields, 0)


def test_door_offers_what_it_says() -> None:
    assert isinstance(head.COMPILED, bool)
    chosen = "_head_c" if head.COMPILED else "_head_py"
    for name in ("parse_request", "parse_response", "parse_trailers", "write_fields", "write_request"):
        assert getattr(head, name).__module__ == f"sidecar.codec.h1.{chosen}"


def test_twins_take_the_same_arguments(twin: Any) -> None:
    for name in ("parse_request", "parse_response", "parse_trailers", "write_fields", "write_request"):
        count = len(inspect.signature(getattr(_head_py, name)).parameters)
        for wrong in (count - 1, count + 1):
            with pytest.raises(TypeError):
                getattr(twin, name)(*[b""] * wrong)
