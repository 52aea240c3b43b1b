from __future__ import annotations

from sidecar.exchange.filter import CONTINUE, Filter, LocalReply, Phase
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap


def test_a_filter_that_says_nothing_lets_everything_pass():
    found = Filter()
    head = HeaderMap()
    assert found.on_request_headers(RequestHeaders(1, head)) == CONTINUE
    assert found.on_request_data(RequestData(1, b"x")) == CONTINUE
    assert found.on_request_trailers(RequestTrailers(1, head)) == CONTINUE
    assert found.on_response_headers(ResponseHeaders(1, head)) == CONTINUE
    assert found.on_response_data(ResponseData(1, b"x")) == CONTINUE
    assert found.on_response_trailers(ResponseTrailers(1, head)) == CONTINUE
    assert found.on_log() is None and found.on_destroy() is None
    assert found.max_body == 1 << 20 and found.overflow_streams is False


def test_two_replies_share_no_headers():
    first, second = LocalReply(200), LocalReply(200)
    first.headers.append((b"a", b"1"))
    assert second.headers == [] and (second.body, second.error, second.grpc_status) == (b"", None, None)


def test_phases_are_the_seeds_names():
    assert [phase.value for phase in Phase] == [
        "on_request_headers",
        "on_request_body",
        "on_request_trailers",
        "on_response_headers",
        "on_response_body",
        "on_response_trailers",
        "on_log",
    ]
