from __future__ import annotations

from sidecar.http.events import InformationalHeaders, RequestHeaders, ResetReason, ResponseData, ResponseHeaders
from sidecar.http.headers import HeaderMap
from tests.support.connections import GET, Scene


def begun(head: bytes = GET % b"x"):
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(head)
    return scene, transport, scene.apps[0].exchange


def test_a_head_waits_for_the_body_that_comes_in_the_same_turn():
    _, transport, exchange = begun()
    exchange.on_response(ResponseHeaders(7, HeaderMap.of([(b":status", b"200"), (b"content-length", b"2")])))
    assert transport.sent == b""
    exchange.on_response(ResponseData(7, b"ok", True))
    assert transport.sent.startswith(b"HTTP/1.1 200")


def test_a_head_whose_body_comes_later_is_flushed():
    _, transport, exchange = begun()
    exchange.on_response(ResponseHeaders(7, HeaderMap.of([(b":status", b"200"), (b"content-length", b"2")])))
    exchange.flush_downstream()
    assert transport.sent.startswith(b"HTTP/1.1 200")


def test_an_interim_answer_goes_out_at_once():
    _, transport, exchange = begun()
    exchange.on_response(InformationalHeaders(7, HeaderMap.of([(b":status", b"103")])))
    assert transport.sent.startswith(b"HTTP/1.1 103")


def test_a_reset_cuts_the_connection():
    _, transport, exchange = begun()
    exchange.on_response(ResponseHeaders(7, HeaderMap.of([(b":status", b"200"), (b"content-length", b"2")])))
    exchange.reset("the app is gone")
    assert set(transport.ends) == {"abort"}


def test_the_streams_own_number_is_put_on_what_the_upstream_numbered():
    scene, transport, exchange = begun()
    assert type(scene.apps[0].events[0]) is RequestHeaders
    stream = exchange._downstream
    event = ResponseHeaders(99, HeaderMap.of([(b":status", b"204")]), True)
    assert stream.send(event)
    assert event.stream_id == 1
    assert transport.sent.startswith(b"HTTP/1.1 204")


def test_a_reset_for_an_exchange_that_had_no_answer_yet_says_nothing():
    _, transport, exchange = begun()
    exchange._downstream.reset(ResetReason.CANCEL)
    assert transport.sent == b""
    assert transport.ends == ["abort"]
