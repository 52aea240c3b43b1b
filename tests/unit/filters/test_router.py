from __future__ import annotations

import pytest

from sidecar.config.model import HeaderEdit, Retries, Route
from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import PAUSE_ITERATION, LocalReply
from sidecar.filters.router import REPLAY_LIMIT
from sidecar.http.events import RequestData, RequestHeaders, ResetReason, ResponseHeaders
from sidecar.route.table import RouteTable
from sidecar.upstream.retry import RetryBudget
from tests.support.exchanges import FakeTimers
from tests.support.routing import FakePort, RouterStage, died, refused, stale

BODY = b"x" * 100


def route(id="r", **settings):
    settings.setdefault("split", (("app", 1),))
    return Route(id, **settings)


def retrying(*on, attempts=2, per_try=None, **settings):
    return route(retries=Retries(attempts, on, per_try), **settings)


# --- the way there and back --------------------------------------------------------------------------------------


def test_a_request_goes_to_its_route_and_the_answer_comes_back():
    stage = RouterStage(route(path="/a/*", split=(("blue", 1),))).request(path=b"/a/x")
    assert stage.port.opened == [("blue", 1)]
    assert stage.stream.head.get(b":path") == b"/a/x"
    assert stage.stream.head.get_all(b"x-sidecar-attempt") == [b"1"]
    stage.timers.advance(0.25)
    stage.stream.answer((b"x", b"y"), end=False)
    stage.stream.data(b"hello", end=True)
    assert (stage.client.status, stage.client.body, stage.client.finishes) == (200, b"hello", 1)
    record = stage.record
    assert (record.route_id, record.upstream, record.upstream_address) == ("r", "blue", "127.0.0.1:8080")
    assert (record.attempts, record.details, record.error) == (1, "via_upstream", None)
    assert stage.stream.resets == []


def test_without_a_route_and_a_default_it_goes_nowhere():
    stage = RouterStage(route(path="/a"), default=None).request(path=b"/b")
    assert stage.code == (404, b"no_route") and stage.port.opened == []


def test_the_heads_are_edited_as_the_route_says():
    edited = route(
        path="/old/*",
        rewrite_prefix="/new",
        request_headers=HeaderEdit(set={"x-env": "prod"}, remove=("cookie",)),
        response_headers=HeaderEdit(add={"x-seen": "1"}, remove=("server",)),
    )
    stage = RouterStage(edited).request((b"cookie", b"c"), path=b"/old/x?q")
    assert stage.stream.head.get(b":path") == b"/new/x?q"
    assert stage.stream.head.get(b"x-env") == b"prod" and b"cookie" not in stage.stream.head
    stage.stream.answer((b"server", b"nginx"))
    assert stage.client.head.headers.get(b"x-seen") == b"1" and b"server" not in stage.client.head.headers


def test_H9_the_app_offers_no_other_protocol_and_does_not_speak_for_the_mesh():
    stage = RouterStage().request()
    stage.stream.answer((b"Alt-Svc", b'h3=":443"'), (b"X-Sidecar-Error", b"denied"), (b"x-own", b"1"))
    assert stage.client.head.headers.pairs() == [(b":status", b"200"), (b"x-own", b"1")]
    outbound = RouterStage(direction="outbound").request()
    outbound.stream.answer((b"alt-svc", b'h3=":443"'), (b"x-sidecar-error", b"denied"), status=b"403")
    assert outbound.code == (403, b"denied") and b"alt-svc" in outbound.client.head.headers


def test_bytes_wait_uncredited_for_the_connection_and_then_flow():
    stage = RouterStage()
    stage.port.waits = True
    stage.request(method=b"POST", end=False)
    stage.data(b"one")
    assert stage.client.credited == 0
    stream = stage.port.serve()
    assert (stream.body, stage.client.credited, stream.flushes) == (b"one", 3, 1)
    stage.data(b"two", end=True)
    assert (stream.body, stage.client.credited) == (b"onetwo", 6)


