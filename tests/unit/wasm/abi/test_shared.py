from __future__ import annotations

from sidecar.wasm.metrics import MAX_PER_PLUGIN
from tests.support.guest import LONG, OUT, WORD, Guest, Say, Step, call
from tests.support.plugins import House, Talk

GET, SET = "proxy_get_shared_data", "proxy_set_shared_data"
ON_REQUEST = "proxy_on_request_headers"
DEFINE, INCREMENT, RECORD, READ = (
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
)


def said(*steps: Step, house: House | None = None, name: str = "probe", vm_id: str = "") -> list[str]:
    house = house or House()
    Talk(house, house.plugin(Guest().on(ON_REQUEST, *steps), name=name, vm_id=vm_id)).get()
    return [line.partition(" -> ")[2] for line in house.said(name)]


def test_abi_95_cas_numbers() -> None:
    assert said(
        call(GET, b"k", OUT, WORD),
        call(SET, b"k", b"one", 0),
        call(GET, b"k", OUT, WORD, show="word"),
        call(SET, b"k", b"two", 1),
        call(SET, b"k", b"three", 1),
        call(GET, b"k", OUT, WORD, show="bytes"),
        call(SET, b"absent", b"v", 99),
        call(SET, b"k", 0, 0, 0),
        call(GET, b"k", OUT, WORD),
    ) == ["1", "0", "0 1", "0", "8", "0 :two", "0", "0", "1"]


def test_abi_96_W19_data_is_kept_apart_by_vm_id() -> None:
    house = House()
    put = (call(SET, b"k", b"secret", 0),)
    assert said(*put, house=house, name="a", vm_id="a") == ["0"]
    assert said(call(GET, b"k", OUT, WORD), house=house, name="b", vm_id="b") == ["1"]
    assert said(call(GET, b"k", OUT, WORD, show="bytes"), house=house, name="c", vm_id="a") == ["0 :secret"]


def test_W18_a_space_has_an_end() -> None:
    house = House()
    house.shared.set("", b"big", b"x" * ((16 << 20) - 3), 0)
    assert said(call(SET, b"k", b"v", 0), house=house) == ["10"]


def test_abi_97_98_queues() -> None:
    house = House()
    register = call("proxy_register_shared_queue", b"q", WORD, show="word")
    guest = (
        Guest()
        .on("proxy_on_configure", register, register)
        .on(
            "proxy_on_queue_ready",
            Say("ready"),
            call("proxy_dequeue_shared_queue", 1, OUT, show="bytes", label="got"),
        )
    )
    house.plugin(guest, name="owner", vm_id="v")
    assert said(
        call("proxy_resolve_shared_queue", b"", b"q", WORD, show="word"),
        call("proxy_resolve_shared_queue", b"v", b"q", WORD, show="word"),
        call("proxy_enqueue_shared_queue", 1, b"item"),
        call("proxy_enqueue_shared_queue", 77, b"item"),
        call("proxy_dequeue_shared_queue", 77, OUT),
        house=house,
    ) == ["1 0", "0 1", "0", "1", "1"]
    house.timers.advance(0)
    assert house.said("owner") == ["proxy_register_shared_queue -> 0 1"] * 2 + ["ready", "got -> 0 :item"]
    assert said(call("proxy_dequeue_shared_queue", 1, OUT), house=house, name="late") == ["7"]


def test_a_queue_is_told_to_nobody_once_its_owner_is_gone() -> None:
    house = House()
    register = call("proxy_register_shared_queue", b"q", WORD)
    owner = house.plugin(
        Guest().on("proxy_on_configure", register).on("proxy_on_queue_ready", Say("ready")), name="owner"
    )
    Talk(house, house.plugin(Guest().on(ON_REQUEST, call("proxy_enqueue_shared_queue", 1, b"item")))).request()
    assert house.said() == ["proxy_enqueue_shared_queue -> 0"]
    owner.close()
    house.timers.advance(0)
    assert "ready" not in house.said("owner")


def test_abi_99_metrics() -> None:
    assert said(
        call(DEFINE, 0, b"c", WORD, show="word"),
        call(DEFINE, 1, b"g", WORD, show="word"),
        call(DEFINE, 2, b"h", WORD, show="word"),
        call(DEFINE, 7, b"x", WORD),
        call(DEFINE, 1, b"c", WORD),
        call(INCREMENT, 4, 5),
        call(INCREMENT, 4, 0),
        call(INCREMENT, 4, -1),
        call(RECORD, 4, 2),
        call(READ, 4, LONG, show="long"),
        call(RECORD, 9, 10),
        call(INCREMENT, 9, -3),
        call(READ, 9, LONG, show="long"),
        call(INCREMENT, 14, 1),
        call(RECORD, 14, 3),
        call(READ, 14, LONG),
        call(READ, 99, LONG),
        call(RECORD, 99, 1),
        call(INCREMENT, 99, 1),
    ) == ["0 4", "0 9", "0 14", "2", "2", "0", "2", "2", "0", "0 7", "0", "0", "0 7", "2", "0", "2", "1", "1", "1"]


def test_values_outlive_the_instance_and_ids_belong_to_it() -> None:
    house = House()
    steps = (call(DEFINE, 0, b"c", WORD, show="word"), call(INCREMENT, 4, 1), call(READ, 4, LONG, show="long"))
    assert said(*steps, house=house) == ["0 4", "0", "0 1"]
    assert said(*steps, house=house)[-3:] == ["0 4", "0", "0 2"]
    assert [metric.name for metric in house.custom_metrics.collect()] == ["loom_plugin_custom_c"]


def test_W17_a_plugin_has_so_many_metrics_and_no_more() -> None:
    house = House()
    for number in range(MAX_PER_PLUGIN):
        assert not isinstance(house.custom_metrics.define("probe", 0, b"m%d" % number), int)
    assert said(call(DEFINE, 0, b"one_more", WORD), call(DEFINE, 0, b"m1", WORD), house=house) == ["10", "0"]
    assert house.metrics.counts["limit", "plugin_metrics"] == 1
