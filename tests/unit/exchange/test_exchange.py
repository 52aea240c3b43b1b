from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import DISCARD, PAUSE, PAUSE_ITERATION, PAUSE_WATERMARK, Direction, LocalReply
from sidecar.http.events import (
    InformationalHeaders,
    RequestHeaders,
    RequestTrailers,
    ResetReason,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from tests.support.exchanges import Stage


def pause(by: Any, event: Any) -> int:
    return PAUSE


def pause_until_end(by: Any, event: Any) -> int:
    return 0 if event.end_stream else PAUSE


def reply(status: int = 403, body: bytes = b"no") -> Any:
    def act(by: Any, event: Any) -> int:
        by.view.local_reply(by, LocalReply(status, [(b"x-why", b"because")], body))
        return PAUSE

    return act


def test_request_goes_first_to_last_and_response_last_to_first() -> None:
    stage = Stage({"a": {}, "b": {}})
    stage.request()
    stage.answer()
    stage.answer_data(b"hi", end=True)
    assert stage.seen == [
        "a.request_headers",
        "b.request_headers",
        "b.response_headers",
        "a.response_headers",
        "b.response_data(hi,1)",
        "a.response_data(hi,1)",
        "a.log",
        "b.log",
        "a.destroy",
        "b.destroy",
    ]
    assert stage.downstream.body == b"hi"
    assert stage.downstream.finishes == 1


def test_the_end_comes_once_whatever_follows() -> None:
    stage = Stage({"a": {}})
    stage.request()
    stage.answer(end=True)
    stage.exchange.on_downstream_reset(ResetReason.CANCEL)
    stage.answer_data(b"late")
    stage.exchange.fail(None, ProxyError(ErrorKind.OVERLOADED))
    assert stage.seen.count("a.log") == 1
    assert stage.downstream.finishes == 1
    assert stage.downstream.body == b""


def test_head_pause_holds_the_body_undelivered_and_uncredited_until_resume() -> None:
    stage = Stage({"a": {"request_headers": pause}, "b": {}})
    stage.request(end=False)
    stage.data(b"one")
    stage.data(b"two", end=True)
    assert stage.seen == ["a.request_headers"]
    assert stage.downstream.credited == 0
    stage.exchange.resume(stage.filters["a"], Direction.REQUEST)
    assert stage.seen[1:] == ["b.request_headers", "a.request_data(onetwo,1)", "b.request_data(onetwo,1)"]
    assert stage.terminal.body == b"onetwo"
    assert stage.downstream.credited == 6


def test_data_pause_shows_everything_collected_and_credits_the_sender() -> None:
    stage = Stage({"a": {"request_data": pause_until_end}, "b": {}})
    stage.request(end=False)
    for chunk in (b"one", b"two2", b"three"):
        stage.data(chunk)
    assert stage.downstream.credited == 12
    assert stage.terminal.body == b""
    stage.data(b"", end=True)
    assert [line for line in stage.seen if line.startswith("a.request_data")] == [
        "a.request_data(one,0)",
        "a.request_data(onetwo2,0)",
        "a.request_data(onetwo2three,0)",
        "a.request_data(onetwo2three,1)",
    ]
    assert stage.terminal.body == b"onetwo2three"


def test_resume_after_a_data_pause_does_not_offer_the_bytes_again() -> None:
    stage = Stage({"a": {"request_data": pause}, "b": {}})
    stage.request(end=False)
    stage.data(b"one", end=True)
    by = stage.filters["a"]
    assert stage.exchange.held_body(by, Direction.REQUEST) == b"one"
    assert stage.exchange.set_held_body(by, Direction.REQUEST, b"ONE!")
    stage.exchange.resume(by, Direction.REQUEST)
    assert stage.seen.count("a.request_data(one,1)") == 1
    assert stage.terminal.body == b"ONE!"
    assert stage.budget.used == 0


def test_watermark_pause_shows_only_the_newest_and_keeps_all() -> None:
    def act(by: Any, event: Any) -> int:
        return 0 if event.end_stream else PAUSE_WATERMARK

    stage = Stage({"a": {"request_data": act}})
    stage.request(end=False)
    stage.data(b"one")
    stage.data(b"two")
    stage.data(b"", end=True)
    assert stage.seen[1:] == ["a.request_data(one,0)", "a.request_data(two,0)", "a.request_data(,1)"]
    assert stage.terminal.body == b"onetwo"


def test_discard_drops_the_bytes() -> None:
    def act(by: Any, event: Any) -> int:
        return 0 if event.end_stream else DISCARD

    stage = Stage({"a": {"request_data": act}})
    stage.request(end=False)
    stage.data(b"secret")
    stage.data(b"kept", end=True)
    assert stage.terminal.body == b"kept"


def test_iteration_pause_keeps_the_body_coming_and_releases_the_head_with_it() -> None:
    def hold(by: Any, event: Any) -> int:
        return PAUSE_ITERATION

    stage = Stage({"a": {"request_headers": hold, "request_data": pause_until_end}, "b": {}})
    stage.request(end=False)
    stage.data(b"x")
    assert stage.terminal.events == []
    stage.data(b"y", end=True)
    assert [type(event).__name__ for event in stage.terminal.events] == ["RequestHeaders", "RequestData"]
    assert stage.terminal.body == b"xy"


def test_overflow_of_a_held_request_is_413_and_nothing_reaches_the_upstream() -> None:
    stage = Stage({"a": {"request_data": pause}})
    stage.filters["a"].max_body = 4
    stage.request(end=False)
    stage.data(b"12345")
    assert stage.downstream.status == 413
    assert stage.downstream.head.headers.get(b"x-sidecar-error") == b"body_too_large"
    assert stage.terminal.body == b""
    assert stage.budget.used == 0


def test_overflow_of_a_held_response_is_a_502_class_answer() -> None:
    stage = Stage({"a": {"response_headers": lambda by, event: PAUSE_ITERATION, "response_data": pause}})
    stage.filters["a"].max_body = 4
    stage.request()
    stage.answer()
    stage.answer_data(b"12345")
    assert stage.downstream.status == 502
    assert stage.downstream.head.headers.get(b"x-sidecar-error") == b"body_too_large"


def test_overflow_may_stream_instead() -> None:
    stage = Stage({"a": {"request_data": pause}, "b": {}})
    stage.filters["a"].max_body = 4
    stage.filters["a"].overflow_streams = True
    stage.request(end=False)
    stage.data(b"123")
    stage.data(b"456")
    stage.data(b"789", end=True)
    assert stage.terminal.body == b"123456789"
    assert "a.request_data(789,1)" not in stage.seen


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 100])
@pytest.mark.parametrize(("size", "is_refused"), [(3, False), (4, False), (5, True), (12, True)])
def test_B1_limit_of_a_held_body_does_not_depend_on_how_it_was_cut(cut: int, size: int, is_refused: bool) -> None:
    stage = Stage({"a": {"request_data": pause_until_end}})
    stage.filters["a"].max_body = 4
    stage.request(end=False)
    body = b"123456789abc"[:size]
    for at in range(0, size, cut):
        stage.data(body[at : at + cut], end=at + cut >= size)
    if is_refused:
        assert stage.downstream.status == 413
        assert stage.terminal.body == b""
    else:
        assert stage.terminal.body == body
    assert stage.budget.used == 0


