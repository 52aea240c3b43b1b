from __future__ import annotations

from sidecar.proxy.site import Snapshot
from sidecar.route.entry import RouteEntry
from tests.support.connections import GET, Scene


def test_a_route_has_its_own_chain_and_everything_else_the_whole_one():
    own, whole, refusals = object(), object(), object()
    snapshot = Snapshot(3, None, {"private": own}, whole, refusals)  # type: ignore[arg-type,dict-item]
    assert snapshot.chain(RouteEntry("private", [("app", 1)])) is own
    assert snapshot.chain(RouteEntry("public", [("app", 1)])) is whole
    assert snapshot.chain(RouteEntry("", [("app", 1)])) is whole
    assert snapshot.chain(None) is whole


def test_connections_are_counted_while_they_live():
    scene = Scene()
    first, _ = scene.connect()
    scene.connect()
    assert scene.gauge("active") == scene.site.open_count == 2
    first.connection_lost(None)
    assert scene.gauge("active") == scene.site.open_count == 1


def test_a_drain_moves_them_to_another_state_and_back_to_nothing():
    scene = Scene()
    first, _ = scene.connect()
    scene.site.begin_drain()
    scene.site.begin_drain()
    late, _ = scene.connect()
    assert (scene.gauge("active"), scene.gauge("draining")) == (0, 2)
    first.connection_lost(None)
    late.connection_lost(None)
    assert (scene.gauge("active"), scene.gauge("draining")) == (0, 0)


class TestS8AFullListener:
    def test_refuses_everybody_when_nobody_is_greedy(self):
        scene = Scene(most=4)
        for number in range(4):
            scene.connect(f"10.0.0.{number}")
        late, transport = scene.connect("10.0.0.8")
        late.data_received(GET % b"x")
        assert transport.sent.startswith(b"HTTP/1.1 503 ")

    def test_refuses_the_greedy_one_and_lets_others_in(self):
        scene = Scene(most=4)
        for _ in range(3):
            scene.connect("10.0.0.1")
        scene.connect("10.0.0.2")
        more, refused = scene.connect("10.0.0.1")
        more.data_received(GET % b"x")
        assert refused.sent.startswith(b"HTTP/1.1 503 ")
        other, served = scene.connect("10.0.0.3")
        other.data_received(GET % b"x")
        assert served.sent == b""
        assert scene.apps[-1].exchange.record.path == b"/x"

    def test_forgets_the_greed_of_one_who_has_left(self):
        scene = Scene(most=4)
        held = [scene.connect("10.0.0.1")[0] for _ in range(3)]
        for manager in held:
            manager.connection_lost(None)
        for number in range(4):
            scene.connect(f"10.0.0.{number}")
        late, transport = scene.connect("10.0.0.1")
        late.data_received(GET % b"x")
        assert transport.sent.startswith(b"HTTP/1.1 503 ")

    def test_lets_a_single_peer_have_all_of_it(self):
        scene = Scene(most=4)
        managers = [scene.connect("127.0.0.1") for _ in range(4)]
        managers[3][0].data_received(GET % b"x")
        assert managers[3][1].sent == b""
        late, transport = scene.connect("127.0.0.1")
        late.data_received(GET % b"x")
        assert transport.sent.startswith(b"HTTP/1.1 503 ")


def test_cut_ends_every_connection():
    scene = Scene()
    ends = [scene.connect()[1] for _ in range(3)]
    scene.site.cut()
    assert [transport.ends for transport in ends] == [["abort"]] * 3
