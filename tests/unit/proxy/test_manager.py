from __future__ import annotations

import pytest

from sidecar.errors import ErrorKind
from sidecar.http.events import RequestData, RequestHeaders, ResponseData, ResponseHeaders
from sidecar.http.headers import HeaderMap
from tests.support.connections import GET, Scene


def test_a_request_becomes_an_exchange_and_its_answer_bytes():
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(GET % b"x")
    assert [type(event) for event in scene.apps[0].events] == [RequestHeaders]
    assert scene.apps[0].flushes == 1
    scene.apps[0].answer(b"hello")
    assert transport.sent.endswith(b"\r\n\r\nhello")
    assert transport.ends == []
    assert scene.site.in_flight == 0
    assert scene.bugs == []


def test_a_connection_serves_one_request_after_the_other():
    scene = Scene()
    manager, transport = scene.connect()
    for number in range(3):
        manager.data_received(GET % b"x")
        scene.apps[number].answer()
    assert transport.sent.count(b"HTTP/1.1 200") == 3


def test_pipelined_requests_wait_for_the_answer_before_them():
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(GET % b"1" + GET % b"2" + GET % b"3")
    assert len(scene.apps) == 1
    for number in range(3):
        scene.apps[number].answer(b"%d" % number)
        assert len(scene.apps) == number + 1  # not in the stack of the one before
        scene.timers.turn()
    assert [app.exchange.record.path for app in scene.apps] == [b"/1", b"/2", b"/3"]
    assert transport.sent.count(b"HTTP/1.1 200") == 3


def test_a_body_reaches_the_exchange_and_stops_reading_while_nobody_takes_it():
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
    scene.apps[0].exchange.on_upstream_ready(False)
    manager.data_received(b"x" * 100_000)
    assert not transport.is_reading
    scene.apps[0].exchange.on_upstream_ready(True)
    assert transport.is_reading
    manager.data_received(b"x" * 100_000)
    assert sum(len(event.data) for event in scene.apps[0].events if type(event) is RequestData) == 200_000


def test_bytes_that_are_no_request_are_answered_counted_and_closed():
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(b"\x00\x01nonsense\r\n\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 400 ")
    assert b"x-sidecar-error: bad_request" in transport.sent
    assert transport.ends == ["eof"]  # lingering: the peer gets to read it
    scene.timers.advance(1.1)
    assert transport.ends == ["eof", "abort"]


def test_a_refused_target_never_reaches_a_plugin_or_the_app():
    scene = Scene()
    manager, transport = scene.connect()
    manager.data_received(GET % b"a/../b")
    assert transport.sent.startswith(b"HTTP/1.1 400 ")
    assert all(not app.events for app in scene.apps)


