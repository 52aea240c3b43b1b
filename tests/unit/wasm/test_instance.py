from __future__ import annotations

import pytest

from sidecar.wasm.settings import PluginLoadError
from tests.support.guest import OUT, STREAM, AtEnd, Guest, Loop, Return, Say, Trap, call
from tests.support.plugins import House, Talk

ON_REQUEST, ON_RESPONSE, ON_LOG = "proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_log"
CREATE, START, CONFIGURE = "proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure"
DONE, DELETE, TICK = "proxy_on_done", "proxy_on_delete", "proxy_on_tick"
BARE = """(module (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "abcdefgh")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func $say (param i32) (drop (call $log (i32.const 2) (local.get 0) (i32.const 1))))
  %s)"""
SAY = "(call $say (i32.const {}))"


def load_error(module: object, **settings: object) -> PluginLoadError:
    house = House()
    plugin = house.made(module, **settings)  # type: ignore[arg-type]
    with pytest.raises(PluginLoadError) as caught:
        plugin.start()
    plugin.close()
    return caught.value


def test_abi_14_15_20_the_order_of_the_start() -> None:
    house = House()
    guest = Guest()
    for name in (CREATE, START, CONFIGURE):
        guest.on(name, Say(name))
    house.plugin(guest, config=b"12345", vm_config=b"123")
    assert house.said() == [CREATE, START, CONFIGURE]


def test_abi_16_the_root_id_can_be_read_when_the_root_is_created() -> None:
    house = House()
    guest = Guest().on(CREATE, call("proxy_get_property", b"plugin_root_id", OUT, show="size"))
    house.plugin(guest)
    assert house.said() == ["proxy_get_property -> 0 0"]


@pytest.mark.parametrize(("callback", "label"), [(START, "load"), (CONFIGURE, "configure")])
def test_abi_17_a_false_of_start_or_configure_refuses_the_plugin(callback: str, label: str) -> None:
    error = load_error(Guest().on(callback, result=0))
    assert (error.error, str(error)) == (label, f"{callback}: returned false")


@pytest.mark.parametrize("callback", [CREATE, START, CONFIGURE])
def test_abi_11_a_trap_at_the_start_refuses_the_plugin(callback: str) -> None:
    assert str(load_error(Guest().on(callback, Trap()))).startswith(f"{callback}: ")


@pytest.mark.parametrize("callback", [CREATE, START, CONFIGURE])
def test_W1_a_loop_at_the_start_is_cut(callback: str) -> None:
    assert "did not return within 20 ms" in str(load_error(Guest().on(callback, Loop()), timeout=0.02))


@pytest.mark.parametrize(
    "function",
    [
        "(func $s (loop (br 0))) (start $s)",
        '(func (export "_initialize") (loop (br 0)))',
        '(func (export "_start") (loop (br 0)))',
    ],
)
def test_W1_a_loop_in_a_start_function_is_cut(function: str) -> None:
    assert "did not return" in str(load_error(BARE % function, timeout=0.02))


def test_abi_10_initialize_and_then_main() -> None:
    house = House()
    house.plugin(
        BARE % f'(func (export "main") (param i32 i32) (result i32) {SAY.format(17)} (i32.const 7))'
        f'(func (export "_start") {SAY.format(18)}) (func (export "_initialize") {SAY.format(16)})'
    )
    assert house.said() == ["a", "b"]
    house = House()
    house.plugin(
        BARE
        % f'(func (export "_initialize")) (func (export "__main_void") (result i32) {SAY.format(18)} (i32.const 0))'
    )
    assert house.said() == ["c"]


def test_abi_11_start_alone_without_main() -> None:
    house = House()
    house.plugin(
        BARE % f'(func (export "main") (param i32 i32) (result i32) {SAY.format(17)} (i32.const 0))'
        f'(func (export "_start") {SAY.format(18)})'
    )
    assert house.said() == ["c"]