def test_a_full_upstream_buffer_stops_the_client_and_its_drain_lets_it_go_on():
    stage = RouterStage().request(method=b"POST", end=False)
    stage.stream.is_writable = False
    stage.data(BODY)
    assert stage.client.credited == 0
    stage.exchange._terminal.on_upstream_writable()
    assert stage.client.credited == len(BODY)


def test_a_slow_client_is_no_credit_for_the_app():
    stage = RouterStage().request()
    stage.client.is_writable = False
    stage.stream.answer(end=False)
    stage.stream.data(b"abc")
    assert stage.stream.credited == 0
    stage.client.is_writable = True
    stage.exchange.on_downstream_writable()
    assert stage.stream.credited == 3


def test_a_client_that_leaves_takes_its_request_along():
    stage = RouterStage().request()
    stage.exchange.on_downstream_reset(ResetReason.CANCEL)
    assert stage.stream.resets == [ResetReason.CANCEL]
    waiting = RouterStage()
    waiting.port.waits = True
    waiting.request()
    waiting.exchange.on_downstream_reset(ResetReason.CANCEL)
    assert waiting.port.waiters[0].is_cancelled


@pytest.mark.parametrize(
    ("error", "code"), [(died(), (502, b"upstream_reset")), (ProxyError(ErrorKind.OVERLOADED), (503, b"overloaded"))]
)
def test_what_fails_is_answered_with_its_code(error, code):
    stage = RouterStage().request(method=b"POST")
    stage.stream.fail(error)
    assert stage.code == code


def test_a_refusal_of_the_pool_is_an_answer():
    stage = RouterStage()
    stage.port.refusal = ProxyError(ErrorKind.OVERLOADED, "queue full", limit="upstream_pending")
    assert stage.request().code == (503, b"overloaded")


def test_X9_an_answer_that_breaks_off_is_a_cut_and_never_a_clean_end():
    stage = RouterStage().request()
    stage.stream.answer(end=False)
    stage.stream.data(b"half")
    stage.stream.fail(died())
    assert stage.client.resets == [ResetReason.UPSTREAM_GONE] and stage.client.finishes == 1
    assert stage.record.error is ErrorKind.UPSTREAM_RESET


# --- what plugins change -----------------------------------------------------------------------------------------


def changing(name, value):
    def act(by, event):
        event.headers.set(name, value)
        return 0

    return {"a": {"request_headers": act}}


def test_P16_a_rewritten_path_is_routed_again():
    routes = (route("old", path="/old/*", split=(("old", 1),)), route("new", path="/new/*", split=(("new", 1),)))
    stage = RouterStage(*routes, scripts=changing(b":path", b"/new/x")).request(path=b"/old/x")
    assert stage.port.opened == [("new", 1)] and stage.record.route_id == "new"


@pytest.mark.parametrize("path", [b"/a/../b", b"x", b"/a%2fb", b"/a b", b"//a"])
def test_P16_a_path_that_no_client_may_send_no_plugin_may(path):
    stage = RouterStage(scripts=changing(b":path", path)).request()
    assert stage.code == (400, b"bad_request") and stage.port.opened == []


def test_P16_a_plugin_may_lead_a_request_out_of_nowhere_and_into_it():
    found = RouterStage(route(path="/a"), default=None, scripts=changing(b":path", b"/a")).request(path=b"/b")
    assert found.port.opened == [("app", 1)]
    lost = RouterStage(route(path="/a"), default=None, scripts=changing(b":path", b"/b")).request(path=b"/a")
    assert lost.code == (404, b"no_route")


def test_an_untouched_request_is_not_judged_twice():
    stage = RouterStage()
    stage.factory.table = RouteTable((), "inbound")
    assert stage.request().port.opened == [("app", 1)], "asked again, this table would have known nothing"


# --- switching protocols -----------------------------------------------------------------------------------------


