"""h11 is a second opinion on our codec: what it lets pass that we refuse, so that a difference is no surprise."""

from __future__ import annotations

import h11
import pytest

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def events(data: bytes) -> list[object]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[object] = []
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return found
        found.append(event)
        if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return found


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="F5-bare-lf"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", id="F2-two-equal"),
        pytest.param(POST + b"Content-Length: 1, 1\r\n\r\nx", id="F2-list"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: u@a,b /\r\n\r\n", id="F16-host"),
        pytest.param(b"GET /../%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n", id="P1-dots"),
        pytest.param(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", id="P8-fragment"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", id="F6-fold"),
    ],
)
def test_passes_what_we_refuse(data: bytes) -> None:
    assert isinstance(events(data)[0], h11.Request)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", id="F3"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", id="F2-differing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", id="F6-space"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", id="F5-nul"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="F16-none"),
    ],
)
def test_refuses_what_we_refuse(data: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        events(data)
