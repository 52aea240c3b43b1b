from __future__ import annotations

import pytest

from sidecar.exchange.filter import Phase
from sidecar.filters.wasm import WasmFilterFactory
from sidecar.http.events import RequestTrailers, ResetReason, ResponseTrailers
from sidecar.http.headers import HeaderMap
from tests.support.guest import OUT, STREAM, Guest, Loop, Say, Step, Trap, call, pairs
from tests.support.plugins import House, Talk

ON_REQUEST, ON_REQUEST_BODY, ON_REQUEST_TRAILERS = (
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
)
ON_RESPONSE, ON_RESPONSE_BODY, ON_RESPONSE_TRAILERS = (
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
)
ON_LOG = "proxy_on_log"
ADD = "proxy_add_header_map_value"
SPIN = """(module (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "%s") %s (result i32) (loop $l (drop (call $time (i32.const 64))) (br $l)) (i32.const 0)))"""


def converse(talk: Talk) -> Talk:
    """A whole exchange with bodies and trailers both ways, as far as it goes."""
    talk.request((b"x-a", b"1"), end=False)
    talk.data(b"question")
    talk.exchange.on_request(RequestTrailers(1, HeaderMap.of([(b"x-t", b"1")])))
    if not talk.exchange.is_over and talk.upstream is not None:
        talk.answer((b"x-app", b"1"))
        talk.answer_data(b"answer")
        talk.exchange.on_response(ResponseTrailers(9, HeaderMap.of([(b"x-u", b"2")])))
    talk.turn()
    assert talk.bugs == []
    return talk


def test_the_chain_visits_only_what_the_module_has_and_the_configuration_allows() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST).on(ON_RESPONSE_BODY)
    assert WasmFilterFactory(house.plugin(guest)).phases == {Phase.REQUEST_HEADERS, Phase.RESPONSE_BODY, Phase.LOG}
    limited = house.plugin(guest, phases=frozenset({"on_request_headers"}))
    assert WasmFilterFactory(limited).phases == {Phase.REQUEST_HEADERS, Phase.LOG}


def test_every_phase_comes_to_the_guest_in_order() -> None:
    house = House()
    guest = Guest()
    names = (
        ON_REQUEST,
        ON_REQUEST_BODY,
        ON_REQUEST_TRAILERS,
        ON_RESPONSE,
        ON_RESPONSE_BODY,
        ON_RESPONSE_TRAILERS,
        ON_LOG,
    )
    for name in names:
        guest.on(name, Say(name))
    talk = converse(Talk(house, house.plugin(guest)))
    assert house.said() == list(names)
    assert [type(event).__name__ for event in talk.terminal.events] == [
        "RequestHeaders",
        "RequestData",
        "RequestTrailers",
    ]
    assert talk.downstream.body == b"answer"


def test_abi_58_each_plugin_sees_what_the_earlier_ones_did_and_the_way_back_is_reversed() -> None:
    house = House()

    def plugin(name: str) -> object:
        show = call("proxy_get_header_map_value", 0, b"x-by", OUT, show="bytes", label="by")
        guest = Guest().on(ON_REQUEST, show, call("proxy_replace_header_map_value", 0, b"x-by", name.encode()))
        return house.plugin(guest.on(ON_RESPONSE, call(ADD, 2, b"x-way", name.encode())), name=name)

    talk = Talk(house, plugin("a"), plugin("b"), plugin("c")).get()  # type: ignore[arg-type]
    talk.answer(end=True)
    assert [house.said(name)[0] for name in "abc"] == ["by -> 1 :", "by -> 0 :a", "by -> 0 :b"]
    assert talk.downstream.head.headers.get_all(b"x-way") == [b"c", b"b", b"a"]


def test_a_plugin_logs_what_another_one_answered() -> None:
    house = House()
    deny = house.plugin(
        Guest().on(ON_REQUEST, call("proxy_send_local_response", 403, b"", b"no", b"", -1), result=1), name="deny"
    )
    show = call("proxy_get_header_map_value", 2, b":status", OUT, show="bytes", label="status")
    late = house.plugin(Guest().on(ON_REQUEST, Say("seen")).on(ON_LOG, show), name="late")
    assert Talk(house, deny, late).get().downstream.status == 403
    assert house.said("late") == ["status -> 0 :403"]


def test_abi_56_actions_of_other_sdks_and_unknown_ones() -> None:
    for result, goes_on in ((0, True), (1, False), (2, True), (3, False), (4, False), (77, False), (-1, False)):
        house = House()
        talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, result=result))).get()
        assert (talk.upstream is not None) == goes_on, result
        if result in (77, -1):
            assert any("none of the ABI" in text for text, _ in house.told())


