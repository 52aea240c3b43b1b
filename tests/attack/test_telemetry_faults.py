"""Group O: collectors that are down, dumb or hostile, logs that nobody reads, series and secrets of strangers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.otlp import black_hole, closed_port, dripping, http_receiver
from tests.support.raw_app import raw_app, saying
from tests.support.raw_client import Client, ask, get
from tests.support.sidecar_process import Sidecar, plugin, sidecar, sidecar_config
from tests.support.wait import eventually

COUNT = 300


def misbehaving(answer: Callable[[BaseHTTPRequestHandler], None]) -> AbstractContextManager[str]:
    """An OTLP/HTTP endpoint that answers in its own way."""

    def act(handler: BaseHTTPRequestHandler) -> bool:
        answer(handler)
        return True

    @contextmanager
    def receiver() -> Iterator[str]:
        with http_receiver(act) as received:
            yield received.endpoint

    return receiver()


def _busy(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(503)
    handler.send_header("retry-after", "3600")
    handler.end_headers()


def _huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(1 << 30))
    handler.end_headers()
    for _ in range(1 << 14):
        handler.wfile.write(b"x" * 65536)


def _elsewhere(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(307)
    handler.send_header("location", "http://127.0.0.1:1/other")
    handler.end_headers()


def _junk(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/x-protobuf")
    handler.send_header("content-length", "8")
    handler.end_headers()
    handler.wfile.write(b"\xff" * 8)


@contextmanager
def _down() -> Iterator[str]:
    yield closed_port()


FAULTS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "down": _down,
    "black-hole": black_hole,
    "one-byte-at-a-time": dripping,
    "retry-after-an-hour": lambda: misbehaving(_busy),
    "answer-of-1GB": lambda: misbehaving(_huge),
    "redirect": lambda: misbehaving(_elsewhere),
    "broken-protobuf": lambda: misbehaving(_junk),
}


def _spans(running: Sidecar) -> dict[str, float]:
    results = ("exported", "dropped", "failed")
    return {result: running.metric("loom_otlp_spans_total", result=result) for result in results}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("fault", FAULTS)
def test_O1_O2_broken_collector_slows_nothing_and_the_end_is_in_time(
    tmp_path: Path, fault: str, protocol: str
) -> None:
    with FAULTS[fault]() as endpoint, raw_app() as app:
        config = sidecar_config(app.port, tracing={"endpoint": endpoint, "protocol": protocol, "sample_rate": 1.0})
        with sidecar(tmp_path, config) as running, Client(running.inbound) as client:
            before = running.rss
            slowest = 0.0
            for number in range(COUNT):
                began = time.monotonic()
                assert client.send(get(f"/{number}")).read_answer().status == 200
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 2, "a request waited for the collector"
            assert running.rss - before < 48 << 20
            assert sum(_spans(running).values()) <= COUNT
            client.sock.close()
            began = time.monotonic()
            assert running.terminate() == 0
            assert time.monotonic() - began < 2 + 1 + 2, "drain timeout, a second, and what a loaded machine takes"


def test_O1_every_span_is_sent_dropped_or_failed(tmp_path: Path) -> None:
    with http_receiver() as received, raw_app() as app:
        config = sidecar_config(app.port, tracing={"endpoint": received.endpoint, "protocol": "http/protobuf"})
        with sidecar(tmp_path, config) as running, Client(running.inbound) as client:
            for number in range(COUNT):
                assert client.send(get(f"/{number}")).read_answer().status == 200
            eventually(lambda: sum(_spans(running).values()) == COUNT)
            assert _spans(running) == {"exported": COUNT, "dropped": 0, "failed": 0}
            assert len(received.spans) == COUNT
            received.fail_forever = 400
            for number in range(COUNT):
                assert client.send(get(f"/{number}")).read_answer().status == 200
            eventually(lambda: sum(_spans(running).values()) == 2 * COUNT)
            assert _spans(running)["failed"] + _spans(running)["dropped"] == COUNT


def test_O3_strangers_cannot_make_series(tmp_path: Path) -> None:
    """Methods, paths and hosts without number; then statuses until the cap."""
    with raw_app() as app:
        config = sidecar_config(app.port, metrics={"max_series": 600})
        with sidecar(tmp_path, config) as running, Client(running.inbound) as client:
            for number in range(400):
                client.send(get(f"/path/{number}", method=f"METHOD{number}", host=f"host-{number}.test"))
                assert client.read_answer().status == 200
            eventually(lambda: running.metric("loom_requests_total", method="_OTHER") == 400)
            names = {name for name, _ in running.metrics()}
            assert not [name for name in names if "host-" in name]
            for status in range(200, 600):
                app.script = saying(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
                client.send(get("/"))
                client.read_answer()
            eventually(lambda: running.metric("loom_requests_total", status="other") > 0)
            assert len(running.metrics()) <= 600
            assert running.metric("loom_requests_total") == 800


class _StoppedReader:
    """A pipe as standard output; ``fd`` goes to the process."""

    def __init__(self) -> None:
        self.reader, self.fd = os.pipe()

    def close(self) -> None:
        for fd in (self.reader, self.fd):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.mark.parametrize("is_closed", [False, True], ids=["nobody-reads", "reader-gone"])
def test_O5_log_that_nobody_reads_holds_up_nothing(tmp_path: Path, is_closed: bool) -> None:
    pipe = _StoppedReader()
    try:
        with raw_app() as app:
            config = sidecar_config(app.port, access_log={"path": "/dev/stdout"})
            with sidecar(tmp_path, config, stdout=pipe.fd) as running, Client(running.inbound) as client:
                if is_closed:
                    os.close(pipe.reader)
                os.close(pipe.fd)
                # Enough lines for the pipe (64 KiB) and the queue behind it (8192 lines) together.
                batch = get("/" + "x" * 1500) * 20
                for _ in range(500):
                    client.send(batch)
                    for _ in range(20):
                        assert client.read_answer().status == 200
                running.wait_for_metric(0, "loom_limit_hits_total", limit="log_queue")
                assert running.is_alive
                client.sock.close()
                assert running.terminate() == 0
    finally:
        pipe.close()


def test_O5_log_file_that_is_rotated_or_removed_is_made_anew(tmp_path: Path) -> None:
    with raw_app() as app, sidecar(tmp_path, sidecar_config(app.port)) as running:
        running.ask("/before")
        running.access_line("/before")
        running.access_file.rename(tmp_path / "access.log.1")

        def is_written() -> bool:
            running.ask("/after")
            return running.access_file.exists() and "/after" in running.access_file.read_text(encoding="utf-8")

        eventually(is_written)


def test_O6_what_strangers_write_stays_in_one_line_of_the_log(tmp_path: Path) -> None:
    agent = 'a"b\\c</script>\x80\xff \t\'; {"level":"error"}'
    with raw_app() as app, sidecar(tmp_path, sidecar_config(app.port)) as running:
        running.ask("/o6/%22%3Cscript%3E", f"User-Agent: {agent}", host="h-1.test")
        running.ask("/o6/'\"", f"User-Agent: {agent}")
        ask(running.inbound, b"G\x1bT /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n")
        lines = eventually(lambda: found if len(found := running.access_lines()) == 3 else None)
    raw = running.access_file.read_bytes()
    assert raw.count(b"\n") == 3
    assert b"\x1b" not in raw
    assert '"b\\c</script>' in lines[0]["user_agent"]


SECRETS = ("s3cr3t-authorization", "s3cr3t-cookie", "s3cr3t-query", "s3cr3t-answer", "s3cr3t-config", "s3cr3t-proxy")


def test_O7_A4_secrets_are_nowhere(tmp_path: Path) -> None:
    """Not in access log, log, spans, metrics or admin pages."""
    with http_receiver() as received, raw_app() as app:
        app.script = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: s3cr3t-answer\r\n\r\n")
        tracing = {"endpoint": received.endpoint, "protocol": "http/protobuf"}
        guarded = plugin("auth", config={"tokens": ["s3cr3t-config"]}, vm_config="s3cr3t-config")
        route = {"id": "guarded", "path": "/guarded", "upstream": "app", "plugins": ["auth"]}
        open_route = {"id": "open", "path": "/*", "upstream": "app", "plugins": []}
        config = sidecar_config(app.port, tracing=tracing, plugins=[guarded], routes=[route, open_route])
        with sidecar(tmp_path, config) as running:
            fields = (f"Authorization: {SECRETS[0]}", f"Cookie: a={SECRETS[1]}", f"Proxy-Authorization: {SECRETS[5]}")
            assert running.ask(f"/o7?token={SECRETS[2]}", *fields).status == 200
            running.ask(f"/guarded?token={SECRETS[2]}", *fields)
            running.ask(f"/a/../b?token={SECRETS[2]}", *fields)
            received.wait_for(3)
            running.access_line("/o7")
            pages = [
                ask(running.ports["admin"], get(path, host="127.0.0.1")).body.decode("utf-8", "replace")
                for path in ("/", "/config", "/routes", "/upstreams", "/plugins", "/stats")
            ]
            everything = [running.access_file.read_text(encoding="utf-8"), running.log_text, running.stdout_text]
            everything += [running.metrics_page().decode(), *pages, *(str(each) for each in received.requests)]
    found = [(secret, text[:200]) for secret in SECRETS for text in everything if secret in text]
    assert not found


def test_O8_strangers_who_mark_everything_as_sampled_get_a_budget(tmp_path: Path) -> None:
    """At our own rate of 0 only so many a second are recorded because a stranger asked for it."""
    count = 2000
    with http_receiver() as received, raw_app() as app:
        tracing = {"endpoint": received.endpoint, "protocol": "http/protobuf", "sample_rate": 0.0}
        with sidecar(tmp_path, sidecar_config(app.port, tracing=tracing)) as running, Client(running.inbound) as client:
            began = time.monotonic()
            for number in range(count):
                client.send(get("/o8", f"traceparent: 00-{number + 1:032x}-00f067aa0ba902b7-01"))
                client.read_answer()
            seconds = time.monotonic() - began
            received.wait_for(100)
            made = sum(_spans(running).values())
    assert made <= 200 + 100 * (seconds + 3)
    assert made < count


def test_O4_span_of_a_huge_request_is_small(tmp_path: Path) -> None:
    with http_receiver() as received, raw_app() as app:
        tracing = {"endpoint": received.endpoint, "protocol": "http/protobuf"}
        with sidecar(tmp_path, sidecar_config(app.port, tracing=tracing)) as running:
            running.ask("/" + "a" * 15_000, "User-Agent: " + "b" * 30_000, "X-Forwarded-For: " + "1.1.1.1, " * 900)
            span = received.wait_for(1)[0]
    assert span.ByteSize() < 24_000
    assert all(len(each.value.string_value) <= 4096 for each in span.attributes)


def test_scrapes_do_not_hold_up_traffic(tmp_path: Path) -> None:
    with raw_app() as app, sidecar(tmp_path, sidecar_config(app.port)) as running:
        stop = threading.Event()
        pages: list[int] = []

        def scrape() -> None:
            while not stop.is_set():
                pages.append(len(running.metrics_page()))

        scrapers = [threading.Thread(target=scrape) for _ in range(4)]
        for each in scrapers:
            each.start()
        try:
            with Client(running.inbound) as client:
                for number in range(500):
                    assert client.send(get(f"/{number}")).read_answer().body == f"GET /{number} id=\n".encode()
        finally:
            stop.set()
            for each in scrapers:
                each.join()
        assert pages