def test_piece_larger_than_the_limit_streams_through_a_filter_that_holds_nothing() -> None:
    stage = Stage({"a": {}, "b": {}})
    stage.filters["a"].max_body = 4
    stage.request(end=False)
    stage.data(b"123456789", end=True)
    assert stage.terminal.body == b"123456789"
    assert [each for each in stage.seen if each.startswith("a.request_data")] == [
        "a.request_data(1234,0)", "a.request_data(5678,0)", "a.request_data(9,1)",
    ]  # fmt: skip
    assert stage.terminal.events[-1].end_stream


def test_B2_hold_budget_refuses_with_overloaded() -> None:
    stage = Stage({"a": {"request_data": pause}}, budget=5)
    stage.request(end=False)
    stage.data(b"123456")
    assert stage.downstream.status == 503
    assert stage.downstream.head.headers.get(b"x-sidecar-error") == b"overloaded"
    assert stage.downstream.head.headers.get(b"retry-after") == b"1"


def test_local_reply_from_request_headers_passes_the_sender_and_those_before() -> None:
    stage = Stage({"a": {}, "b": {"request_headers": reply()}, "c": {}})
    stage.request()
    assert stage.terminal.events == []
    assert stage.seen[2:6] == [
        "b.response_headers",
        "a.response_headers",
        "b.response_data(no,1)",
        "a.response_data(no,1)",
    ]
    assert stage.downstream.status == 403
    assert stage.downstream.head.headers.get(b"content-length") == b"2"
    assert stage.downstream.head.headers.get(b"content-type") == b"text/plain"
    assert stage.downstream.head.headers.get(b"x-sidecar-error") is None
    assert stage.downstream.body == b"no"


