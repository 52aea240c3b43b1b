from __future__ import annotations

from sidecar.http.events import RequestData, RequestTrailers
from sidecar.http.headers import HeaderMap
from tests.support.guest import OUT, STREAM, AtEnd, Guest, Return, Say, call
from tests.support.plugins import House, Talk

ON_REQUEST, ON_BODY, TICK = "proxy_on_request_headers", "proxy_on_request_body", "proxy_on_tick"
PERIOD = "proxy_set_tick_period_milliseconds"
GET, SET, CONTINUE = "proxy_get_buffer_bytes", "proxy_set_buffer_bytes", "proxy_continue_stream"
ALL = 0xFFFFFFFF


def test_abi_54_a_held_body_can_be_read_and_changed_from_elsewhere() -> None:
    house = House()
    guest = Guest().on("proxy_on_configure", call(PERIOD, 50)).on(ON_BODY, AtEnd(Return(1)))
    guest.on(
        TICK,
        call("proxy_set_effective_context", STREAM),
        call(GET, 0, 0, 99, OUT, show="bytes"),
        call(SET, 0, 0, ALL, b"changed"),
        call(CONTINUE, 0),
    )
    talk = Talk(house, house.plugin(guest))
    talk.request((b"content-length", b"6"), end=False)
    talk.data(b"held it"[:6], True)
    assert talk.terminal.body == b""
    house.timers.advance(0.06)
    assert f"{GET} -> 0 :held i" in house.said()
    assert talk.terminal.body == b"changed"
    assert talk.upstream is not None and talk.upstream.get(b"content-length") == b"7"


def test_a_head_that_has_gone_cannot_be_changed_from_elsewhere() -> None:
    house = House()
    add = call("proxy_add_header_map_value", 0, b"x-late", b"1")
    guest = Guest().on("proxy_on_configure", call(PERIOD, 50)).on(ON_REQUEST)
    guest.on(TICK, call("proxy_set_effective_context", STREAM), add)
    talk = Talk(house, house.plugin(guest)).get()
    house.timers.advance(0.06)
    assert house.said()[-1] == "proxy_add_header_map_value -> 2"
    assert b"x-late" not in talk.exchange.request_headers


def test_a_head_that_is_held_can_be_changed_from_elsewhere() -> None:
    house = House()
    add = call("proxy_add_header_map_value", 0, b"x-in-time", b"1")
    guest = Guest().on("proxy_on_configure", call(PERIOD, 50)).on(ON_REQUEST, result=1)
    guest.on(TICK, call("proxy_set_effective_context", STREAM), add, call(CONTINUE, 0))
    talk = Talk(house, house.plugin(guest)).get()
    house.timers.advance(0.06)
    assert talk.upstream is not None and talk.upstream.get(b"x-in-time") == b"1"


def test_abi_55_trailers_release_a_held_body_that_is_readable_until_then() -> None:

    house = House()
    guest = (
        Guest()
        .on(ON_BODY, Say("body"), result=1)
        .on(
            "proxy_on_request_trailers",
            call(GET, 0, 0, 99, OUT, show="bytes"),
            call("proxy_add_header_map_value", 1, b"x-more", b"1"),
        )
    )
    talk = Talk(house, house.plugin(guest))
    talk.request(end=False)
    talk.data(b"all of it")
    assert talk.terminal.body == b""
    talk.exchange.on_request(RequestTrailers(1, HeaderMap.of([(b"x-sum", b"9")])))
    assert house.said() == ["body", f"{GET} -> 0 :all of it", "proxy_add_header_map_value -> 0"]
    assert talk.terminal.body == b"all of it"
    assert talk.terminal.events[-1].headers.pairs() == [(b"x-sum", b"9"), (b"x-more", b"1")]


def test_one_stream_lets_another_go_on() -> None:
    house = House()
    guest = (
        Guest()
        .on(ON_REQUEST, result=1)
        .on("proxy_on_request_body", call("proxy_set_effective_context", 2), call(CONTINUE, 0), Return(0))
    )
    plugin = house.plugin(guest)
    first, second = Talk(house, plugin), Talk(house, plugin)
    first.request()
    second.request(end=False)
    assert first.upstream is None
    second.exchange._filters[0].on_request_data(RequestData(1, b"x", True))
    assert first.upstream is None  # not while the other one's callback runs
    house.timers.advance(0)
    assert first.upstream is not None