def test_F18_a_switch_is_the_final_answer_and_opens_a_tunnel():
    stage = RouterStage(retrying("5xx", timeout=5.0)).request((b"upgrade", b"websocket"), end=False)
    stage.stream.interim(b"101")
    assert type(stage.client.sent[0]) is ResponseHeaders and stage.exchange.is_tunnel
    stage.data(b"frame")
    stage.stream.data(b"emarf")
    assert stage.stream.body == b"frame" and stage.client.body == b"emarf"
    stage.data(b"", end=True)
    for _ in range(20):
        stage.timers.advance(1.0)
        stage.stream.data(b".")
    assert stage.client.resets == []


def test_a_silent_tunnel_is_closed():
    stage = RouterStage(idle_timeout=10.0).request((b"upgrade", b"websocket"), end=False)
    stage.stream.interim(b"101")
    for _ in range(3):
        stage.timers.advance(9.0)
        stage.data(b"ping")
    assert stage.client.finishes == 0
    stage.timers.advance(10.0)
    assert stage.client.resets and stage.stream.resets


# --- time --------------------------------------------------------------------------------------------------------


def test_the_route_timeout_counts_from_the_end_of_the_request():
    stage = RouterStage(route(timeout=5.0)).request(method=b"POST", end=False)
    for _ in range(4):
        stage.timers.advance(4.0)
        stage.data(b"x")
    stage.data(b"", end=True)
    stage.timers.advance(4.9)
    assert stage.client.sent == []
    stage.timers.advance(0.2)
    assert stage.code == (504, b"upstream_timeout")
    assert stage.stream.resets == [ResetReason.CANCEL]


def test_the_route_timeout_holds_for_the_whole_answer():
    stage = RouterStage(route(timeout=5.0)).request()
    stage.stream.answer(end=False)
    for _ in range(5):
        stage.timers.advance(1.0)
        stage.stream.data(b".")
    assert stage.client.resets == [ResetReason.UPSTREAM_GONE]
    assert stage.record.error is ErrorKind.UPSTREAM_TIMEOUT


def test_an_exchange_that_ended_in_time_leaves_no_alarm():
    stage = RouterStage(retrying("503", per_try=1.0, timeout=5.0)).request()
    stage.stream.answer()
    assert all(alarm.callback is None for alarm in stage.timers.alarms)


def test_silence_ends_a_stream():
    stage = RouterStage(idle_timeout=10.0).request(method=b"POST", end=False)
    stage.timers.advance(9.0)
    stage.data(b"x")
    stage.timers.advance(9.0)
    assert stage.client.sent == []
    stage.timers.advance(1.0)
    assert stage.code == (504, b"upstream_timeout")


def test_a_try_that_takes_too_long_is_given_up_and_repeated():
    stage = RouterStage(retrying("gateway-error", per_try=1.0)).request()
    stage.timers.advance(1.0)
    assert stage.port.opened == [("app", 1), ("app", 2)]
    assert stage.port.streams[0].resets == [ResetReason.TIMEOUT]
    stage.timers.advance(0.9)
    stage.stream.answer()
    stage.timers.advance(5.0)
    assert stage.client.status == 200


def test_tries_that_all_take_too_long_are_a_timeout():
    stage = RouterStage(retrying("reset", per_try=1.0)).request()
    stage.timers.advance(1.0)
    stage.timers.advance(1.0)
    stage.timers.advance(1.0)
    assert stage.code == (504, b"upstream_timeout") and stage.record.attempts == 3


def test_a_try_begins_when_the_request_is_whole():
    stage = RouterStage(retrying("reset", per_try=1.0)).request(method=b"PUT", end=False)
    stage.timers.advance(3.0)
    stage.data(b"x", end=True)
    stage.timers.advance(0.9)
    assert len(stage.port.opened) == 1
    stage.timers.advance(0.1)
    assert len(stage.port.opened) == 2 and stage.stream.body == b"x"


def test_a_head_ends_the_time_of_a_try():
    stage = RouterStage(retrying("reset", per_try=1.0)).request()
    stage.stream.answer(end=False)
    stage.timers.advance(5.0)
    stage.stream.data(b"slow", end=True)
    assert stage.client.body == b"slow" and stage.record.attempts == 1