def test_W10_a_pause_that_nobody_ends_is_ended() -> None:
    house = House()
    plugin = house.plugin(Guest().on(ON_REQUEST, result=1).on("proxy_on_delete", Say("deleted")))
    talk = Talk(house, plugin).get()
    house.timers.advance(59.9)
    assert talk.downstream.sent == []
    house.timers.advance(0.2)
    assert talk.downstream.status == 503
    assert talk.downstream.head.headers.get(b"x-sidecar-error") == b"plugin_timeout"
    assert house.metrics.counts["error", "probe", "timeout"] == 1
    assert house.said() == ["deleted"] and plugin.describe()["streams"] == 0
    assert plugin.describe()["state"] == "running"


def test_W10_an_open_policy_lets_a_paused_request_go() -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, result=1), on_failure={"timeout": "open"})).get()
    house.timers.advance(60.1)
    assert talk.upstream is not None
    assert house.metrics.counts["passed", "probe", "timeout"] == 1


def test_a_pause_that_makes_progress_is_not_ended() -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST_BODY, result=1)))
    talk.request(end=False)
    for _ in range(5):
        talk.data(b"slow")
        house.timers.advance(40)
    assert talk.downstream.sent == []
    house.timers.advance(21)
    assert talk.downstream.status == 503


def test_a_pause_that_is_over_is_forgotten() -> None:
    house = House()
    guest = Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 50)).on(ON_REQUEST, result=1)
    guest.on("proxy_on_tick", call("proxy_set_effective_context", STREAM), call("proxy_continue_stream", 0))
    talk = Talk(house, house.plugin(guest)).get()
    house.timers.advance(0.06)
    assert talk.upstream is not None
    house.timers.advance(100)
    assert talk.downstream.sent == []


def test_abi_72_a_client_that_leaves_while_paused_is_logged_once() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST, result=1)
    show = call("proxy_get_header_map_value", 2, b":status", OUT, show="bytes", label="status")
    for name in ("proxy_on_done", "proxy_on_delete"):
        guest.on(name, Say(name))
    talk = Talk(house, house.plugin(guest.on(ON_LOG, show))).get()
    talk.exchange.on_downstream_reset(ResetReason.CANCEL)
    house.timers.advance(100)
    assert house.said() == ["status -> 1 :", "proxy_on_done", "proxy_on_delete"]


# --- failures ------------------------------------------------------------------------------------------------

PHASES = (
    ON_REQUEST,
    ON_REQUEST_BODY,
    ON_REQUEST_TRAILERS,
    ON_RESPONSE,
    ON_RESPONSE_BODY,
    ON_RESPONSE_TRAILERS,
    ON_LOG,
)
CODES = {"trap": b"plugin_failed", "limit": b"plugin_failed", "timeout": b"plugin_timeout"}


def failing(house: House, cause: str, phase: str, policy: str) -> object:
    if cause == "limit":
        params = "(param i32 i32)" if "trailers" in phase else "(param i32 i32 i32)"
        code = SPIN % (phase, params)
        if phase == ON_LOG:
            code = code.replace("(param i32 i32 i32)", "(param i32)").replace(
                "(result i32) (loop $l (drop (call $time (i32.const 64))) (br $l)) (i32.const 0)",
                "(loop $l (drop (call $time (i32.const 64))) (br $l))",
            )
        return house.plugin(code, on_failure={cause: policy})
    step: Step = Trap() if cause == "trap" else Loop()
    timeout = 0.02 if cause == "timeout" else 5.0
    return house.plugin(Guest().on(phase, step), on_failure={cause: policy}, timeout=timeout)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("policy", ["closed", "open"])
@pytest.mark.parametrize("cause", ["trap", "timeout", "limit"])
def test_W9_W26_every_cause_in_every_phase_by_either_policy(cause: str, policy: str, phase: str) -> None:
    house = House()
    guard = house.plugin(
        Guest().on(ON_REQUEST, Say("guard")).on(ON_RESPONSE, call(ADD, 2, b"x-guard", b"1")), name="guard"
    )
    broken = failing(house, cause, phase, policy)
    talk = converse(Talk(house, guard, broken))  # type: ignore[arg-type]
    assert house.said("guard")[0] == "guard"
    label = {"trap": "trap", "timeout": "timeout", "limit": "overflow"}[cause]
    assert house.metrics.counts["error", "probe", label] == 1
    answered = phase == ON_LOG or (policy == "closed" and phase in (ON_RESPONSE_BODY, ON_RESPONSE_TRAILERS))
    if policy == "open" or phase == ON_LOG:
        assert talk.downstream.status == 200 and talk.downstream.body == b"answer" and talk.downstream.resets == []
        assert talk.downstream.head.headers.get(b"x-guard") == b"1"
        assert house.metrics.counts["passed", "probe", cause] == (0 if phase == ON_LOG else 1)
    elif answered:
        # The head has gone out: an honest cut, and not an answer that looks whole.
        assert talk.downstream.status == 200 and talk.downstream.resets and talk.downstream.finishes == 1
    else:
        assert talk.downstream.status == 503 and talk.downstream.finishes == 1
        assert talk.downstream.head.headers.get(b"x-sidecar-error") == CODES[cause]
        if phase in (ON_REQUEST, ON_REQUEST_BODY):
            assert talk.terminal.body == b""
    house.timers.advance(0)
    assert house.metrics.counts["restart", "probe"] == 1


