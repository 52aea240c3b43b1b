"""Contract section 6: every way in which a request fails, as the client, the log and the counters see it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Pair
from tests.support import faulty_plugins
from tests.support.raw_app import AppConnection, Seen, echo, raw_app
from tests.support.raw_client import Answer, Client, ask, get
from tests.support.sidecar_process import plugin, sidecar, sidecar_config
from tests.support.wait import eventually

GRPC = "Content-Type: application/grpc"
OWN = [(b"WWW-Authenticate", b"Own"), (b"X-Own", b"\xc3\xa4")]


def moody(connection: AppConnection, seen: Seen) -> None:
    """Does what the path says."""
    if seen.target == b"/hang":
        connection.read_some()
    elif seen.target == b"/reset":
        connection.read_body(seen)
        connection.cut()
    elif seen.target == b"/slow-head":
        connection.send(b"HTTP/1.1 200 OK\r\nContent-")
        connection.read_some()
    else:
        echo(connection, seen)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("faults")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with raw_app(moody) as app:
        plugins = [
            plugin("loop", faulty_plugins.build(folder, "loop", faulty_plugins.LOOP), timeout="50ms"),
            plugin("trap", faulty_plugins.build(folder, "trap", faulty_plugins.TRAP)),
            plugin("second", faulty_plugins.build(folder, "second", faulty_plugins.TRAP_SECOND)),
            plugin("late", faulty_plugins.build(folder, "late", faulty_plugins.TRAP, phase="response")),
            plugin("open", faulty_plugins.build(folder, "open", faulty_plugins.TRAP), on_failure="open"),
            plugin("guard", "json-guard", max_body=1000),
            plugin("teapot", faulty_plugins.replying(folder, "teapot", 401, OWN, b"own body")),
        ]
        for entry in plugins:
            entry["direction"] = "inbound"
        paths = [entry["name"] for entry in plugins]
        config = sidecar_config(
            app.port,
            upstreams={"dead": closed, "narrow": app.port},
            plugins=plugins,
            routes=[
                *({"id": name, "path": f"/{name}", "upstream": "app", "plugins": [name]} for name in paths),
                {"id": "dead", "path": "/dead", "upstream": "dead", "plugins": []},
                {"id": "narrow", "host": "narrow.test", "upstream": "narrow", "plugins": []},
                {"id": "hang", "path": "/hang", "upstream": "app", "plugins": [], "timeout": "300ms"},
                {"id": "slow-head", "path": "/slow-head", "upstream": "app", "plugins": [], "timeout": "300ms"},
                {"id": "rest", "direction": "inbound", "path": "/*", "upstream": "app", "plugins": []},
            ],
            limits={"body_grace": "500ms", "header_timeout": "500ms"},
        )
        config["upstreams"][-1]["max_requests"] = 1
        config["listeners"][1].pop("upstream")
        with sidecar(folder, config) as running:
            yield Pair(app, running)
            assert "internal error" not in running.log_text


def _request(pair: Pair, path: str, *fields: str, direction: str = "inbound", body: bytes = b"") -> Answer:
    request = get(path, *fields, method="POST" if body else "GET", body=body)
    return ask(pair.sidecar.ports[direction], request)


CASES = [
    # path, listener, status, code, grpc-status
    pytest.param("/none", "outbound", 404, "no_route", "12", id="no_route"),
    pytest.param("/a/../b", "inbound", 400, "bad_request", "13", id="bad_request"),
    pytest.param("/dead", "inbound", 503, "upstream_connect", "14", id="upstream_connect"),
    pytest.param("/reset", "inbound", 502, "upstream_reset", "14", id="upstream_reset"),
    pytest.param("/hang", "inbound", 504, "upstream_timeout", "4", id="upstream_timeout"),
    pytest.param("/slow-head", "inbound", 504, "upstream_timeout", "4", id="upstream_timeout-head"),
    pytest.param("/loop", "inbound", 503, "plugin_timeout", "14", id="plugin_timeout"),
    pytest.param("/trap", "inbound", 503, "plugin_failed", "14", id="plugin_failed"),
    pytest.param("/late", "inbound", 503, "plugin_failed", "14", id="plugin_failed-response"),
]


@pytest.mark.parametrize(("path", "direction", "status", "code", "grpc"), CASES)
def test_failure_has_its_status_and_code(
    faults: Pair, path: str, direction: str, status: int, code: str, grpc: str
) -> None:
    answer = _request(faults, path, direction=direction)
    assert answer.refusal == (status, code)
    assert answer.end == "whole"
    lines = eventually(lambda: [line for line in faults.sidecar.access_lines() if line.get("path") == path])
    assert (lines[-1]["status"], lines[-1]["error"]) == (status, code)


@pytest.mark.parametrize(("path", "direction", "status", "code", "grpc"), CASES)
def test_grpc_caller_gets_trailers_only(
    faults: Pair, path: str, direction: str, status: int, code: str, grpc: str
) -> None:
    answer = _request(faults, path, GRPC, direction=direction)
    assert answer.status == 200
    assert (answer.get("grpc-status"), answer.error, answer.body) == (grpc, code, b"")
    assert (answer.get("content-type") or "").startswith("application/grpc")


def test_body_too_large(faults: Pair) -> None:
    body = b'"' + b"x" * 2000 + b'"'
    assert _request(faults, "/guard", body=body).refusal == (413, "body_too_large")
    assert _request(faults, "/guard", body=b'"fits"').status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 413)])
def test_B1_body_at_the_limit(faults: Pair, framing: str, size: int, status: int) -> None:
    body = b'"' + b"x" * (size - 2) + b'"'
    if framing == "length":
        answer = _request(faults, "/guard", body=body)
    else:
        head = b"POST /guard HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = ask(faults.sidecar.inbound, head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
    assert answer.status == status
    if status == 200:
        assert answer.body.endswith(body)


def test_headers_too_large(faults: Pair) -> None:
    assert _request(faults, "/", "X: " + "y" * 70_000).refusal == (431, "headers_too_large")


def test_request_timeout(faults: Pair) -> None:
    with Client(faults.sidecar.inbound) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx")
        assert client.read_answer().refusal == (408, "request_timeout")


def test_overloaded(faults: Pair) -> None:
    """One request at a time fits through this upstream."""
    waiting = []

    def hold(connection: AppConnection, seen: Seen) -> None:
        waiting.append(seen)
        connection.read_some()

    faults.app.script = hold
    try:
        with Client(faults.sidecar.inbound) as first:
            first.send(get("/narrow", host="narrow.test"))
            eventually(lambda: waiting)
            answer = ask(faults.sidecar.inbound, get("/narrow", host="narrow.test"))
            assert answer.refusal == (503, "overloaded")
            assert answer.get("retry-after")
            first.cut()
    finally:
        faults.app.script = moody
    eventually(lambda: ask(faults.sidecar.inbound, get("/narrow", host="narrow.test")).status == 200)


def test_plugins_own_answer_is_exactly_that(faults: Pair) -> None:
    faults.app.reset()
    faults.app.script = moody
    answer = _request(faults, "/teapot")
    assert (answer.status, answer.body, answer.error) == (401, b"own body", "")
    assert answer.get("www-authenticate") == "Own"
    assert answer.fields.count((b"X-Own", b"\xc3\xa4")) + answer.fields.count((b"x-own", b"\xc3\xa4")) == 1
    assert not faults.app.requests
    line = eventually(lambda: [each for each in faults.sidecar.access_lines() if each.get("path") == "/teapot"])[0]
    assert "error" not in line


def test_plugins_own_answer_to_a_grpc_caller(faults: Pair) -> None:
    answer = _request(faults, "/teapot", GRPC)
    assert (answer.status, answer.get("grpc-status"), answer.get("grpc-message")) == (200, "16", "own body")


def test_looping_plugin_hurts_no_other_route(faults: Pair) -> None:
    with contextlib.ExitStack() as stack:
        loops = [stack.enter_context(Client(faults.sidecar.inbound)) for _ in range(4)]
        for client in loops:
            client.send(get("/loop"))
        for number in range(20):
            assert _request(faults, f"/free/{number}").status == 200
        for client in loops:
            answer = client.read_answer()
            assert answer.status == 503
            assert answer.error in ("plugin_timeout", "plugin_failed")
    faults.sidecar.wait_for_metric(0, "loom_plugin_errors_total", plugin="loop", error="timeout")


def test_trapping_plugin_is_replaced_for_the_next_request(faults: Pair) -> None:
    """Each instance serves one request and traps at the second; the third meets a new one."""
    before = faults.sidecar.metric("loom_plugin_restarts_total", plugin="second")
    assert [_request(faults, "/second").status for _ in range(3)] == [200, 503, 200]
    faults.sidecar.wait_for_metric(before, "loom_plugin_restarts_total", plugin="second")
    assert faults.sidecar.metric("loom_plugin_errors_total", plugin="second", error="trap") >= 1


def test_failure_that_is_let_pass_is_counted(faults: Pair) -> None:
    assert _request(faults, "/open").status == 200
    faults.sidecar.wait_for_metric(0, "loom_plugin_passed_by_policy_total", plugin="open", cause="trap")


def test_100_continue_is_said_by_us_when_a_plugin_holds_the_body(faults: Pair) -> None:
    faults.app.reset()
    faults.app.script = moody
    with Client(faults.sidecar.inbound) as client:
        client.send(b"POST /guard HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
        assert client.read_answer_head().status == 100
        client.send(b'"held"')
        assert client.read_answer().body.endswith(b'"held"')
        assert client.send(get("/next")).read_answer().status == 200


def test_B3_client_that_leaves_while_its_body_is_held(faults: Pair) -> None:
    before = len(faults.sidecar.access_lines())
    client = Client(faults.sidecar.inbound)
    client.send(b'POST /guard HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"half')
    client.cut()
    line = eventually(
        lambda: [each for each in faults.sidecar.access_lines()[before:] if each.get("path") == "/guard"]
    )[0]
    assert line["bytes_in"] <= 5
    assert _request(faults, "/guard", body=b'"whole"').status == 200


def test_B2_held_bodies_have_one_budget(tmp_path: Path) -> None:
    """Many requests that are each within their limit together are not."""
    with raw_app() as app:
        config = sidecar_config(app.port, plugins=[plugin("guard", "json-guard", max_body=100_000)])
        config["limits"] = {"held_bodies": 200_000}
        with sidecar(tmp_path, config) as running, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(running.inbound)) for _ in range(4)]
            for client in clients:
                client.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b'"' + b"x" * 80_000)
            running.wait_for_metric(0, "loom_limit_hits_total", limit="hold_budget")
            for client in clients:
                client.send(b"x" * 9_998 + b'"')
            refusals = [client.read_answer().refusal for client in clients]
            assert set(refusals) == {(200, ""), (503, "overloaded")}
            assert ask(running.inbound, get("/after", method="POST", body=b"{}")).status == 200
