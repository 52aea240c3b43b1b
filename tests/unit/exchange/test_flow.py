"""What a flow does with pauses, holds and credit, seen from both ends of an exchange."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import (
    CONTINUE,
    DISCARD,
    PAUSE,
    PAUSE_ITERATION,
    PAUSE_WATERMARK,
    Direction,
    LocalReply,
)
from sidecar.http.events import RequestTrailers, ResetReason, ResponseTrailers
from sidecar.http.headers import HeaderMap
from tests.support.exchanges import Stage, fails

REQUEST, RESPONSE = Direction.REQUEST, Direction.RESPONSE


def returns(status: int) -> Any:
    return lambda by, event: status


def until_end(status: int) -> Any:
    return lambda by, event: CONTINUE if event.end_stream else status


def trailers(*pairs: tuple[bytes, bytes]) -> HeaderMap:
    return HeaderMap.of(pairs)


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__.removeprefix("Request").removeprefix("Response") for event in events]


# --- order of resumption -------------------------------------------------------------------------------------------


def test_two_that_pause_the_head_are_passed_one_after_the_other():
    stage = Stage({"a": {"request_headers": returns(PAUSE)}, "b": {"request_headers": returns(PAUSE)}})
    stage.request(end=False)
    stage.data(b"x", end=True)
    stage.exchange.resume(stage.filters["b"], REQUEST)
    assert stage.seen == ["a.request_headers"], "b has not seen it, so there is nothing for it to let go"
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert stage.seen == ["a.request_headers", "b.request_headers", "a.request_data(x,1)"]
    assert stage.terminal.events == [] and stage.downstream.credited == 0
    stage.exchange.resume(stage.filters["b"], REQUEST)
    assert stage.seen[3:] == ["b.request_data(x,1)"]
    assert kinds(stage.terminal.events) == ["Headers", "Data"] and stage.downstream.credited == 1


def test_resume_of_what_is_not_held_does_nothing():
    stage = Stage({"a": {}, "b": {"request_data": returns(PAUSE)}})
    stage.exchange.resume(stage.filters["a"], REQUEST)
    stage.request(end=False)
    stage.data(b"x")
    stage.exchange.resume(stage.filters["a"], REQUEST)
    stage.exchange.resume(stage.filters["a"], RESPONSE)
    assert stage.terminal.body == b""
    stage.exchange.resume(stage.filters["b"], REQUEST)
    stage.exchange.resume(stage.filters["b"], REQUEST)
    assert stage.terminal.body == b"x"


def test_what_a_later_filter_keeps_stays_when_an_earlier_one_lets_go():
    stage = Stage({"a": {"request_data": returns(PAUSE)}, "b": {"request_data": until_end(PAUSE)}})
    stage.request(end=False)
    stage.data(b"1")
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert stage.exchange.held_body(stage.filters["b"], REQUEST) == b"1"
    stage.data(b"2", end=True)
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert stage.terminal.body == b"12" and stage.terminal.events[-1].end_stream


def test_a_head_held_with_delivery_goes_before_the_body_it_waited_for():
    stage = Stage({"a": {"response_headers": returns(PAUSE_ITERATION), "response_data": until_end(PAUSE)}, "b": {}})
    stage.request()
    stage.answer((b"content-length", b"4"))
    stage.answer_data(b"ab")
    assert stage.downstream.sent == []
    stage.answer_data(b"cd", end=True)
    assert kinds(stage.downstream.sent) == ["Headers", "Data"]
    assert stage.downstream.head.headers.get(b"content-length") == b"4"


def test_a_resume_frees_a_head_that_no_body_will():
    stage = Stage({"a": {"request_headers": returns(PAUSE_ITERATION), "request_data": returns(PAUSE)}})
    stage.request(end=False)
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert kinds(stage.terminal.events) == ["Headers"]


def test_a_pause_without_a_body_holds_the_whole_request():
    stage = Stage({"a": {"request_headers": returns(PAUSE_ITERATION)}})
    stage.request(end=True)
    assert stage.terminal.events == []
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert kinds(stage.terminal.events) == ["Headers"] and stage.terminal.events[0].end_stream


# --- trailers ------------------------------------------------------------------------------------------------------


def test_trailers_wait_behind_a_held_head():
    stage = Stage({"a": {"request_headers": returns(PAUSE)}})
    stage.request(end=False)
    stage.data(b"x")
    stage.exchange.on_request(RequestTrailers(1, trailers((b"t", b"1"))))
    assert stage.seen == ["a.request_headers"]
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert stage.seen[1:] == ["a.request_data(x,0)", "a.request_trailers"]
    assert kinds(stage.terminal.events) == ["Headers", "Data", "Trailers"]


def test_a_pause_in_the_trailers_keeps_the_body_back_too():
    stage = Stage({"a": {"request_data": returns(PAUSE), "request_trailers": returns(PAUSE)}, "b": {}})
    stage.request(end=False)
    stage.data(b"x")
    stage.exchange.on_request(RequestTrailers(1, trailers((b"t", b"1"))))
    assert kinds(stage.terminal.events) == ["Headers"]
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert kinds(stage.terminal.events) == ["Headers", "Data", "Trailers"]
    assert stage.seen[-2:] == ["b.request_data(x,0)", "b.request_trailers"]
    assert stage.budget.used == 0


def test_trailers_of_an_answer_end_it():
    stage = Stage({"a": {"response_data": returns(PAUSE)}})
    stage.request()
    stage.answer()
    stage.answer_data(b"x")
    stage.exchange.on_response(ResponseTrailers(9, trailers((b"grpc-status", b"0"))))
    assert kinds(stage.downstream.sent) == ["Headers", "Data", "Trailers"] and stage.downstream.finishes == 1


def making_trailers(status: int, *pairs: tuple[bytes, bytes]) -> Any:
    def act(by: Any, event: Any) -> int:
        if not event.end_stream:
            return CONTINUE
        made = by.view.create_trailers(by, REQUEST)
        for name, value in pairs:
            made.add(name, value)
        return status

    return act


def test_trailers_made_at_the_end_follow_the_last_bytes():
    stage = Stage({"a": {"request_data": making_trailers(CONTINUE, (b"sum", b"1"))}, "b": {}})
    stage.request(end=False)
    stage.data(b"x")
    stage.data(b"y", end=True)
    assert kinds(stage.terminal.events) == ["Headers", "Data", "Data", "Trailers"]
    assert not any(event.end_stream for event in stage.terminal.events[1:3])
    assert stage.seen[-2:] == ["b.request_data(y,0)", "b.request_trailers"]


def test_trailers_made_by_a_filter_that_then_pauses_are_not_lost():
    stage = Stage({"a": {"request_data": making_trailers(PAUSE, (b"sum", b"1"))}})
    stage.request(end=False)
    stage.data(b"x", end=True)
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert kinds(stage.terminal.events) == ["Headers", "Data", "Trailers"]
    assert stage.terminal.events[-1].headers.get(b"sum") == b"1"


def test_trailers_made_and_left_empty_are_none():
    stage = Stage({"a": {"request_data": making_trailers(CONTINUE)}})
    stage.request(end=False)
    stage.data(b"x", end=True)
    assert kinds(stage.terminal.events) == ["Headers", "Data"] and stage.terminal.events[-1].end_stream


# --- the declared length -------------------------------------------------------------------------------------------


def test_a_length_that_nobody_may_change_goes_at_once():
    stage = Stage({})
    stage.request((b"content-length", b"2"), end=False)
    assert stage.terminal.events[0].headers.get(b"content-length") == b"2"


def test_trailers_take_the_length_away():
    stage = Stage({"a": {}})
    stage.request((b"content-length", b"0"), end=False)
    assert stage.terminal.events == []
    stage.exchange.on_request(RequestTrailers(1, trailers((b"t", b"1"))))
    assert kinds(stage.terminal.events) == ["Headers", "Trailers"]
    assert b"content-length" not in stage.terminal.events[0].headers


def test_an_empty_piece_does_not_decide_about_the_length():
    stage = Stage({"a": {}})
    stage.request((b"content-length", b"3"), end=False)
    stage.data(b"")
    assert stage.terminal.events == []
    stage.data(b"abc", end=True)
    assert stage.terminal.events[0].headers.get(b"content-length") == b"3"


# --- endings -------------------------------------------------------------------------------------------------------


def test_a_local_reply_while_the_answer_is_held_replaces_it():
    stage = Stage({"a": {}, "b": {"response_headers": returns(PAUSE)}})
    stage.request()
    stage.answer((b"x-up", b"1"))
    stage.answer_data(b"upstream")
    stage.exchange.local_reply(stage.filters["b"], LocalReply(418, body=b"tea"))
    stage.exchange.resume(stage.filters["b"], RESPONSE)
    stage.answer_data(b"more", end=True)
    assert stage.downstream.status == 418 and stage.downstream.body == b"tea"
    assert b"x-up" not in stage.downstream.head.headers
    assert stage.terminal.aborts >= 1 and stage.downstream.finishes == 1 and stage.budget.used == 0


def test_a_refusal_that_a_filter_refuses_is_answered_all_the_same():
    stage = Stage({"a": {"response_headers": fails(ProxyError(ErrorKind.PLUGIN_FAILED))}})
    stage.request()
    stage.exchange.fail(None, ProxyError(ErrorKind.UPSTREAM_CONNECT))
    assert stage.downstream.head.headers.get(b"x-sidecar-error") == b"plugin_failed"
    assert stage.downstream.finishes == 1


def test_a_bug_in_a_filter_of_the_refusal_is_reported_and_answered():
    def boom(by: Any, event: Any) -> int:
        raise ValueError("bug")

    stage = Stage({"a": {"response_headers": boom, "request_headers": boom}})
    stage.request()
    assert stage.downstream.status == 500 and stage.downstream.finishes == 1
    assert [where for where, _ in stage.bugs] == ["request", "local_reply"]


@pytest.mark.parametrize("position", ["request_headers", "request_data", "response_headers", "response_data"])
def test_B3_a_client_that_leaves_while_something_is_held(position):
    stage = Stage({"a": {position: returns(PAUSE)}})
    stage.request(end=False)
    stage.data(b"x")
    if position.startswith("response"):
        stage.answer()
        stage.answer_data(b"y")
    stage.exchange.on_downstream_reset(ResetReason.CANCEL)
    assert stage.seen[-2:] == ["a.log", "a.destroy"]
    assert (stage.terminal.aborts, stage.downstream.finishes, stage.budget.used) == (1, 1, 0)
    stage.exchange.resume(stage.filters["a"], REQUEST)
    stage.exchange.resume(stage.filters["a"], RESPONSE)
    assert stage.downstream.finishes == 1


def test_B3_an_answer_before_the_request_ended():
    stage = Stage({"a": {"request_data": returns(PAUSE)}})
    stage.request(end=False)
    stage.data(b"held")
    stage.answer(end=True)
    assert stage.seen[-2:] == ["a.log", "a.destroy"] and stage.budget.used == 0
    stage.data(b"late", end=True)
    assert stage.downstream.finishes == 1 and stage.terminal.body == b""


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("pieces", [1, 3])
def test_B1_request_bodies_at_the_limit(extra, declared, pieces):
    limit = 30
    body = b"x" * (limit + extra)
    stage = Stage({"a": {"request_data": until_end(PAUSE)}})
    stage.filters["a"].max_body = limit
    stage.request(*[(b"content-length", b"%d" % len(body))] * declared, end=False)
    size = -(-len(body) // pieces)
    for at in range(0, len(body), size):
        stage.data(body[at : at + size], end=at + size >= len(body))
    if extra <= 0:
        assert stage.terminal.body == body
    else:
        assert stage.downstream.status == 413 and stage.terminal.body == b""
        assert stage.downstream.head.headers.get(b"x-sidecar-error") == b"body_too_large"
    assert stage.budget.used == 0


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("is_head_held", [True, False])
def test_B1_response_bodies_at_the_limit(extra, is_head_held):
    limit = 30
    body = b"x" * (limit + extra)
    head = {"response_headers": returns(PAUSE_ITERATION)} if is_head_held else {}
    stage = Stage({"a": {**head, "response_data": until_end(PAUSE)}})
    stage.filters["a"].max_body = limit
    stage.request()
    stage.answer()
    stage.answer_data(body[:20])
    stage.answer_data(body[20:], end=True)
    if extra <= 0:
        assert stage.downstream.body == body and stage.downstream.resets == []
    elif is_head_held:
        assert stage.downstream.status == 502
    else:
        assert stage.downstream.resets and stage.downstream.body == b"", "never a silent cut"
    assert stage.budget.used == 0 and stage.downstream.finishes == 1


def test_B2_the_budget_is_everybodys_and_is_given_back():
    first = Stage({"a": {"request_data": returns(PAUSE)}}, budget=10)
    first.request(end=False)
    first.data(b"x" * 10)
    second = Stage({"a": {"request_data": returns(PAUSE)}})
    second.exchange._request.budget = first.budget
    second.request(end=False)
    second.data(b"y")
    assert second.downstream.status == 503 and first.budget.used == 10
    first.exchange.resume(first.filters["a"], REQUEST)
    assert first.budget.used == 0 and first.terminal.body == b"x" * 10


def test_a_reply_gives_back_what_the_client_sent_for_nothing():
    stage = Stage({"a": {"request_headers": returns(PAUSE), "response_headers": returns(PAUSE)}})
    stage.request(end=False)
    stage.exchange.on_upstream_ready(False)
    stage.data(b"abc")
    assert stage.downstream.credited == 0
    stage.exchange.local_reply(stage.filters["a"], LocalReply(403))
    stage.data(b"def")
    assert stage.downstream.credited == 6 and stage.downstream.sent == []
    stage.exchange.resume(stage.filters["a"], RESPONSE)
    assert stage.downstream.status == 403


# --- credit, whatever happens --------------------------------------------------------------------------------------

STATUSES = st.sampled_from([CONTINUE, PAUSE, PAUSE_WATERMARK, CONTINUE])
HEADS = st.sampled_from([CONTINUE, PAUSE, PAUSE_ITERATION])
ACTS = st.lists(st.sampled_from(["data", "resume a", "resume b", "stall", "ready", "empty"]), max_size=14)


@given(st.data(), HEADS, HEADS, ACTS, st.booleans(), st.booleans())
def test_every_byte_is_passed_on_once_in_order_and_credited_once(data, head_a, head_b, acts, declared, with_trailers):
    def answers(by: Any, event: Any) -> int:
        return data.draw(STATUSES)

    stage = Stage(
        {
            "a": {"request_headers": returns(head_a), "request_data": answers},
            "b": {"request_headers": returns(head_b), "request_data": answers},
        }
    )
    count = acts.count("data") + 1
    stage.request(*[(b"content-length", b"%d" % (3 * count))] * declared, end=False)
    sent = b""
    for number, act in enumerate(acts):
        before = stage.downstream.credited
        if act == "data":
            piece = b"%03d" % number
            sent += piece
            stage.data(piece)
        elif act == "empty":
            stage.data(b"")
        elif act.startswith("resume"):
            stage.exchange.resume(stage.filters[act[-1]], REQUEST)
        else:
            stage.exchange.on_upstream_ready(act == "ready")
        assert before <= stage.downstream.credited <= len(sent)
        assert sent.startswith(stage.terminal.body)
        flow = stage.exchange._request
        assert stage.budget.used == flow.held_bytes == sum(
            len(hold.data) for hold in flow.holds.values() if not hold.blocks
        )
    sent += b"end"
    stage.data(b"end", end=not with_trailers)
    if with_trailers:
        stage.exchange.on_request(RequestTrailers(1, trailers((b"t", b"1"))))
    stage.exchange.on_upstream_ready(True)
    for _ in range(4):
        for name in "ab":
            stage.exchange.resume(stage.filters[name], REQUEST)
    assert stage.bugs == [] and stage.downstream.sent == []
    assert stage.terminal.body == sent
    assert stage.downstream.credited == len(sent) and stage.budget.used == 0
    assert kinds(stage.terminal.events)[0] == "Headers" and kinds(stage.terminal.events).count("Headers") == 1
    ends = [index for index, event in enumerate(stage.terminal.events) if getattr(event, "end_stream", True)]
    assert ends == [len(stage.terminal.events) - 1], "one end, and it is the last"
    length = stage.terminal.events[0].headers.get(b"content-length")
    assert length in (None, b"%d" % len(sent))


@given(st.data(), HEADS, ACTS, st.booleans())
def test_the_same_holds_for_the_answer(data, head, acts, ends_cut):
    stage = Stage({"a": {"response_headers": returns(head), "response_data": lambda by, event: data.draw(STATUSES)}})
    stage.request()
    stage.answer()
    sent = b""
    for number, act in enumerate(acts):
        if act == "data":
            piece = b"%03d" % number
            sent += piece
            stage.answer_data(piece)
        elif act == "resume a":
            stage.exchange.resume(stage.filters["a"], RESPONSE)
        elif act == "stall":
            stage.downstream.is_writable = False
        elif act == "ready":
            stage.downstream.is_writable = True
            stage.exchange.on_downstream_writable()
        assert stage.terminal.credited <= len(sent) and sent.startswith(stage.downstream.body)
    if ends_cut:
        stage.exchange.fail(None, ProxyError(ErrorKind.UPSTREAM_RESET))
        assert stage.downstream.finishes == 1 and stage.budget.used == 0
        return
    stage.downstream.is_writable = True
    stage.exchange.on_downstream_writable()
    for _ in range(3):
        stage.exchange.resume(stage.filters["a"], RESPONSE)
    assert stage.terminal.credited == len(sent)
    stage.answer_data(b"end", end=True)
    stage.exchange.resume(stage.filters["a"], RESPONSE)
    assert stage.downstream.body == sent + b"end" and stage.downstream.finishes == 1 and stage.budget.used == 0


@pytest.mark.parametrize(("second", "kept"), [(PAUSE, b"one2"), (PAUSE_WATERMARK, b"one2"), (DISCARD, b"one")])
def test_what_was_kept_unseen_stays_whatever_is_said_of_the_newest(second, kept):
    statuses = iter([PAUSE_WATERMARK, second])
    stage = Stage({"a": {"request_data": lambda by, event: next(statuses)}})
    stage.request(end=False)
    stage.data(b"one")
    stage.data(b"2")
    assert stage.exchange.held_body(stage.filters["a"], REQUEST) == kept and stage.budget.used == len(kept)
    stage.exchange.resume(stage.filters["a"], REQUEST)
    assert stage.terminal.body == kept and stage.downstream.credited == 4


def test_discarded_bytes_are_credited_and_kept_nowhere():
    stage = Stage({"a": {"request_data": until_end(DISCARD)}})
    stage.request(end=False)
    stage.data(b"abc")
    assert stage.downstream.credited == 3 and stage.budget.used == 0
    stage.data(b"d", end=True)
    assert stage.terminal.body == b"d"
