from __future__ import annotations

import time

import grpc
import pytest

from sidecar.runtime.otlp_client import MAX_ANSWER, make_client, parse_headers, settings_from
from sidecar.telemetry.otlp import Encoder
from sidecar.telemetry.span import SERVER, Span
from tests.support.otlp import black_hole, closed_port, dripping, grpc_receiver, http_receiver

SPAN = Span(b"\x01" * 16, b"\x02" * 8, None, SERVER, 5, is_sampled=True)
SPAN.name = "GET private"
BODY = Encoder({"service.name": "orders"}).request([SPAN])
RECEIVERS = {"grpc": grpc_receiver, "http/protobuf": http_receiver}
BOTH = pytest.mark.parametrize("protocol", list(RECEIVERS))


def client_to(endpoint, protocol, **environ):
    named = {f"OTEL_EXPORTER_OTLP_{name.upper()}": value for name, value in environ.items()}
    return make_client(settings_from(endpoint, protocol, named), "loom-sidecar/test")


def send(endpoint, protocol, timeout=20.0, **environ):
    client = client_to(endpoint, protocol, **environ)
    try:
        return client.send(BODY, timeout)
    finally:
        client.close()


@BOTH
def test_a_receiver_takes_the_batch(protocol):
    with RECEIVERS[protocol]() as received:
        assert send(received.endpoint, protocol) == ("", 0, False, 0.0)
        assert [span.name for span in received.spans] == ["GET private"]
        assert received.services == {"orders"}


@BOTH
def test_headers_and_compression_come_from_the_environment(protocol):
    with RECEIVERS[protocol]() as received:
        answer = send(received.endpoint, protocol, headers="X-Key=a%20b,other=2", compression="gzip")
        assert not answer.error
        assert received.headers[0]["x-key"] == "a b" and received.headers[0]["other"] == "2"
        assert received.headers[0]["user-agent"].startswith("loom-sidecar/test")


@BOTH
def test_a_partial_success_is_told(protocol):
    with RECEIVERS[protocol]() as received:
        received.rejected = 1
        assert send(received.endpoint, protocol).rejected == 1


@BOTH
def test_unavailable_may_be_tried_again(protocol):
    with RECEIVERS[protocol]() as received:
        received.fail_next = 1
        client = client_to(received.endpoint, protocol)
        assert client.send(BODY, 20).may_retry
        assert not client.send(BODY, 20).error
        client.close()


def test_a_refusal_for_good_is_one():
    with grpc_receiver() as received:
        received.fail_forever = grpc.StatusCode.UNAUTHENTICATED
        answer = send(received.endpoint, "grpc")
        assert (answer.error, answer.may_retry) == ("grpc UNAUTHENTICATED", False)
    with http_receiver() as received:
        received.fail_forever = 401
        assert send(received.endpoint, "http/protobuf")[:3] == ("http 401", 0, False)


@BOTH
def test_O1_nobody_listens(protocol):
    answer = send(closed_port(), protocol, timeout=5.0)
    assert answer.error and answer.may_retry


@BOTH
def test_O1_a_black_hole_costs_the_timeout_and_no_more(protocol):
    with black_hole() as endpoint:
        before = time.monotonic()
        answer = send(endpoint, protocol, timeout=0.5)
        assert answer.error and answer.may_retry
        assert time.monotonic() - before < 15


def test_O1_one_byte_at_a_time_costs_the_timeout_and_no_more():
    with dripping() as endpoint:
        before = time.monotonic()
        assert send(endpoint, "http/protobuf", timeout=1.0).error
        assert time.monotonic() - before < 15


def respond(status, body=b"", **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def test_O1_retry_after_is_read_as_seconds_or_as_a_date():
    with http_receiver(respond(503, retry_after="3600")) as received:
        assert send(received.endpoint, "http/protobuf").retry_after == 3600
    with http_receiver(respond(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")) as received:
        assert send(received.endpoint, "http/protobuf")[1:] == (0, True, 0.0)
    with http_receiver(respond(503, retry_after="soon")) as received:
        assert send(received.endpoint, "http/protobuf").retry_after == 0.0


def test_O1_a_redirect_is_not_followed():
    with http_receiver() as other:
        with http_receiver(respond(307, location=other.endpoint + "/v1/traces")) as received:
            assert send(received.endpoint, "http/protobuf")[:3] == ("http 307", 0, False)
        assert other.calls == 0


def test_O1_an_endless_answer_is_read_to_a_limit_only():
    sent = 0

    def flood(handler):
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(16_384):
                sent += handler.wfile.write(bytes(65_536))
        except OSError:
            pass
        return True

    with http_receiver(flood) as received:
        assert not send(received.endpoint, "http/protobuf").error
    assert sent < 1 << 28 and MAX_ANSWER < 1 << 20


def test_O1_an_answer_that_is_no_http_is_a_failure():
    with grpc_receiver() as received:
        assert send(received.endpoint, "http/protobuf", timeout=5.0).error


def test_O1_tls_that_cannot_be_trusted_is_no_reason_to_try_again():
    with http_receiver() as received:
        answer = send(received.endpoint.replace("http:", "https:"), "http/protobuf", timeout=10.0)
        assert answer.error.startswith("tls") and not answer.may_retry


def test_settings_come_from_the_configuration_then_the_environment_then_the_specification():
    assert settings_from(None, None, {})[:2] == ("http://localhost:4317", "grpc")
    assert settings_from("", "http/protobuf", {}).endpoint == "http://localhost:4318/v1/traces"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/base", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert settings_from(None, None, environ).endpoint == "http://c:4318/base/v1/traces"
    exact = {**environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/exact"}
    assert settings_from(None, None, exact).endpoint == "http://c:4318/exact"
    assert settings_from("http://mine:1/v1/traces", None, exact).endpoint == "http://mine:1/v1/traces"
    assert settings_from("collector:4317", "grpc", exact).endpoint == "http://collector:4317"
    assert settings_from(None, None, {"OTEL_EXPORTER_OTLP_TIMEOUT": "3"}).timeout == 3.0
    assert settings_from(None, None, {"OTEL_EXPORTER_OTLP_TIMEOUT": "x"}).timeout == 10.0


def test_a_protocol_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="not available"):
        settings_from(None, "http/json", {})


def test_header_lists_are_read_leniently():
    assert parse_headers("A=1, b = x%2Cy ,broken,=3,c==") == {"a": "1", "b": "x,y", "c": "="}