# --- trying again (reliability rows R1 to R7) --------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
@pytest.mark.parametrize("error", [died(), stale()], ids=["died", "stale"])
@pytest.mark.parametrize("policy", [(), ("5xx", "reset", "connect-failure", "refused-stream")])
def test_R1_what_may_have_been_done_once_is_not_asked_twice(method, error, policy):
    stage = RouterStage(retrying(*policy) if policy else route()).request(method=method, end=False)
    stage.data(BODY, end=True)
    stage.stream.fail(error)
    assert stage.code == (502, b"upstream_reset") and len(stage.port.opened) == 1


@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_R1_proof_that_nothing_arrived_is_another_try(method):
    stage = RouterStage()
    stage.port.waits = True
    stage.request(method=method, end=False)
    stage.data(BODY, end=True)
    stage.port.waiters[0].handler.on_upstream_error(refused())
    assert stage.port.opened == [("app", 1), ("app", 2)]
    stream = stage.port.serve()
    assert (stream.body, stream.head.get_all(b"x-sidecar-attempt")) == (BODY, [b"2"])
    stage.port.waiters[1].handler.on_upstream_error(refused())
    assert stage.code == (503, b"upstream_connect") and stage.record.attempts == 2


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
def test_R2_a_stale_connection_costs_an_idempotent_request_nothing(method):
    spent = RetryBudget(0.0, 0.0)
    assert spent.take(0.0) and not spent.take(0.0)
    stage = RouterStage(budget=spent).request(method=method, end=False)
    stage.data(BODY, end=True)
    stage.stream.fail(stale())
    assert stage.port.opened == [("app", 1), ("app", 2)] and stage.stream.body == BODY
    assert [name for _, name, _ in stage.record.events] == ["retry"]
    stage.stream.fail(stale())
    assert stage.code == (502, b"upstream_reset")


def test_R3_a_body_over_the_replay_limit_is_never_repeated():
    stage = RouterStage(retrying("5xx")).request(method=b"PUT", end=False)
    stage.data(b"x" * REPLAY_LIMIT)
    stage.data(b"y", end=True)
    stage.stream.fail(stale())
    assert stage.code == (502, b"upstream_reset")
    fits = RouterStage().request(method=b"PUT", end=False)
    fits.data(b"x" * REPLAY_LIMIT, end=True)
    fits.stream.fail(stale())
    assert len(fits.stream.body) == REPLAY_LIMIT and len(fits.port.opened) == 2


def test_R3_a_body_still_coming_goes_on_where_the_replay_ends():
    stage = RouterStage().request(method=b"PUT", end=False)
    stage.data(b"one")
    stage.stream.fail(stale())
    stage.data(b"two", end=True)
    assert stage.stream.body == b"onetwo" and stage.client.credited == 6


def test_R4_retries_of_a_dead_upstream_stay_within_their_budget():
    timers = FakeTimers()
    port = FakePort(timers, RetryBudget(0.2, 10.0))
    for _ in range(3_000):
        stage = RouterStage(retrying("connect-failure", attempts=3), timers=timers, port=port).request()
        while not stage.client.sent:
            stage.stream.fail(refused())
        timers.advance(0.001)
    retries = len(port.opened) - 3_000
    assert 500 < retries <= 3_000 * 0.2 + 3 * 10 + 10


@pytest.mark.parametrize("error", [refused(), died()], ids=["refused", "died"])
def test_R4_a_retry_is_not_retried_again(error):
    stage = RouterStage(retrying("5xx", "connect-failure"))
    stage.record.is_retry = True
    stage.request()
    stage.stream.fail(error)
    assert len(stage.port.opened) == 1
    answered = RouterStage(retrying("503"))
    answered.record.is_retry = True
    answered.request()
    answered.stream.answer(status=b"503")
    assert answered.client.status == 503 and len(answered.port.opened) == 1


def test_R5_after_the_head_there_is_no_other_try():
    stage = RouterStage(retrying("5xx", "reset")).request()
    stage.stream.answer(end=False)
    stage.stream.fail(died())
    assert len(stage.port.opened) == 1 and stage.client.resets


