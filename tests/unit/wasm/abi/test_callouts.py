from __future__ import annotations

import pytest

from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.events import ResetReason
from tests.support.guest import OUT, STREAM, WORD, Call, Guest, call, pairs
from tests.support.plugins import House, Talk

HTTP_CALL = "proxy_http_call"
ON_REQUEST, ANSWERED = "proxy_on_request_headers", "proxy_on_http_call_response"
HEAD = ((b":method", b"POST"), (b":path", b"/validate"), (b":authority", b"auth.internal"))
SHOW = (
    call("proxy_get_header_map_value", 6, b":status", OUT, show="bytes", label="status"),
    call("proxy_get_buffer_bytes", 4, 0, 100, OUT, show="bytes", label="body"),
    call("proxy_get_status", WORD, OUT, show="word", label="code"),
    call("proxy_set_effective_context", STREAM),
    call("proxy_continue_stream", 0),
)


def dispatch(
    upstream: bytes = b"auth",
    head: bytes = pairs(*HEAD),
    body: bytes = b"token",
    timeout: int = 5000,
    slot: object = WORD,
) -> Call:
    return call(HTTP_CALL, upstream, head, body, pairs(), timeout, slot)


def paused(*steps: Call, **settings: object) -> Talk:
    house = House("auth")
    guest = Guest().on(ON_REQUEST, *(steps or (dispatch(),)), result=1).on(ANSWERED, *SHOW)
    talk = Talk(house, house.plugin(guest, **settings))
    talk.request()
    return talk


def test_abi_102_the_answer_comes_to_the_root_and_the_stream_goes_on() -> None:
    talk = paused()
    made = talk.house.calls.made[0]
    assert (made.upstream, made.headers.pairs(), made.body, made.trailers, made.timeout) == (
        "auth",
        list(HEAD),
        b"token",
        None,
        5,
    )
    assert talk.terminal.events == []
    made.answer((b":status", b"200"), body=b"fine")
    assert talk.upstream is not None
    assert talk.house.said()[1:4] == ["status -> 0 :200", "body -> 0 :fine", "code -> 0 0"]


def test_abi_104_an_answer_that_was_cut_off_has_no_map_and_a_code() -> None:
    talk = paused()
    talk.house.calls.made[0].answer(failure="reset")
    assert talk.house.said()[1:4] == ["status -> 1 :", "body -> 1 :", "code -> 0 11"]
    assert talk.upstream is not None


def test_the_answer_is_gone_after_its_callback() -> None:
    house = House("auth")
    guest = Guest().on(ON_REQUEST, dispatch()).on(ANSWERED, SHOW[0]).on("proxy_on_response_headers", *SHOW[:2])
    talk = Talk(house, house.plugin(guest)).get()
    house.calls.made[0].answer((b":status", b"200"))
    talk.answer(end=True)
    assert house.said() == [f"{HTTP_CALL} -> 0", "status -> 0 :200", "status -> 1 :", "body -> 1 :"]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (dispatch(b"unknown"), 2),
        (dispatch(head=pairs(*HEAD[:2])), 2),
        (dispatch(head=pairs(*HEAD[1:])), 2),
        (dispatch(head=pairs(HEAD[0], HEAD[2])), 2),
        (dispatch(head=pairs(*HEAD, HEAD[1])), 2),
        (dispatch(head=pairs(*HEAD, (b"x-a", b"1\r\nx-b: 2"))), 2),
        (dispatch(head=pairs(HEAD[0], (b":path", b"/a b"), HEAD[2])), 2),
        (dispatch(head=b"\1\2\3"), 2),
        (dispatch(timeout=-1), 2),
        (dispatch(slot=0x7FFFFFF0), 6),
        (dispatch(body=b"x" * 2000), 10),
    ],
)
def test_abi_40_103_W11_a_call_that_cannot_be_is_not_made(wrong: Call, status: int) -> None:
    talk = paused(wrong, max_body=1000)
    assert talk.house.said() == [f"{HTTP_CALL} -> {status}"]
    assert talk.house.calls.made == []


def test_host_serves_as_authority_and_framing_is_left_out() -> None:
    fields = (*HEAD[:2], (b"Host", b"auth.internal"), (b"content-length", b"999"), (b"X-Own", b"1"))
    talk = paused(dispatch(head=pairs(*fields)))
    assert talk.house.calls.made[0].headers.pairs() == [*HEAD, (b"x-own", b"1")]


def test_W11_allow_upstreams_is_a_wall() -> None:
    talk = paused(allow_upstreams=frozenset({"other"}))
    assert talk.house.said() == [f"{HTTP_CALL} -> 2"]


def test_W11_a_stream_has_so_many_calls_in_flight() -> None:
    talk = paused(*([dispatch()] * 17))
    assert talk.house.said() == [f"{HTTP_CALL} -> 0"] * 16 + [f"{HTTP_CALL} -> 10"]
    assert talk.house.metrics.counts["limit", "plugin_calls"] == 1
    talk.house.calls.made[0].answer((b":status", b"200"))
    assert len(talk.house.calls.made) == 16


def test_W11_an_instance_has_so_many_calls_in_flight() -> None:
    house = House("auth")
    plugin = house.plugin(Guest().on(ON_REQUEST, *([dispatch()] * 16), result=1))
    talks = [Talk(house, plugin) for _ in range(9)]
    for talk in talks:
        talk.request()
    assert len(house.calls.made) == 128


@pytest.mark.parametrize(("given", "seconds"), [(0, 60), (100, 0.1), (0x7FFFFFFF, 600)])
def test_W11_every_call_ends(given: int, seconds: float) -> None:
    assert paused(dispatch(timeout=given)).house.calls.made[0].timeout == seconds


def test_abi_105_the_stream_may_be_gone_when_the_answer_comes() -> None:
    talk = paused()
    talk.exchange.on_downstream_reset(ResetReason.CANCEL)
    talk.house.calls.made[0].answer((b":status", b"200"))
    said = talk.house.said()
    assert "proxy_set_effective_context -> 2" in said and "proxy_continue_stream -> 0" in said
    assert talk.bugs == [] and talk.terminal.events == []


def test_a_call_the_pool_refuses_at_once_is_an_internal_failure() -> None:
    house = House("auth")

    def refuse(*arguments: object) -> None:
        raise ProxyError(ErrorKind.OVERLOADED, "too many")

    house.calls.http_call = refuse  # type: ignore[method-assign,assignment]
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, dispatch())))
    talk.get()
    assert house.said() == [f"{HTTP_CALL} -> 10"]


def test_abi_106_calls_can_be_made_without_a_stream() -> None:
    house = House("auth")
    house.plugin(Guest().on("proxy_on_configure", dispatch()).on(ANSWERED, SHOW[0]))
    house.calls.made[0].answer((b":status", b"204"))
    assert house.said() == [f"{HTTP_CALL} -> 0", "status -> 0 :204"]


def test_grpc_calls_say_that_they_are_not_there() -> None:
    house = House("auth")
    guest = Guest().on(
        ON_REQUEST,
        call("proxy_grpc_call", b"auth", b"s", b"m", b"", b"", 1, WORD),
        call("proxy_grpc_stream", b"auth", b"s", b"m", b"", WORD),
        call("proxy_grpc_send", 1, b"x", 1),
        call("proxy_grpc_cancel", 1),
        call("proxy_grpc_close", 1),
    )
    Talk(house, house.plugin(guest)).get()
    assert [line.rpartition(" ")[2] for line in house.said()] == ["10", "10", "1", "1", "1"]