def test_local_reply_from_request_body_passes_every_filter() -> None:
    stage = Stage({"a": {"request_data": reply()}, "b": {}})
    stage.request(end=False)
    stage.data(b"x")
    stage.data(b"y", end=True)
    assert "b.response_headers" in stage.seen
    assert "a.request_data(y,1)" not in stage.seen
    assert stage.terminal.body == b""


def test_local_reply_from_response_headers_replaces_without_more_phases() -> None:
    stage = Stage({"a": {}, "b": {"response_headers": reply(418)}})
    stage.request()
    stage.answer((b"x-up", b"1"))
    stage.answer_data(b"upstream", end=True)
    assert stage.seen.count("b.response_headers") == 1
    assert "a.response_headers" not in stage.seen
    assert stage.downstream.status == 418
    assert stage.downstream.body == b"no"


def test_local_reply_after_the_answer_began_cuts_the_stream() -> None:
    stage = Stage({"a": {"response_data": reply()}})
    stage.request()
    stage.answer()
    stage.answer_data(b"first")
    assert stage.downstream.resets == [ResetReason.UPSTREAM_GONE]
    assert stage.downstream.finishes == 1


def test_only_the_first_local_reply_counts() -> None:
    def twice(by: Any, event: Any) -> int:
        by.view.local_reply(by, LocalReply(401))
        by.view.local_reply(by, LocalReply(500))
        return PAUSE

    stage = Stage({"a": {"request_headers": twice}})
    stage.request()
    assert stage.downstream.status == 401


def test_declared_length_follows_a_changed_body() -> None:
    def shout(by: Any, event: Any) -> int:
        event.data = event.data.upper() + b"!!!"
        return 0

    stage = Stage({"a": {"response_data": shout}})
    stage.request()
    stage.answer((b"content-length", b"2"))
    assert stage.downstream.sent == []
    stage.answer_data(b"hi", end=True)
    assert stage.downstream.head.headers.get(b"content-length") == b"5"
    assert stage.downstream.body == b"HI!!!"


def test_declared_length_is_dropped_when_the_body_comes_in_parts() -> None:
    stage = Stage({"a": {}})
    stage.request()
    stage.answer((b"content-length", b"4"))
    stage.answer_data(b"hi")
    assert b"content-length" not in stage.downstream.head.headers
    stage.answer_data(b"ho", end=True)
    assert stage.downstream.body == b"hiho"


def test_trailers_release_a_held_body_first() -> None:
    stage = Stage({"a": {"request_data": pause}, "b": {}})
    stage.request(end=False)
    stage.data(b"x")
    stage.exchange.on_request(RequestTrailers(1, HeaderMap.of([(b"t", b"1")])))
    assert stage.terminal.body == b"x"
    assert type(stage.terminal.events[-1]) is RequestTrailers
    assert stage.seen[-3:] == ["a.request_trailers", "b.request_data(x,0)", "b.request_trailers"]


def test_a_filter_may_create_trailers_at_the_end() -> None:
    def add(by: Any, event: Any) -> int:
        if event.end_stream:
            by.view.create_trailers(by, Direction.RESPONSE).add(b"x-sum", b"7")
        return 0

    stage = Stage({"a": {}, "b": {"response_data": add}})
    stage.request()
    stage.answer()
    stage.answer_data(b"x", end=True)
    assert type(stage.downstream.sent[-1]) is ResponseTrailers
    assert stage.downstream.sent[-2].end_stream is False
    assert stage.seen.count("a.response_trailers") == 1


