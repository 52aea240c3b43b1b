from __future__ import annotations

import pytest

from tests.support.guest import OUT, STREAM, AtEnd, Call, Guest, Return, call, pairs
from tests.support.plugins import House, Talk

REPLY, CONTINUE, CLOSE, EFFECTIVE = (
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_set_effective_context",
)
ON_REQUEST, ON_RESPONSE = "proxy_on_request_headers", "proxy_on_response_headers"


def reply(status: int, body: bytes = b"", headers: bytes = b"", details: bytes = b"", grpc: int = -1) -> Call:
    return call(REPLY, status, details, body, headers, grpc)


def one(guest: Guest, **settings: object) -> Talk:
    house = House()
    return Talk(house, house.plugin(guest, **settings))


@pytest.mark.parametrize("result", [0, 1])
def test_abi_75_76_a_reply_is_the_answer_and_nothing_goes_upstream(result: int) -> None:
    fields = pairs(
        (b"WWW-Authenticate", b"Basic"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"9"),
        (b"connection", b"close"),
        (b"x-sidecar-error", b"no"),
    )
    talk = one(Guest().on(ON_REQUEST, reply(401, b"who are you", fields, b"bad token"), result=result)).get()
    assert talk.terminal.events == []
    assert talk.downstream.head.headers.pairs() == [
        (b":status", b"401"),
        (b"www-authenticate", b"Basic"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"11"),
    ]
    assert talk.downstream.body == b"who are you"
    assert talk.record.details == "bad_token"
    assert talk.downstream.finishes == 1


def test_abi_77_a_reply_passes_the_response_callbacks_of_its_sender() -> None:
    mark = call("proxy_add_header_map_value", 2, b"x-marked", b"1")
    talk = one(Guest().on(ON_REQUEST, reply(429), result=1).on(ON_RESPONSE, mark)).get()
    assert talk.downstream.head.headers.get(b"x-marked") == b"1"


def test_abi_78_a_reply_from_a_body_stops_the_upload() -> None:
    talk = one(Guest().on("proxy_on_request_body", AtEnd(reply(400, b"bad body"), otherwise=(Return(1),))))
    talk.request(end=False)
    talk.data(b"one")
    talk.data(b"two", True)
    assert (talk.downstream.status, talk.downstream.body) == (400, b"bad body")
    assert talk.terminal.body == b""


def test_abi_79_a_reply_from_response_headers_replaces_the_answer() -> None:
    talk = one(Guest().on(ON_RESPONSE, reply(500, b"instead")))
    talk.request()
    talk.answer((b"x-app", b"1"), status=b"200")
    talk.answer_data(b"hello", True)
    assert (talk.downstream.status, talk.downstream.body) == (500, b"instead")
    assert b"x-app" not in talk.downstream.head.headers


def test_abi_80_W14_a_reply_after_the_answer_began_cuts_the_stream() -> None:
    talk = one(Guest().on("proxy_on_response_body", AtEnd(reply(500, b"too late"))))
    talk.request()
    talk.answer()
    talk.answer_data(b"hello")
    assert talk.downstream.body == b"hello"
    talk.answer_data(b"", True)
    assert talk.downstream.body == b"hello" and talk.downstream.resets and talk.downstream.finishes == 1


def test_abi_85_W14_the_first_reply_wins() -> None:
    talk = one(
        Guest().on(ON_REQUEST, reply(401, b"first"), reply(402, b"second"), result=1).on(ON_RESPONSE, reply(403))
    )
    talk.get()
    assert (talk.downstream.status, talk.downstream.body) == (401, b"first")
    assert talk.house.said() == [f"{REPLY} -> 0"] * 3
    assert any("second local response" in text for text, _ in talk.house.told())


def test_abi_82_83_W14_a_reply_from_the_log_or_without_a_stream_does_nothing() -> None:
    guest = Guest().on("proxy_on_log", reply(500), call(CONTINUE, 0), call(CLOSE, 0)).on("proxy_on_tick", reply(500))
    guest.on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 10))
    talk = one(guest)
    talk.request()
    talk.timers.advance(0.02)
    talk.answer(end=True)
    talk.turn()
    assert talk.downstream.status == 200 and talk.downstream.resets == []
    assert talk.downstream.finishes == 1


@pytest.mark.parametrize("code", [0, 101, 199, 600, 1000])
def test_abi_86_an_impossible_status_is_sent_as_500(code: int) -> None:
    assert one(Guest().on(ON_REQUEST, reply(code))).get().downstream.status == 500