class TestTheHeadDeadline:
    def test_S1_counts_from_the_first_byte_however_the_bytes_drip(self):
        scene = Scene()
        manager, transport = scene.connect()
        for byte in b"GET / HTTP":
            manager.data_received(bytes([byte]))
            scene.timers.advance(1.1)
        assert transport.sent.startswith(b"HTTP/1.1 408 ")

    def test_S1_holds_for_a_head_that_came_with_the_request_before(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"1" + b"GET /2 HT")
        scene.apps[0].answer()
        scene.timers.turn()
        scene.timers.advance(10.1)
        assert b"HTTP/1.1 408 " in transport.sent

    def test_is_over_when_the_head_is_whole(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(b"GET / HTTP/1.1\r\n")
        scene.timers.advance(9)
        manager.data_received(b"Host: a\r\n\r\n")
        scene.timers.advance(5)
        scene.apps[0].answer()
        assert transport.sent.startswith(b"HTTP/1.1 200")

    def test_keeps_one_alarm_for_a_connection_whatever_it_sends(self):
        scene = Scene()
        manager, _ = scene.connect()
        for number in range(50):
            manager.data_received(b"GET / HTTP/1.1\r\n")
            manager.data_received(b"Host: a\r\n\r\n")
            scene.apps[number].answer()
        assert len(scene.timers.alarms) <= 2


class TestTheBodyWatch:
    HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"

    def test_S2_ends_a_body_that_drips(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(self.HEAD)
        for _ in range(11):
            manager.data_received(b"x")
            scene.timers.advance(1)
        assert transport.sent.startswith(b"HTTP/1.1 408 ")
        assert scene.limit_hits("body_rate") == 1
        assert scene.apps[0].is_aborted

    def test_leaves_a_body_alone_that_makes_its_share(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(self.HEAD)
        for _ in range(50):
            manager.data_received(b"x" * 600)
            scene.timers.advance(1)
        assert transport.sent == b""

    def test_does_not_blame_the_client_while_we_do_not_read(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(self.HEAD)
        scene.apps[0].exchange.on_upstream_ready(False)
        manager.data_received(b"x" * 70_000)
        scene.timers.advance(100)
        assert transport.sent == b""

    def test_waits_for_a_client_that_waits_for_100(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(self.HEAD.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"))
        scene.timers.advance(100)
        assert transport.sent == b""

    def test_sets_no_alarm_for_a_body_that_came_whole(self):
        scene = Scene()
        manager, _ = scene.connect()
        before = len(scene.timers.alarms)
        manager.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert len(scene.timers.alarms) == before


class TestAReaderWhoStops:
    def test_S3_is_cut_after_the_stall_deadline(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        transport.is_stuck = True
        scene.apps[0].answer(b"x" * 100_000)
        manager.pause_writing()
        scene.timers.advance(61)
        assert transport.ends == ["abort"]
        assert scene.limit_hits("write_stall") == 1

    def test_is_not_cut_while_some_bytes_leave(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        transport.is_stuck = True
        scene.apps[0].answer(b"x" * 100_000)
        manager.pause_writing()
        for _ in range(4):
            transport.waiting -= 10
            scene.timers.advance(60)
        assert transport.ends == []

    def test_is_measured_by_what_left_not_by_what_waits(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        transport.is_stuck = True
        scene.apps[0].answer(b"x" * 70_000)
        manager.pause_writing()
        # It took everything, and as much again waits by now.
        manager.resume_writing()
        transport.waiting = 0
        manager.data_received(GET % b"y")
        scene.apps[1].answer(b"x" * 90_000)
        manager.pause_writing()
        scene.timers.advance(61)
        assert transport.ends == []

    def test_cannot_keep_a_closed_connection_for_ever(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        transport.is_stuck = True
        scene.apps[0].answer(b"x" * 1000)  # below the watermark: nothing pauses
        assert transport.ends == ["close"]
        scene.timers.advance(61)
        assert transport.ends == ["close", "abort"]


class TestTheEnd:
    def test_S7_an_idle_connection_is_closed(self):
        scene = Scene()
        _, transport = scene.connect()
        for _ in range(11):
            scene.timers.advance(30)
        assert transport.ends == ["close"]

    def test_a_busy_connection_is_not(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        for _ in range(20):
            scene.timers.advance(30)
        assert transport.ends == []

    def test_a_client_that_is_gone_ends_its_exchange(self):
        scene = Scene()
        manager, _ = scene.connect()
        manager.data_received(GET % b"x")
        manager.connection_lost(None)
        assert scene.apps[0].is_aborted
        assert scene.site.in_flight == scene.site.open_count == 0
        assert scene.gauge("active") == 0

    def test_a_client_that_has_said_all_still_gets_its_answer(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        manager.eof_received()
        scene.apps[0].answer()
        assert transport.sent.startswith(b"HTTP/1.1 200")
        assert transport.ends == ["close"]

    def test_lingering_takes_no_more_than_its_share(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        scene.apps[0].answer(status=b"413")
        assert transport.ends == ["eof"]
        for _ in range(3):
            manager.data_received(b"x" * 30_000)
        assert transport.ends == ["eof", "abort"]

    def test_lingering_waits_for_an_answer_that_is_still_on_its_way(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        transport.is_stuck = True
        scene.apps[0].answer(b"x" * 500, status=b"413")
        scene.timers.advance(5)
        assert transport.ends == ["eof"]
        transport.waiting = 0
        scene.timers.advance(1.1)
        assert transport.ends == ["eof", "abort"]

    def test_an_answer_that_ends_before_its_length_is_cut(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        head = HeaderMap.of([(b":status", b"200"), (b"content-length", b"9")])
        scene.apps[0].exchange.on_response(ResponseHeaders(1, head, False))
        scene.apps[0].exchange.on_response(ResponseData(1, b"ok", True))
        assert transport.ends == ["abort"]
        assert scene.apps[0].exchange.record.error is ErrorKind.INTERNAL


class TestLimits:
    def test_S9_a_request_too_many_gets_503_and_a_hint(self):
        scene = Scene(in_flight=1)
        first, _ = scene.connect()
        first.data_received(GET % b"1")
        second, transport = scene.connect()
        second.data_received(GET % b"2")
        assert transport.sent.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in transport.sent
        scene.apps[0].answer()
        third, transport = scene.connect()
        third.data_received(GET % b"3")
        assert transport.sent == b""

    def test_a_connection_too_many_gets_503_and_far_too_many_are_cut(self):
        scene = Scene(most=4)
        peers = [scene.connect(f"10.0.0.{number}") for number in range(7)]
        assert peers[6][1].ends == ["abort"]
        peers[4][0].data_received(GET % b"x")
        assert peers[4][1].sent.startswith(b"HTTP/1.1 503 ")
        assert scene.limit_hits("connections") == 1

    def test_one_that_is_refused_does_not_hold_its_place(self):
        scene = Scene(most=2)
        scene.connect("10.0.0.1")
        _, transport = scene.connect("10.0.0.2")
        _, late = scene.connect("10.0.0.3")
        scene.timers.advance(10.1)
        assert late.ends == ["close"]
        assert transport.ends == []


class TestDrain:
    def test_the_answer_under_way_is_the_last(self):
        scene = Scene()
        manager, transport = scene.connect()
        manager.data_received(GET % b"x")
        scene.site.begin_drain()
        scene.apps[0].answer()
        assert b"connection: close" in transport.sent
        assert transport.ends == ["close"]

    def test_an_idle_connection_may_ask_once_more(self):
        scene = Scene()
        manager, transport = scene.connect()
        scene.site.begin_drain()
        manager.data_received(GET % b"x")
        scene.apps[0].answer()
        assert transport.sent.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in transport.sent

    def test_after_the_delay_only_who_is_not_asking_is_closed(self):
        scene = Scene()
        _, idle = scene.connect()
        busy, working = scene.connect()
        busy.data_received(GET % b"x")
        begun, arriving = scene.connect()
        begun.data_received(b"GET / HT")
        scene.site.begin_drain()
        scene.site.close_idle()
        assert (idle.ends, working.ends, arriving.ends) == (["close"], [], [])
        begun.data_received(b"TP/1.1\r\nHost: a\r\n\r\n")
        scene.apps[1].answer()
        assert b"connection: close" in arriving.sent


def test_a_fault_of_ours_costs_one_connection():
    scene = Scene()
    manager, transport = scene.connect()
    scene.site.snapshot = None  # type: ignore[assignment]
    manager.data_received(GET % b"x")
    assert transport.ends == ["abort"]
    assert scene.bugs[0][0] == "data_received"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_S_any_way_of_cutting_the_bytes_gives_the_same_exchange(size):
    scene = Scene()
    manager, transport = scene.connect()
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    for start in range(0, len(data), size):
        manager.data_received(data[start : start + size])
    body = b"".join(event.data for event in scene.apps[0].events if type(event) is RequestData)
    assert body == b"hello"
    scene.apps[0].answer()
    assert transport.sent.startswith(b"HTTP/1.1 200")
