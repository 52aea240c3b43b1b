from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

from sidecar.address import Address
from sidecar.admin.http import AdminServer
from tests.support.admin import FakeState, admin_server, get, raw


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def server(state, tmp_path):
    with admin_server(state, tmp_path) as server:
        yield server


def test_each_address_has_its_own_pages(server):
    assert get(server.addresses["metrics"], "/metrics")[1].endswith("loom_x 1\n")
    assert get(server.addresses["metrics"], "/healthz/live")[0] == 404
    assert get(server.addresses["health"], "/healthz/live")[0] == 200
    assert get(server.addresses["health"], "/config")[0] == 404
    for page in ("/", "/config", "/routes", "/upstreams", "/plugins", "/stats", "/certs"):
        assert get(server.addresses["admin"], page)[0] == 200, page


def test_readiness_follows_the_state(server, state):
    health = server.addresses["health"]
    assert get(health, "/healthz/ready")[0] == 200
    state.is_ready = False
    assert get(health, "/healthz/ready")[0] == 503
    assert get(health, "/healthz/live")[0] == get(health, "/healthz/started")[0] == 200


def test_metrics_and_health_take_any_host(server):
    assert get(server.addresses["metrics"], "/metrics", host="pod.example:15020")[0] == 200
    assert get(server.addresses["health"], "/healthz/ready", host="10.1.2.3:15021")[0] == 200


def test_head_answers_without_a_body(server):
    status, answer = get(server.addresses["health"], "/healthz/live", method="HEAD")
    assert (status, answer.endswith("\r\n\r\n"), "Content-Length: 3" in answer) == (200, True, True)


def test_a_metrics_page_is_made_once_for_scrapes_that_come_together(server, state, monkeypatch):
    monkeypatch.setattr("sidecar.admin.http.METRICS_AGE", 3600.0)
    for _ in range(5):
        get(server.addresses["metrics"], "/metrics")
    assert state.renders == 1


def test_the_unix_socket_takes_changes(server, state, tmp_path):
    path = str(tmp_path / "admin.sock")
    assert "generation 2" in get(path, "/reload", method="POST")[1]
    assert get(path, "/drain", method="POST")[0] == 202
    assert state.changes == ["reload", "drain"]
    state.reload_answer = (False, "sidecar.yaml:3: listeners: is missing")
    status, answer = get(path, "/reload", method="POST")
    assert status == 409 and "sidecar.yaml:3" in answer
    assert get(path, "/metrics")[0] == get(path, "/stats")[0] == 200


def test_a_page_that_fails_is_a_500_and_nothing_more(server, state):
    state.pages.pop("routes")
    assert get(server.addresses["admin"], "/routes")[0] == 500
    assert get(server.addresses["admin"], "/stats")[0] == 200


def test_health_answers_while_a_page_takes_its_time(server, state):
    entered, release = threading.Event(), threading.Event()

    def slow():
        entered.set()
        release.wait(30)
        return {}

    state.stats = slow
    asking = threading.Thread(target=get, args=(server.addresses["admin"], "/stats"))
    asking.start()
    assert entered.wait(30)
    assert get(server.addresses["health"], "/healthz/live")[0] == 200
    release.set()
    asking.join(30)


def test_the_sockets_file_goes_with_the_server(state, tmp_path):
    with admin_server(state, tmp_path):
        assert (tmp_path / "admin.sock").exists()
    assert not (tmp_path / "admin.sock").exists()


def test_blocks_that_name_the_same_address_share_it(state, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        same = Address("127.0.0.1", probe.getsockname()[1])
    block = SimpleNamespace(address=same, socket=None)
    server = AdminServer(SimpleNamespace(address=None, socket=None), block, block, state)
    server.start()
    try:
        assert get(same, "/metrics")[0] == get(same, "/healthz/ready")[0] == 200
    finally:
        server.close()


def test_an_address_in_use_is_an_error_that_names_it(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        nothing = SimpleNamespace(address=None, socket=None)
        server = AdminServer(nothing, SimpleNamespace(address=address), nothing, state)
        with pytest.raises(OSError, match=str(address.port)):
            server.start()


def test_a_socket_that_cannot_be_made_is_a_problem_but_no_failure(state, tmp_path):
    (tmp_path / "file").write_text("")
    here = SimpleNamespace(address=Address("127.0.0.1", 0))
    admin = SimpleNamespace(address=None, socket=str(tmp_path / "file" / "admin.sock"))
    server = AdminServer(admin, here, here, state)
    (problem,) = server.start()
    assert "admin socket" in problem
    assert get(server.addresses["health"], "/healthz/live")[0] == 200
    server.close()


def test_a_client_that_leaves_half_way_leaves_nothing_behind(server):
    with socket.create_connection(server.addresses["health"]) as sock:
        sock.sendall(b"GET /healthz")
    assert raw(server.addresses["health"], b"GET /healthz/live HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