def test_abi_12_exit_0_in_start_is_a_good_end() -> None:
    house = House()
    plugin = house.plugin(BARE % '(func (export "_start") (call $exit (i32.const 0)))')
    assert plugin.describe()["state"] == "running"
    assert "proc_exit(3)" in str(load_error(BARE % '(func (export "_start") (call $exit (i32.const 3)))'))
    assert "proc_exit(0)" in str(load_error(BARE % '(func (export "_initialize") (call $exit (i32.const 0)))'))


def test_abi_13_host_calls_in_the_start_section() -> None:
    house = House()
    house.plugin(BARE % f"(func $s {SAY.format(16)} (drop (call $time (i32.const 64)))) (start $s)")
    assert house.said() == ["a"]


def test_abi_18_19_a_module_with_nothing_but_the_marker_passes_traffic() -> None:
    house = House()
    talk = Talk(house, house.plugin(BARE % "")).get()
    talk.answer(end=True)
    assert talk.upstream is not None and talk.downstream.status == 200
    assert talk.bugs == []


def test_abi_35_a_0_1_0_module_is_told_nothing_of_the_end() -> None:
    wat = (
        (
            BARE
            % """(import_here) (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
      (call $say (i32.const 16))
      (drop (call $log (i32.const 2) (i32.const 17) (i32.eqz (call $get (i32.const 0) (i32.const 16) (i32.const 3)
         (i32.const 64) (i32.const 68))))) (i32.const 0))"""
        )
        .replace("0_2_1", "0_1_0")
        .replace("(import_here)", "")
    )
    wat = wat.replace(
        "(module",
        '(module (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))',
        1,
    )
    house = House()
    Talk(house, house.plugin(wat)).get()
    assert house.said() == ["a", "b"]  # b: a missing header is Ok, and empty


def test_abi_45_73_74_a_stream_from_creation_to_deletion() -> None:
    house = House()
    guest = Guest()
    for name in (CREATE, ON_REQUEST, ON_RESPONSE, ON_LOG, DONE, DELETE):
        guest.on(name, Say(name))
    plugin = house.plugin(guest)
    talk = Talk(house, plugin).get()
    talk.answer(end=True)
    assert house.said()[1:] == [CREATE, ON_REQUEST, ON_RESPONSE, ON_LOG, DONE, DELETE]
    assert plugin.describe()["streams"] == 0


def test_W10_a_done_that_is_put_off_is_finished_by_proxy_done_or_by_time() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST).on(DONE, result=0).on(DELETE, Say("deleted"))
    guest.on(TICK, call("proxy_set_effective_context", STREAM), call("proxy_done"))
    plugin = house.plugin(guest)
    talk = Talk(house, plugin).get()
    talk.answer(end=True)
    assert plugin.describe()["streams"] == 1 and "deleted" not in house.said()
    house.timers.advance(4.9)
    assert "deleted" not in house.said()
    house.timers.advance(0.2)
    assert house.said() == ["deleted"] and plugin.describe()["streams"] == 0
    guest.on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 100))
    house = House()
    talk = Talk(house, house.plugin(guest)).get()
    talk.answer(end=True)
    house.timers.advance(0.11)
    assert house.said()[-2:] == ["proxy_done -> 0", "deleted"]


def test_W12_ids_are_unique_and_forgotten() -> None:
    house = House()
    plugin = house.plugin(Guest().on(ON_REQUEST))
    instance = plugin._instance
    assert instance is not None
    talks = [Talk(house, plugin).get() for _ in range(50)]
    assert len(instance.contexts) == 51
    for talk in talks:
        talk.answer(end=True)
    assert list(instance.contexts) == [1]
    instance._next_id = 0xFFFFFFFF
    Talk(house, plugin).get()
    Talk(house, plugin).get()
    assert sorted(instance.contexts) == [1, 2, 0xFFFFFFFF]