def test_R6_our_own_refusals_and_a_plugins_answers_are_not_repeated():
    def busy(by, event):
        by.view.local_reply(by, LocalReply(503))
        return 1

    plugin = RouterStage(retrying("503"), scripts={"a": {"request_headers": busy}}).request()
    assert plugin.client.status == 503 and plugin.port.opened == []
    late = RouterStage(retrying("503"), scripts={"a": {"response_headers": busy}}).request()
    late.stream.answer()
    assert late.client.status == 503 and len(late.port.opened) == 1
    full = RouterStage(retrying("503", "connect-failure"))
    full.port.refusal = ProxyError(ErrorKind.OVERLOADED)
    assert full.request().code == (503, b"overloaded") and len(full.port.opened) == 1


def test_R6_a_sidecar_that_says_it_is_full_is_not_asked_again():
    stage = RouterStage(retrying("503"), direction="outbound").request()
    stage.stream.answer((b"x-sidecar-error", b"overloaded"), status=b"503")
    assert stage.code == (503, b"overloaded") and len(stage.port.opened) == 1


def test_R7_a_non_idempotent_request_reaches_the_app_once_whatever_dies():
    for method in (b"POST", b"PATCH", b"LOCK"):
        for error in (died(), stale()):
            stage = RouterStage(retrying("5xx", "reset", "gateway-error", attempts=5)).request(method=method)
            stage.stream.fail(error)
            assert len(stage.port.streams) == 1


def test_a_wanted_status_is_dropped_for_another_try():
    stage = RouterStage(retrying("503", "5xx", attempts=2)).request()
    first = stage.stream
    first.answer(status=b"503", end=False)
    assert first.resets == [ResetReason.CANCEL] and stage.client.sent == []
    stage.stream.answer(status=b"500")
    assert stage.port.streams[1].resets == [], "an answer that was whole leaves its connection to others"
    stage.stream.answer(status=b"502")
    assert stage.client.status == 502 and stage.record.attempts == 3
    assert [attributes["loom.error"] for _, _, attributes in stage.record.events] == ["503", "500"]


@pytest.mark.parametrize(("on", "status"), [("503", b"500"), ("gateway-error", b"501"), ("connect-failure", b"503")])
def test_a_status_that_nobody_named_is_an_answer(on, status):
    stage = RouterStage(retrying(on)).request()
    stage.stream.answer(status=status)
    assert stage.client.status == int(status) and len(stage.port.opened) == 1


def test_a_status_is_not_repeated_for_a_request_that_acts():
    stage = RouterStage(retrying("503")).request(method=b"POST")
    stage.stream.answer(status=b"503")
    assert stage.client.status == 503 and len(stage.port.opened) == 1


def test_the_request_is_the_same_in_every_try_but_for_its_count():
    stage = RouterStage(retrying("503")).request((b"x-a", b"1"))
    stage.stream.answer(status=b"503")
    first, second = (stream.head.pairs() for stream in stage.port.streams)
    assert first[-1] == (b"x-sidecar-attempt", b"1") and second == [*first[:-1], (b"x-sidecar-attempt", b"2")]


def test_a_body_that_a_plugin_held_is_repeated_as_the_plugin_left_it():
    def shout(by, event):
        event.data = event.data.upper()
        return 0

    scripts = {"a": {"request_headers": lambda by, event: PAUSE_ITERATION, "request_data": shout}}
    stage = RouterStage(scripts=scripts).request((b"content-length", b"3"), method=b"PUT", end=False)
    stage.data(b"abc", end=True)
    stage.stream.fail(stale())
    assert stage.stream.body == b"ABC" and stage.seen.count("a.request_headers") == 1


def test_a_length_without_a_body_is_not_sent_on():
    def drop(by, event):
        event.end_stream = True
        return 0

    stage = RouterStage(scripts={"a": {"request_headers": drop}}).request((b"content-length", b"3"), end=False)
    assert b"content-length" not in stage.stream.head
    assert type(stage.stream.sent[0]) is RequestHeaders and stage.stream.sent[0].end_stream
    stage.data(b"abc", end=True)
    assert not any(type(event) is RequestData for event in stage.stream.sent)