def test_expectation_is_answered_here_only_when_the_head_stays_for_the_body() -> None:
    stage = Stage({"a": {"request_headers": lambda by, event: PAUSE_ITERATION, "request_data": pause_until_end}})
    stage.request((b"expect", b"100-continue"), end=False)
    assert type(stage.downstream.sent[0]) is InformationalHeaders
    assert b"expect" not in stage.exchange.request_headers
    waiting = Stage({"a": {"request_headers": pause}})
    waiting.request((b"expect", b"100-continue"), end=False)
    assert waiting.downstream.sent == []


def test_informational_answers_pass_and_no_filter_sees_them() -> None:
    stage = Stage({"a": {}})
    stage.request()
    stage.exchange.on_response(InformationalHeaders(9, HeaderMap.of([(b":status", b"103")])))
    assert type(stage.downstream.sent[0]) is InformationalHeaders
    assert stage.seen == ["a.request_headers"]


def test_a_raising_filter_ends_its_exchange_and_is_reported() -> None:
    def boom(by: Any, event: Any) -> int:
        raise ValueError("bug")

    stage = Stage({"a": {"request_headers": boom}})
    stage.request()
    assert stage.downstream.status == 500
    assert [where for where, _ in stage.bugs] == ["request"]
    assert stage.seen[-2:] == ["a.log", "a.destroy"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ErrorKind.NO_ROUTE, 404),
        (ErrorKind.DENIED, 403),
        (ErrorKind.PLUGIN_FAILED, 503),
        (ErrorKind.PLUGIN_TIMEOUT, 503),
        (ErrorKind.UPSTREAM_CONNECT, 503),
        (ErrorKind.UPSTREAM_RESET, 502),
        (ErrorKind.UPSTREAM_TIMEOUT, 504),
    ],
)
def test_refusals_carry_their_code(kind: ErrorKind, status: int) -> None:
    stage = Stage({})
    stage.request()
    stage.exchange.fail(None, ProxyError(kind))
    assert stage.downstream.status == status
    assert stage.downstream.head.headers.get(b"x-sidecar-error") == kind.value.encode()
    assert stage.record.error is kind


def test_grpc_callers_get_trailers_only() -> None:
    stage = Stage({})
    stage.request((b"content-type", b"application/grpc"))
    stage.exchange.fail(None, ProxyError(ErrorKind.PLUGIN_FAILED))
    assert stage.downstream.status == 200
    assert stage.downstream.head.headers.get(b"grpc-status") == b"14"
    assert stage.downstream.head.end_stream is True


def test_slow_reader_stops_credit_until_it_drains() -> None:
    stage = Stage({})
    stage.request()
    stage.answer()
    stage.downstream.is_writable = False
    stage.answer_data(b"12345")
    assert stage.terminal.credited == 0
    stage.exchange.on_downstream_writable()
    assert stage.terminal.credited == 5


def test_slow_app_stops_credit_until_it_drains() -> None:
    stage = Stage({})
    stage.request(end=False)
    stage.exchange.on_upstream_ready(False)
    stage.data(b"12345")
    assert stage.downstream.credited == 0
    stage.exchange.on_upstream_ready(True)
    assert stage.downstream.credited == 5


def test_early_answer_may_finish_while_the_upload_goes_on() -> None:
    stage = Stage({})
    stage.request(end=False)
    stage.answer()
    stage.answer_data(b"early")
    stage.data(b"more")
    assert stage.terminal.body == b"more"
    assert stage.downstream.body == b"early"
    stage.answer_data(b"", end=True)
    assert stage.downstream.finishes == 1
    assert stage.terminal.aborts == 1


def test_switching_protocols_opens_a_tunnel() -> None:
    stage = Stage({})
    stage.request((b"upgrade", b"websocket"), end=False)
    stage.answer(status=b"101")
    assert stage.exchange.is_tunnel
    assert type(stage.downstream.sent[0]) is ResponseHeaders
    stage.data(b"frame")
    assert stage.terminal.body == b"frame"


def test_client_gone_while_paused_logs_once() -> None:
    stage = Stage({"a": {"request_headers": pause}})
    stage.request()
    stage.exchange.on_downstream_reset(ResetReason.CANCEL)
    stage.exchange.resume(stage.filters["a"], Direction.REQUEST)
    assert stage.seen == ["a.request_headers", "a.log", "a.destroy"]
    assert stage.terminal.events == []
    assert isinstance(stage.exchange.request_headers, HeaderMap)
    assert RequestHeaders(1, HeaderMap()).end_stream is False
