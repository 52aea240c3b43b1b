"""A filter that does nothing lets everything pass, and a local reply starts empty."""

from __future__ import annotations

from sidecar.exchange.filter import CONTINUE, Direction, Filter, LocalReply, Phase
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap


def test_the_defaults_let_every_event_pass() -> None:
    idle, headers = Filter(), HeaderMap()
    assert {
        idle.on_request_headers(RequestHeaders(1, headers)),
        idle.on_request_data(RequestData(1, b"")),
        idle.on_request_trailers(RequestTrailers(1, headers)),
        idle.on_response_headers(ResponseHeaders(1, headers)),
        idle.on_response_data(ResponseData(1, b"")),
        idle.on_response_trailers(ResponseTrailers(1, headers)),
    } == {CONTINUE}
    idle.on_log()
    idle.on_destroy()


def test_holding_is_bounded_and_refuses_by_default() -> None:
    assert (Filter().max_body, Filter().overflow_streams) == (1 << 20, False)


def test_replies_do_not_share_their_headers() -> None:
    LocalReply(200).headers.append((b"a", b"1"))
    assert LocalReply(200).headers == []


def test_phases_carry_the_names_that_users_know() -> None:
    assert Phase("on_request_headers") is Phase.REQUEST_HEADERS
    assert (Direction.REQUEST, Direction.RESPONSE) == (0, 1)