def test_W13_a_reply_with_a_split_header_is_refused() -> None:
    talk = one(Guest().on(ON_REQUEST, reply(200, b"", pairs((b"x-a", b"1\r\nx-b: 2"))), reply(200, b"", b"\1\2\3")))
    talk.get()
    assert talk.house.said() == [f"{REPLY} -> 2"] * 2
    assert talk.upstream is not None


@pytest.mark.parametrize(("given", "code", "sent"), [(-1, 401, b"16"), (7, 401, b"7"), (99, 503, b"14")])
def test_abi_84_a_grpc_caller_gets_trailers_only(given: int, code: int, sent: bytes) -> None:
    talk = one(Guest().on(ON_REQUEST, reply(code, b"no way", grpc=given)))
    talk.get((b"content-type", b"application/grpc"))
    headers = talk.downstream.head.headers
    assert (headers.get(b":status"), headers.get(b"grpc-status"), headers.get(b"grpc-message")) == (
        b"200",
        sent,
        b"no way",
    )
    assert talk.downstream.head.end_stream


def test_abi_50_a_paused_head_holds_the_body_until_it_is_continued() -> None:
    read = call("proxy_get_buffer_bytes", 0, 0, 100, OUT, show="bytes", label="body")
    guest = Guest().on(ON_REQUEST, call("proxy_set_tick_period_milliseconds", 50), result=1)
    guest.on("proxy_on_request_body", read).on("proxy_on_tick", call(EFFECTIVE, STREAM), call(CONTINUE, 0))
    talk = one(guest)
    talk.request(end=False)
    talk.data(b"one")
    talk.data(b"two", True)
    assert talk.terminal.events == []
    talk.timers.advance(0.06)
    assert talk.terminal.body == b"onetwo"
    assert "body -> 0 :onetwo" in talk.house.said()


def test_abi_52_53_continue_wins_over_the_pause_of_its_callback_and_else_does_nothing() -> None:
    guest = Guest().on(ON_REQUEST, call(CONTINUE, 0), call(CONTINUE, 1), result=1)
    guest.on("proxy_on_request_body", AtEnd(call(CONTINUE, 0), Return(1)))
    talk = one(guest)
    talk.request(end=False)
    talk.data(b"abc", True)
    talk.turn()
    assert talk.terminal.body == b"abc"
    assert talk.house.said() == [f"{CONTINUE} -> 0"] * 3


def test_stream_types_that_are_not_http() -> None:
    talk = one(
        Guest().on(ON_REQUEST, *(call(CONTINUE, kind) for kind in (2, 3, 4)), *(call(CLOSE, k) for k in (2, 9)))
    )
    talk.get()
    assert [line.rpartition(" ")[2] for line in talk.house.said()] == ["12", "12", "2", "12", "2"]


def test_abi_87_close_cuts_the_client_off() -> None:
    talk = one(Guest().on(ON_REQUEST, call(CLOSE, 1), result=1)).get()
    assert talk.downstream.sent == [] and len(talk.downstream.resets) == 1 and talk.downstream.finishes == 1
    assert talk.terminal.events == []


def test_abi_88_effective_contexts_are_live_ones_and_end_with_the_callback() -> None:
    guest = (
        Guest()
        .on(ON_REQUEST, call(EFFECTIVE, 4242), call(EFFECTIVE, 1), reply(500))
        .on(ON_RESPONSE, call("proxy_get_header_map_value", 0, b":path", OUT, show="bytes", label="path"))
    )
    talk = one(guest)
    talk.get()
    talk.answer(end=True)
    assert talk.house.said() == [f"{EFFECTIVE} -> 2", f"{EFFECTIVE} -> 0", f"{REPLY} -> 0", "path -> 0 :/"]
    assert talk.downstream.status == 200


def test_done_when_nothing_is_pending() -> None:
    talk = one(Guest().on(ON_REQUEST, call("proxy_done"))).get()
    assert talk.house.said() == ["proxy_done -> 1"]


def test_old_names_of_continue() -> None:
    guest = Guest().on(ON_REQUEST, call("proxy_clear_route_cache"), call("proxy_continue_request"), result=1)
    guest.on(ON_RESPONSE, call("proxy_continue_response"), result=1)
    talk = one(guest).get()
    talk.answer(end=True)
    assert talk.upstream is not None and talk.downstream.status == 200