@pytest.mark.parametrize("policy", ["closed", "open"])
def test_W26_while_there_is_no_instance_the_policy_of_the_last_cause_holds(policy: str) -> None:
    house = House()
    broken = house.plugin(Guest().on(ON_REQUEST, Trap()), on_failure={"trap": policy})
    statuses = [Talk(house, broken).get() for _ in range(4)]
    assert broken.describe()["state"] == "restarting"
    assert [talk.upstream is not None for talk in statuses] == [policy == "open"] * 4
    assert house.metrics.counts["passed", "probe", "trap"] == (4 if policy == "open" else 0)


def test_what_a_plugin_had_changed_before_it_failed_is_undone() -> None:
    house = House()
    guest = Guest().on(
        ON_REQUEST, call(ADD, 0, b"x-half", b"1"), call("proxy_remove_header_map_value", 0, b"x-a"), Trap()
    )
    talk = Talk(house, house.plugin(guest, on_failure={"trap": "open"})).get((b"x-a", b"1"))
    assert talk.upstream is not None and talk.upstream.get(b"x-a") == b"1" and b"x-half" not in talk.upstream


def test_an_exchange_that_passed_is_left_alone() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST, Trap()).on(ON_RESPONSE, Say("response")).on(ON_LOG, Say("log"))
    talk = Talk(house, house.plugin(guest, on_failure={"trap": "open"})).get()
    talk.answer(end=True)
    assert talk.downstream.status == 200 and house.said() == []
    assert house.metrics.counts["passed", "probe", "trap"] == 1


def test_W9_all_streams_of_a_dead_instance_are_answered_and_its_calls_cancelled() -> None:
    house = House("auth")

    head = pairs((b":method", b"GET"), (b":path", b"/"), (b":authority", b"a"))
    guest = Guest().on(ON_REQUEST, call("proxy_http_call", b"auth", head, b"", pairs(), 1000, 8), result=1)
    guest.on("proxy_on_http_call_response", Trap())
    plugin = house.plugin(guest)
    talks = [Talk(house, plugin).get() for _ in range(5)]
    house.calls.made[2].answer((b":status", b"200"))
    house.timers.advance(0)
    assert [talk.downstream.status for talk in talks] == [503] * 5
    assert [made.is_cancelled for made in house.calls.made] == [True, True, False, True, True]
    assert all(talk.downstream.finishes == 1 and talk.bugs == [] for talk in talks)
    assert Talk(house, plugin).get().downstream.sent == []  # served by the next instance


def test_W9_waiting_streams_of_a_dead_instance_pass_when_the_policy_is_open() -> None:
    house = House()
    guest = (
        Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 50)).on(ON_REQUEST_BODY, result=1)
    )
    plugin = house.plugin(guest.on("proxy_on_tick", Trap()), on_failure={"trap": "open"})
    talk = Talk(house, plugin)
    talk.request(end=False)
    talk.data(b"held", True)
    house.timers.advance(0.06)
    house.timers.advance(0)
    assert talk.terminal.body == b"held"


def test_a_stream_that_the_plugin_is_done_with_outlives_its_instance() -> None:
    house = House()
    guest = Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 50)).on(ON_REQUEST, Say("in"))
    plugin = house.plugin(guest.on("proxy_on_tick", Trap()))
    talk = Talk(house, plugin).get()
    house.timers.advance(0.06)
    house.timers.advance(0)
    talk.answer(end=True)
    assert talk.downstream.status == 200


def test_W9_a_trap_while_a_local_reply_passes_by_does_not_answer_twice() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST, call("proxy_send_local_response", 401, b"", b"no", b"", -1), result=1)
    talk = Talk(house, house.plugin(guest.on(ON_RESPONSE, Trap()))).get()
    assert talk.downstream.status == 503 and talk.downstream.finishes == 1


def test_a_failed_call_is_an_event_of_the_span() -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, Trap()))).get()
    assert [
        (name, attributes["loom.error"], attributes["loom.phase"]) for _, name, attributes in talk.record.events
    ] == [("plugin", "trap", "on_request_headers")]
