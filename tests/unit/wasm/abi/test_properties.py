from __future__ import annotations

from tests.support.guest import OUT, Guest, Step, call
from tests.support.plugins import House, Talk

GET, SET = "proxy_get_property", "proxy_set_property"
ON_REQUEST, ON_LOG = "proxy_on_request_headers", "proxy_on_log"


def plugin(house: House, name: str, vm_id: str, *steps: Step, on: str = ON_REQUEST) -> object:
    return house.plugin(Guest().on(on, *steps), name=name, vm_id=vm_id)


def test_abi_92_what_one_plugin_sets_others_of_its_vm_id_read_until_the_end() -> None:
    house = House()
    show = call(GET, b"mine\0deep", OUT, show="bytes")
    first = plugin(house, "a", "v", call(SET, b"mine\0deep", b"value"), show)
    second = plugin(house, "b", "v", show, on=ON_LOG)
    third = plugin(house, "c", "other", show)
    talk = Talk(house, first, second, third)  # type: ignore[arg-type]
    talk.get()
    talk.answer(end=True)
    assert house.said("a") == [f"{SET} -> 0", f"{GET} -> 0 :value"]
    assert house.said("b") == [f"{GET} -> 0 :value"]
    assert house.said("c") == [f"{GET} -> 1 :"]  # W19
    other = Talk(house, third)  # type: ignore[arg-type]
    other.get()
    assert house.said("c") == [f"{GET} -> 1 :"] * 2


def test_built_in_properties_win() -> None:
    house = House()
    path = b"request\0path"
    Talk(house, plugin(house, "a", "", call(SET, path, b"/lie"), call(GET, path, OUT, show="bytes"))).get()  # type: ignore[arg-type]
    assert house.said("a") == [f"{SET} -> 0", f"{GET} -> 0 :/"]


def test_W3_properties_are_bounded() -> None:
    house = House()
    steps = [call(SET, b"p%d" % number, b"v") for number in range(101)]
    steps += [call(SET, b"big", 0, 100_000), call(SET, 0, 5000, b"v"), call(GET, 0, 5000, OUT)]
    Talk(house, plugin(house, "a", "", *steps)).get()  # type: ignore[arg-type]
    assert [line.rpartition(" ")[2] for line in house.said("a")] == ["0"] * 100 + ["10", "2", "2", "1"]


def test_a_root_context_cannot_set() -> None:
    house = House()
    house.plugin(
        Guest().on("proxy_on_configure", call(SET, b"a", b"b"), call(GET, b"plugin_name", OUT, show="bytes"))
    )
    assert house.said() == [f"{SET} -> 1", f"{GET} -> 0 :probe"]


def test_foreign_functions() -> None:
    house = House()
    foreign = "proxy_call_foreign_function"
    steps = (
        call(foreign, b"clear_route_cache", b"", OUT),
        call(foreign, b"clear_route_cache", b"", 0, 0),
        call(foreign, b"compress", b"x", OUT),
    )
    Talk(house, plugin(house, "a", "", *steps)).get()  # type: ignore[arg-type]
    assert [line[-1] for line in house.said("a")] == ["0", "0", "1"]