def test_W2_a_flood_of_host_calls_is_cut() -> None:
    loop = (
        BARE
        % """(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (loop $l (drop (call $time (i32.const 64))) (br $l)) (i32.const 0))"""
    )
    house = House()
    talk = Talk(house, house.plugin(loop)).get()
    assert talk.downstream.status == 503
    assert house.metrics.counts["error", "probe", "overflow"] == 1
    big = (
        BARE
        % """(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (loop $l (drop (call $log (i32.const 2) (i32.const 0) (i32.const 65536))) (br $l)) (i32.const 0))"""
    )
    house = House()
    assert Talk(house, house.plugin(big)).get().downstream.status == 503
    assert len(house.said()) < 1000


def test_W22_a_bug_of_ours_is_a_failure_and_never_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, call("proxy_get_current_time_nanoseconds", 16))))

    def broken() -> int:
        raise KeyError("ours")

    house.timers.unix_nanos = broken  # type: ignore[method-assign]
    talk.get()
    assert talk.downstream.status == 503
    assert house.metrics.counts["error", "probe", "hostcall"] == 1
    text, fields = house.told()[0]
    assert "KeyError: 'ours' at broken:" in text and fields == {"callback": "on_request_headers", "error": "hostcall"}


def test_calls_are_measured_by_phase_and_slow_ones_are_events() -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST).on(ON_RESPONSE).on(ON_LOG)))
    plugin_instance = talk.exchange._filters[0]._plugin._instance
    times = iter([1.0, 1.0005, 2.0, 2.25, 3.0, 4.0, 4.0005])
    plugin_instance._now = lambda: next(times)
    talk.request()
    talk.answer(end=True)
    assert [(phase, round(seconds, 6)) for _, phase, seconds in house.metrics.observed] == [
        ("on_request_headers", 0.0005),
        ("on_response_headers", 0.25),
        ("on_log", 0.0005),
    ]
    assert talk.record.events == [
        (3.0, "plugin", {"loom.plugin": "probe", "loom.phase": "on_response_headers", "loom.duration_ms": 250.0})
    ]


def test_abi_89_nothing_enters_the_guest_while_it_runs() -> None:
    house = House()
    guest = Guest().on("proxy_on_configure", call("proxy_register_shared_queue", b"q", 8))
    guest.on(ON_REQUEST, call("proxy_enqueue_shared_queue", 1, b"x"), Say("after")).on(
        "proxy_on_queue_ready", Say("ready")
    )
    Talk(house, house.plugin(guest)).get()
    assert house.said()[1:] == ["proxy_enqueue_shared_queue -> 0", "after", "ready"]


def test_W23_interleaved_streams_see_only_their_own() -> None:
    house = House()
    read = call("proxy_get_header_map_value", 0, b"x-id", OUT, show="bytes", label="id")
    body = call("proxy_get_buffer_bytes", 0, 0, 100, OUT, show="bytes", label="body")
    guest = (
        Guest().on(ON_REQUEST).on("proxy_on_request_body", AtEnd(read, body, otherwise=(Return(1),))).on(ON_LOG, read)
    )
    plugin = house.plugin(guest)
    talks = [Talk(house, plugin) for _ in range(50)]
    for number, talk in enumerate(talks):
        talk.request((b"x-id", b"%d" % number), end=False)
    for number, talk in enumerate(talks):
        talk.data(b"first of %d, " % number)
    for number, talk in reversed(list(enumerate(talks))):
        talk.data(b"last of %d" % number, True)
    expected = []
    for number in reversed(range(50)):
        expected += [f"id -> 0 :{number}", f"body -> 0 :first of {number}, last of {number}"]
    assert house.said() == expected
    for number, talk in enumerate(talks):
        assert talk.terminal.body == b"first of %d, last of %d" % (number, number)
        talk.answer(end=True)
    assert house.said()[100:] == [f"id -> 0 :{number}" for number in range(50)]
