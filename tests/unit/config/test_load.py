# ruff: noqa: E501 - a row of a table is a line
"""One table of configurations that are wrong, each with line, path and words of every problem; one of right ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.address import Address
from sidecar.config.load import MAX_PROBLEMS, MAX_WORDS, load
from sidecar.config.model import Config, HeaderEdit, PluginUse
from sidecar.errors import ConfigError

APP = 'upstreams:\n  - {name: app, endpoints: ["127.0.0.1:8080"]}\n'
SERVE = 'listeners:\n  - {name: in, direction: inbound, address: "127.0.0.1:1506", upstream: app}\n' + APP
"""Four lines that serve something."""


def read(folder: Path, *texts: str, environ: dict[str, str] | None = None, exists: bool = True) -> Config:
    files = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        files.append(str(path))
    return load(files, environ or {}, exists=lambda path: exists, quota=lambda: 3)


def problems(folder: Path, *texts: str, exists: bool = True) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as refused:
        read(folder, *texts, exists=exists)
    return [(problem.line, problem.path, problem.message) for problem in refused.value.problems]


def listener(more: str) -> str:
    return f'listeners:\n  - name: in\n    direction: inbound\n    address: "127.0.0.1:1506"\n    {more}\n'


def upstream(more: str) -> str:
    return f"upstreams:\n  - name: app\n    endpoints: [127.0.0.1:80]\n    {more}\n"


def plugin(more: str) -> str:
    return f"plugins:\n  - name: auth\n    path: auth.wasm\n    {more}\n"


def route(more: str) -> str:
    return f"routes:\n  - id: r\n    upstream: app\n    {more}\n"


Wrong = list[tuple[int, str, str]]

WRONG: list[tuple[str, Wrong]] = [
    # --- names of keys
    ("upstreems: []", [(1, "upstreems", "unknown key (did you mean 'upstreams'?)")]),
    ("zzz: 1", [(1, "zzz", "unknown key (known here: access_log")]),
    ("node:\n  servce: x", [(2, "node.servce", "did you mean 'service'")]),
    ("node:\n  Service: x", [(2, "node.Service", "did you mean 'service'")]),
    (listener("adress: x"), [(5, "listeners[0].adress", "did you mean 'address'")]),
    (upstream("endpoint: x"), [(4, "upstreams[0].endpoint", "did you mean 'endpoints'")]),
    (plugin("memory-limit: 1MB"), [(4, "plugins[0].memory-limit", "did you mean 'memory_limit'")]),
    (route("method: GET"), [(4, "routes[0].method", "did you mean 'methods'")]),
    (route("rewrite: {prefix: /, set: {a: b}}"), [(4, "routes[0].rewrite.set", "unknown key")]),
    (route("rewrite: {prefix: /, request_headers: {}}"), [(4, "routes[0].rewrite.request_headers", "in the route")]),
    ("limits: {header_byte: 1}", [(1, "limits.header_byte", "did you mean 'header_bytes'")]),
    ("drain: {dealy: 1s}", [(1, "drain.dealy", "did you mean 'delay'")]),
    ("${X}: 1", [(1, "${X}", "unknown key")]),
    # --- types
    ("workers: two", [(1, "workers", "'two' is not a whole number")]),
    ('workers: "2"', [(1, "workers", "'2' is not a whole number (it stands in quotes)")]),
    ("workers: 1.5", [(1, "workers", "'1.5' is not a whole number")]),
    ("workers: 02", [(1, "workers", "'02' is not a whole number")]),
    ("workers: 0x10", [(1, "workers", "'0x10' is not a whole number")]),
    ("workers: 1_0", [(1, "workers", "'1_0' is not a whole number")]),
    ("workers: 1:30", [(1, "workers", "'1:30' is not a whole number")]),
    ("workers: 12e3", [(1, "workers", "'12e3' is not a whole number")]),
    ("workers: on", [(1, "workers", "'on' is not a whole number")]),
    ("workers: [1]", [(1, "workers", "must be a single value, not a list")]),
    ("workers: {a: 1}", [(1, "workers", "must be a single value, not a mapping")]),
    ("workers: 0", [(1, "workers", "must be at least 1")]),
    ("workers: -1", [(1, "workers", "must be at least 1")]),
    ("workers: 1000", [(1, "workers", "must be at most 256")]),
    ("node: x", [(1, "node", "must be a mapping, not a single value")]),
    ("node: []", [(1, "node", "must be a mapping, not a list")]),
    ("node:\n  service:\n    - x", [(2, "node.service", "must be a single value, not a list")]),
    ("listeners: {}", [(1, "listeners", "must be a list, not a mapping")]),
    ("listeners: [x]", [(1, "listeners[0]", "must be a mapping, not a single value")]),
    ("access_log: {enabled: yes}", [(1, "access_log.enabled", "'yes' is not true or false")]),
    ("access_log: {enabled: on}", [(1, "access_log.enabled", "'on' is not true or false")]),
    ('access_log: {enabled: "true"}', [(1, "access_log.enabled", "'true' is not true or false (it stands in quotes)")]),
    ("access_log: {enabled: True}", [(1, "access_log.enabled", "'True' is not true or false")]),
    ("access_log: {enabled: 1}", [(1, "access_log.enabled", "'1' is not true or false")]),
    ("access_log: {format: jsn}", [(1, "access_log.format", "'jsn' is not 'json' or 'text' (did you mean 'json'?)")]),
    # --- durations, sizes, numbers
    ("drain: {delay: 5}", [(1, "drain.delay", "'5' is not a duration like 50ms, 30s or 5m")]),
    ("drain: {delay: 5 s}", [(1, "drain.delay", "'5 s' is not a duration")]),
    ("drain: {delay: -5s}", [(1, "drain.delay", "'-5s' is not a duration")]),
    ("drain: {delay: 5sec}", [(1, "drain.delay", "'5sec' is not a duration")]),
    ("drain: {delay: 2h}", [(1, "drain.delay", "must be at most 1h")]),
    ("drain:\n  delay: x\n  timeout: y", [(2, "drain.delay", "'x'"), (3, "drain.timeout", "'y'")]),
    ("limits: {header_bytes: 64k}", [(1, "limits.header_bytes", "'64k' is not a size like 16MB or 16MiB")]),
    ("limits: {header_bytes: 16mb}", [(1, "limits.header_bytes", "'16mb' is not a size")]),
    ("limits: {header_bytes: -1}", [(1, "limits.header_bytes", "'-1' is not a size")]),
    ("limits: {header_bytes: 0}", [(1, "limits.header_bytes", "must be at least 1B")]),
    ("limits: {connections: 0}", [(1, "limits.connections", "must be at least 1")]),
    ("limits: {header_timeout: 0}", [(1, "limits.header_timeout", "must be at least 1ms")]),
    ("limits: {pending_handshakes: 5}", [(1, "limits.pending_handshakes", "is not available yet")]),
    ("limits: {per_peer: {}}", [(1, "limits.per_peer", "is not available yet")]),
    ("limits: {connect_allow: [443]}", [(1, "limits.connect_allow", "is not available yet")]),
    ("tracing: {sample_rate: 1.5}", [(1, "tracing.sample_rate", "must be at most 1")]),
    ("tracing: {sample_rate: 50%}", [(1, "tracing.sample_rate", "'50%' is not a number")]),
    ("tracing: {sample_rate: .5}", [(1, "tracing.sample_rate", "'.5' is not a number")]),
    ("tracing: {sample_rate: .inf}", [(1, "tracing.sample_rate", "'.inf' is not a number")]),
    ("tracing: {endpoint: jaeger}", [(1, "tracing.endpoint", "'jaeger' is not a URL like http://collector:4317")]),
    ("tracing: {endpoint: 'ftp://x'}", [(1, "tracing.endpoint", "is not a URL")]),
    ("tracing: {endpoint: 'http://x:99999'}", [(1, "tracing.endpoint", "is not a URL")]),
    ("tracing: {endpoint: 'http://me:pw@x'}", [(1, "tracing.endpoint", "OTEL_EXPORTER_OTLP_HEADERS")]),
    ("tracing: {protocol: http}", [(1, "tracing.protocol", "'http' is not 'grpc' or 'http/protobuf'")]),
    ("tracing: {propagation: [b4]}", [(1, "tracing.propagation", "'b4' is not 'tracecontext'")]),
    # --- addresses
    ("metrics: {address: 15020}", [(1, "metrics.address", "'15020' is not HOST:PORT")]),
    ("metrics: {address: '0.0.0.0:0'}", [(1, "metrics.address", "the port must be 1 to 65535")]),
    ("metrics: {address: '0.0.0.0:65536'}", [(1, "metrics.address", "the port must be 1 to 65535")]),
    ("metrics: {address: '::1:15020'}", [(1, "metrics.address", "goes in brackets, [::1]:15020")]),
    ("metrics: {address: '1.2.3.400:15020'}", [(1, "metrics.address", "'1.2.3.400' is not an IPv4 address")]),
    ("metrics: {address: 'localhost:15020'}", [(1, "metrics.address", "'localhost' is a name")]),
    ("metrics: {max_series: 1}", [(1, "metrics.max_series", "must be at least 100")]),
    ("admin: {address: '0.0.0.0:15000'}", [(1, "admin.address", "the admin pages are for loopback only")]),
    ("admin: {address: '10.0.0.1:15000'}", [(1, "admin.address", "the admin pages are for loopback only")]),
    ("admin: {socket: /" + "x" * 107 + "}", [(1, "admin.socket", "107 bytes")]),
    ("health: {address: '0.0.0.0:15020'}", [(1, "health.address", "is taken by metrics")]),
    # --- listeners
    ("listeners:\n  - direction: inbound\n    address: 127.0.0.1:1", [(2, "listeners[0].name", "is required")]),
    ("listeners:\n  - name: a\n    address: 127.0.0.1:1", [(2, "listeners[0].direction", "is required: 'inbound'")]),
    ("listeners:\n  - name: a\n    direction: inbound", [(2, "listeners[0].address", "is required")]),
    ("listeners:\n  - name:\n    direction: outbound\n    address: 127.0.0.1:1", [(2, "listeners[0].name", "is required")]),
    ("listeners:\n  - {name: a, direction: in, address: '127.0.0.1:1'}", [(2, "listeners[0].direction", "'in' is not")]),
    ("listeners:\n  - {name: a, direction: outbound, address: []}", [(2, "listeners[0].address", "names no address")]),
    (
        "listeners:\n  - name: a\n    direction: outbound\n    address:\n      - 127.0.0.1:1\n      - 127.0.0.1:1",
        [(6, "listeners[0].address[1]", "127.0.0.1:1 stands here twice")],
    ),
    ("listeners:\n  - {name: a b, direction: outbound, address: '127.0.0.1:1'}", [(2, "listeners[0].name", "a space")]),
    (listener("protocol: http2"), [(5, "listeners[0].protocol", "'http2' is not available yet; use 'auto' or 'http'")]),
    (listener("protocol: http3"), [(5, "listeners[0].protocol", "'http3' is not available yet")]),
    (listener("protocol: tcp"), [(5, "listeners[0].protocol", "'tcp' is not available yet")]),
    (listener("protocol: htp"), [(5, "listeners[0].protocol", "(did you mean 'http'?)")]),
    (listener("original_dst: redirect"), [(5, "listeners[0].original_dst", "'redirect' is not available yet")]),
    (listener("original_dst: tproxy"), [(5, "listeners[0].original_dst", "'tproxy' is not available yet")]),
    (listener("tls: {mode: strict}"), [(5, "listeners[0].tls.mode", "'strict' is not available yet; use 'disable'")]),
    (listener("tls: {mode: permissive}"), [(5, "listeners[0].tls.mode", "'permissive' is not available yet")]),
    (listener("tls: {mode: off}"), [(5, "listeners[0].tls.mode", "'off' is not 'disable'")]),
    (listener("tls: {}"), [(5, "listeners[0].tls.mode", "is required")]),
    (listener("upstream: ap") + APP, [(5, "listeners[0].upstream", "no upstream 'ap' (did you mean 'app'?)")]),
    (
        SERVE + "metrics: {address: '127.0.0.1:1506'}",
        [(2, "listeners[0].address", "127.0.0.1:1506 is taken by metrics")],
    ),
    (SERVE.replace("127.0.0.1:1506", "0.0.0.0:15000"), [(2, "listeners[0].address", "taken by admin (127.0.0.1:15000)")]),
    (
        SERVE.replace("upstreams", "  - {name: in, direction: outbound, address: '127.0.0.1:7'}\nupstreams"),
        [(3, "listeners[1].name", "'in' is taken by listeners[0]")],
    ),
    # --- upstreams
    ("upstreams:\n  - name: a", [(2, "upstreams[0].endpoints", "is required")]),
    ("upstreams:\n  - {name: a, endpoints: []}", [(2, "upstreams[0].endpoints", "names no endpoint")]),
    ("upstreams:\n  - {name: a, endpoints: x:1}", [(2, "upstreams[0].endpoints", "must be a list")]),
    ("upstreams:\n  - {name: a, endpoints: ['http://x:1']}", [(2, "upstreams[0].endpoints[0]", "http://x")]),
    ("upstreams:\n  - {name: a, endpoints: ['x y:1']}", [(2, "upstreams[0].endpoints[0]", "nor a host name")]),
    ("upstreams:\n  - {name: a, endpoints: [{host: x}]}", [(2, "upstreams[0].endpoints[0].port", "is required")]),
    (
        "upstreams:\n  - {name: a, endpoints: [{host: x, port: 1, wieght: 1}]}",
        [(2, "upstreams[0].endpoints[0].wieght", "did you mean 'weight'")],
    ),
    (
        "upstreams:\n  - {name: a, endpoints: [{host: x, port: 1, weight: 0}]}",
        [(2, "upstreams[0].endpoints[0].weight", "must be at least 1")],
    ),
    ("upstreams:\n  - {name: a, endpoints: [x:1, x:1]}", [(2, "upstreams[0].endpoints[1]", "stands here twice")]),
    ("upstreams:\n  - {name: a, endpoints: [[x]]}", [(2, "upstreams[0].endpoints[0]", "must be HOST:PORT or")]),
    (APP + '  - {name: app, endpoints: ["x:1"]}', [(3, "upstreams[1].name", "'app' is taken by upstreams[0]")]),
    (upstream("protocol: http2"), [(4, "upstreams[0].protocol", "'http2' is not available yet; use 'auto' or 'http1'")]),
    (upstream("load_balancer: ring_hash"), [(4, "upstreams[0].load_balancer", "'ring_hash' is not available yet")]),
    (upstream("load_balancer: robin"), [(4, "upstreams[0].load_balancer", "did you mean 'round_robin'")]),
    (upstream("tls: {mode: mesh, expect: x}"), [(4, "upstreams[0].tls.mode", "yet"), (4, "upstreams[0].tls.expect", "yet")]),
    (upstream("tls: {mode: simple}"), [(4, "upstreams[0].tls.mode", "'simple' is not available yet")]),
    (upstream("match: {cidrs: [10.0.0.0/8]}"), [(4, "upstreams[0].match.cidrs", "is not available yet")]),
    (upstream("match: {ports: [80]}"), [(4, "upstreams[0].match.ports", "is not available yet")]),
    (upstream("match: {hosts: [a/b]}"), [(4, "upstreams[0].match.hosts", "'a/b' is not a host name or *.suffix")]),
    (upstream("match: {hosts: []}"), [(4, "upstreams[0].match.hosts", "matches nothing")]),
    (upstream("health_check: {path: /}"), [(4, "upstreams[0].health_check", "is not available yet")]),
    (upstream("outlier: {}"), [(4, "upstreams[0].outlier", "is not available yet")]),
    (upstream("retry_budget: 2"), [(4, "upstreams[0].retry_budget", "must be at most 1")]),
    (upstream("connect_timeout: 0"), [(4, "upstreams[0].connect_timeout", "must be at least 10ms")]),
    # --- plugins
    ("plugins:\n  - path: x.wasm", [(2, "plugins[0].name", "is required")]),
    ("plugins:\n  - {name: ../x}", [(2, "plugins[0].path", "is required")]),
    (plugin("phase: on_request"), [(4, "plugins[0].phase", "'on_request' is not a phase (did you mean 'on_request_")]),
    (plugin("phase: [on_log, x]"), [(4, "plugins[0].phase", "'x' is not a phase (known: on_request_headers")]),
    (plugin("phase: []"), [(4, "plugins[0].phase", "would never run")]),
    (plugin("priority: high"), [(4, "plugins[0].priority", "'high' is not a whole number")]),
    (plugin("memory_limit: 16"), [(4, "plugins[0].memory_limit", "must be at least 64KiB")]),
    (plugin("timeout: 0"), [(4, "plugins[0].timeout", "must be at least 1ms")]),
    (plugin("timeout: 50"), [(4, "plugins[0].timeout", "'50' is not a duration")]),
    (plugin("log_level: verbose"), [(4, "plugins[0].log_level", "'verbose' is not 'trace'")]),
    (plugin("direction: ingress"), [(4, "plugins[0].direction", "'ingress' is not 'inbound', 'outbound' or 'both'")]),
    (plugin("on_failure: closd"), [(4, "plugins[0].on_failure", "(did you mean 'closed'?)")]),
    (plugin("on_failure: {trap: opened}"), [(4, "plugins[0].on_failure.trap", "(did you mean 'open'?)")]),
    (plugin("on_failure: {traps: open}"), [(4, "plugins[0].on_failure.traps", "(did you mean 'trap'?)")]),
    (plugin("on_failure: [open]"), [(4, "plugins[0].on_failure", "must be a single value, not a list")]),
    (plugin("on_overflow: cut"), [(4, "plugins[0].on_overflow", "'cut' is not 'reject' or 'stream'")]),
    (plugin("sha256: 9f"), [(4, "plugins[0].sha256", "must be 64 hexadecimal digits")]),
    (plugin("max_body: 5 MB"), [(4, "plugins[0].max_body", "'5 MB' is not a size")]),
    (plugin("path2: x"), [(4, "plugins[0].path2", "did you mean 'path'")]),
    (plugin("priority: 1\n  - {name: auth}"), [(5, "plugins[1].name", "'auth' is taken by plugins[0]")]),
    (SERVE + plugin("allow_upstreams: [ap]"), [(8, "plugins[0].allow_upstreams", "no upstream 'ap'")]),
    # --- routes
    ("routes:\n  - path: /", [(2, "routes[0].id", "is required"), (2, "routes[0].upstream", "is required (or 'split')")]),
    (route("path: x"), [(4, "routes[0].path", "path does not begin with a slash")]),
    (route("path: /a*"), [(4, "routes[0].path", "a '*' stands only as the last segment, like /x/*")]),
    (route("path: /*/a"), [(4, "routes[0].path", "a '*' stands only as the last segment")]),
    (route("path: /a?b=1"), [(4, "routes[0].path", "has no '?'")]),
    (route("path: /a//b"), [(4, "routes[0].path", "no request can have it: empty path segment")]),
    (route("path: /a/../b"), [(4, "routes[0].path", "no request can have it: dot segment")]),
    (route("path: /a%2fb"), [(4, "routes[0].path", "no request can have it: escaped slash")]),
    (route("path: [/a]"), [(4, "routes[0].path", "must be a single value, not a list")]),
    (route("path: {regexp: x}"), [(4, "routes[0].path.regex", "is required"), (4, "routes[0].path.regexp", "'regex'")]),
    (route("path: {regex: '/(a'}"), [(4, "routes[0].path.regex", "not a regular expression")]),
    (route("path: {regex: '/(a)\\1'}"), [(4, "routes[0].path.regex", "back-references are not available")]),
    (route("host: '*'"), [(4, "routes[0].host", "leave it out for any host")]),
    (route("host: a.*.b"), [(4, "routes[0].host", "is not a host name or *.suffix")]),
    (route("host: 'http://a'"), [(4, "routes[0].host", "is not a host name or *.suffix")]),
    (route("methods: [get]"), [(4, "routes[0].methods", "'get' is not a method in upper case (did you mean 'GET'?)")]),
    (route("methods: []"), [(4, "routes[0].methods", "matches nothing")]),
    (route("methods: [[GET]]"), [(4, "routes[0].methods[0]", "must be text, not a list")]),
    (route("headers: [a]"), [(4, "routes[0].headers", "must be a mapping, not a list")]),
    (route("headers: {'a b': x}"), [(4, "routes[0].headers", "'a b' is not a header name")]),
    (route("headers: {a: x, A: y}"), [(4, "routes[0].headers", "stands here twice")]),
    (route("headers: {a: }"), [(4, "routes[0].headers.a", "must be text, not nothing")]),
    (route("timeout: 30"), [(4, "routes[0].timeout", "'30' is not a duration")]),
    (route("split: [{upstream: app}]"), [(4, "routes[0].split", "stands beside 'upstream'")]),
    ("routes:\n  - {id: r, split: []}", [(2, "routes[0].split", "sends nothing anywhere")]),
    ("routes:\n  - {id: r, split: [{upstream: a, weight: 0}]}", [(2, "routes[0].split", "sends nothing anywhere")]),
    ("routes:\n  - {id: r, split: [{weight: 1}]}", [(2, "routes[0].split[0].upstream", "is required")]),
    ("routes:\n  - {id: r, split: [{upstream: a}, {upstream: a}]}", [(2, "routes[0].split[1].upstream", "twice")]),
    (route("plugins: auth"), [(4, "routes[0].plugins", "must be a list")]),
    (route("plugins: [[a]]"), [(4, "routes[0].plugins[0]", "must be a name or {name, config}")]),
    (route("plugins: [a, a]"), [(4, "routes[0].plugins", "names a plugin twice")]),
    (route("plugins: [{name: a, conf: 1}]"), [(4, "routes[0].plugins[0].conf", "did you mean 'config'")]),
    (plugin("priority: 1") + route("plugins: [auht]"), [(8, "routes[0].plugins", "no plugin 'auht' (did you mean 'auth'")]),
    (route("retries: {on: [timeout]}"), [(4, "routes[0].retries.on", "'timeout' is not 'connect-failure'")]),
    (route("retries: {on: [600]}"), [(4, "routes[0].retries.on", "a status from 400 to 599")]),
    (route("retries: {on: []}"), [(4, "routes[0].retries.on", "nothing is retried")]),
    (route("retries: {attempts: 100}"), [(4, "routes[0].retries.attempts", "must be at most 10")]),
    (route("retries: {per_try_timeout: 0}"), [(4, "routes[0].retries.per_try_timeout", "must be at least 1ms")]),
    (route("rewrite: {prefix: x}"), [(4, "routes[0].rewrite.prefix", "does not begin with a slash")]),
    (route("rewrite: {prefix: /x/*}"), [(4, "routes[0].rewrite.prefix", "a replacement has no wildcard")]),
    (route("path: {regex: /a}\n    rewrite: {prefix: /}"), [(5, "routes[0].rewrite.prefix", "not with a regex")]),
    (route("request_headers: {set: {Host: x}}"), [(4, "routes[0].request_headers.set", "framing or routing")]),
    (route("response_headers: {remove: [content-length]}"), [(4, "routes[0].response_headers.remove", "cannot be edited")]),
    (route('request_headers: {add: {a: "b\\nc"}}'), [(4, "routes[0].request_headers.add", "holds a line break")]),
    (route("request_headers: {set: {a: 1, A: 2}}"), [(4, "routes[0].request_headers.set", "stands here twice")]),
    (route("path: /a\n  - {id: r, upstream: app}"), [(5, "routes[1].id", "'r' is taken by routes[0]")]),
    (SERVE + route("path: /").replace("app", "ap"), [(7, "routes[0].upstream", "no upstream 'ap'")]),
    # --- what comes later
    ("identity: {source: files}", [(1, "identity", "is not available yet")]),
    ("authorization: []", [(1, "authorization", "is not available yet")]),
    ("redirect: {uid: 1337}", [(1, "redirect", "is not available yet")]),
    ("outbound: {unmatched: passthrough}", [(1, "outbound.unmatched", "'passthrough' is not available yet; use 'deny'")]),
    ("outbound: {unmatched: drop}", [(1, "outbound.unmatched", "'drop' is not 'deny'")]),
]


@pytest.mark.parametrize(("text", "wanted"), WRONG, ids=[f"{case}-{wrong[0][1]}" for case, (_, wrong) in enumerate(WRONG)])
def test_each_mistake_is_told_with_its_line_path_and_reason(tmp_path: Path, text: str, wanted: Wrong) -> None:
    found = problems(tmp_path, text)
    assert [problem[:2] for problem in found] == [problem[:2] for problem in wanted], found
    for (_, _, message), (_, _, fragment) in zip(found, wanted, strict=True):
        assert fragment in message


def first(block: str, field: str) -> Callable[[Config], Any]:
    return lambda config: getattr(getattr(config, block)[0], field)


RIGHT: list[tuple[str, Callable[[Config], Any], Any]] = [
    ("", lambda config: (config.workers, config.listeners), (3, ())),
    ("# nothing\n", lambda config: config.node.service, ""),
    ("---\nworkers: 2\n...\n", lambda config: config.workers, 2),
    ("limits:\nnode: ~\n", lambda config: config.limits.header_count, 100),
    ("node: {service: on}", lambda config: config.node.service, "on"),
    ("node: {service: no}", lambda config: config.node.service, "no"),
    ("node: {service: 014}", lambda config: config.node.service, "014"),
    ("node: {service: 1:30}", lambda config: config.node.service, "1:30"),
    ("node: {service: 12e3}", lambda config: config.node.service, "12e3"),
    ("node: {service: 2024-01-01}", lambda config: config.node.service, "2024-01-01"),
    ("node: {service: 1_000}", lambda config: config.node.service, "1_000"),
    ("node: {service: 1.10}", lambda config: config.node.service, "1.10"),
    ("node: {service: 'null'}", lambda config: config.node.service, "null"),
    ("drain: {delay: 0, timeout: 1.5s}", lambda config: (config.drain.delay, config.drain.timeout), (0.0, 1.5)),
    ("drain: {delay: 0s, timeout: 1h}", lambda config: (config.drain.delay, config.drain.timeout), (0.0, 3600.0)),
    ("limits: {header_bytes: 16KiB}", lambda config: config.limits.header_bytes, 16384),
    ("limits: {header_bytes: 16kB}", lambda config: config.limits.header_bytes, 16000),
    ("limits: {header_bytes: 65536}", lambda config: config.limits.header_bytes, 65536),
    ("limits: {route_timeout: 0}", lambda config: config.limits.route_timeout, 0.0),
    ("tracing: {}", lambda config: config.tracing is not None and config.tracing.protocol is None, True),
    ("tracing: {endpoint: 'http://jaeger:4317', protocol: grpc}", lambda config: config.tracing.endpoint, "http://jaeger:4317"),
    ("tracing: {sample_rate: 1e-3}", lambda config: config.tracing.sample_rate, 0.001),
    ("tracing: {propagation: [b3, jaeger]}", lambda config: config.tracing.propagation, ("b3", "jaeger")),
    ("metrics: {address: '[::]:15020'}", lambda config: config.metrics.address, Address("::", 15020)),
    ("admin: {address: '[::1]:15000'}", lambda config: config.admin.address, Address("::1", 15000)),
    ("admin: {socket: /run/x.sock}", lambda config: config.admin.socket, "/run/x.sock"),
    ("access_log: {enabled: false, format: text}", lambda config: config.access_log.format, "text"),
    ("outbound: {unmatched: deny}", lambda config: config.routes, ()),
    (listener("tls: {mode: disable}"), first("listeners", "addresses"), (Address("127.0.0.1", 1506),)),
    (listener("protocol: http\n    original_dst: none"), first("listeners", "protocol"), "http"),
    (
        "listeners:\n  - {name: a, direction: outbound, address: ['127.0.0.1:1', '[::1]:1']}",
        first("listeners", "addresses"),
        (Address("127.0.0.1", 1), Address("::1", 1)),
    ),
    (upstream("tls: {mode: disable}"), first("upstreams", "protocol"), "auto"),
    (upstream("circuit_breaker: {max_connections: 5}"), first("upstreams", "max_connections"), 5),
    (upstream("max_pending: 5"), first("upstreams", "max_pending"), 5),
    (
        "upstreams:\n  - {name: a, endpoints: [{host: '::1', port: 1, weight: 3}, 'db.shop:5']}",
        lambda config: [(each.address, each.weight) for each in config.upstreams[0].endpoints],
        [(Address("::1", 1), 3), (Address("db.shop", 5), 1)],
    ),
    (upstream("match: {hosts: [a.b, '*.c']}"), lambda config: config.upstreams[0].match.hosts, ("a.b", "*.c")),
    (plugin("phase: [on_log, on_request_headers]"), first("plugins", "phases"), ("on_log", "on_request_headers")),
    (plugin("config: 'as it is: ['"), first("plugins", "config"), b"as it is: ["),
    (plugin('config: {b: 1, a: [true, null, 1.5, on, "1", 014]}'), first("plugins", "config"),
     b'{"b":1,"a":[true,null,1.5,"on","1","014"]}'),
    (plugin("config: {n: 18446744073709551615, s: ä}"), first("plugins", "config"), '{"n":18446744073709551615,"s":"ä"}'.encode()),
    (plugin("vm_config: ''\n    vm_id: x\n    root_id: y"), first("plugins", "vm_id"), "x"),
    (plugin("on_failure: open"), lambda config: set(config.plugins[0].on_failure.values()), {"open"}),
    (plugin("on_failure: {trap: open}"), first("plugins", "on_failure"),
     {"load": "closed", "trap": "open", "timeout": "closed", "limit": "closed"}),
    (plugin("max_body: 1MiB\n    on_overflow: stream"), first("plugins", "overflow_streams"), True),
    (plugin(f"sha256: {'AB' * 32}"), first("plugins", "sha256"), "ab" * 32),
    (plugin("allow_upstreams: []"), first("plugins", "allow_upstreams"), ()),
    (plugin("priority: -5\n    direction: outbound"), first("plugins", "priority"), -5),
    (route("path: /a/b"), first("routes", "path"), "/a/b"),
    (route("path: {regex: '^/v[0-9]+/.*$'}"), first("routes", "path_regex"), "^/v[0-9]+/.*$"),
    (route("headers: {X-Canary: 1}"), first("routes", "headers"), {"x-canary": "1"}),
    (route("host: '*.shop'\n    methods: [GET, PROPFIND]"), first("routes", "methods"), ("GET", "PROPFIND")),
    (route("retries: {attempts: 2, on: [reset, 503], per_try_timeout: 1s}"),
     lambda config: config.routes[0].retries.on, ("reset", "503")),
    (route("plugins: []"), first("routes", "plugins"), ()),
    (route("plugins: [a, {name: b, config: {x: 1}}]"), first("routes", "plugins"),
     (PluginUse("a"), PluginUse("b", b'{"x":1}'))),
    (route("timeout: 0"), first("routes", "timeout"), 0.0),
    (route("path: /a/*\n    rewrite: {prefix: /}"), first("routes", "rewrite_prefix"), "/"),
    (route("response_headers: {set: {A: b}, add: {C: d}, remove: [Server]}"), first("routes", "response_headers"),
     HeaderEdit({"A": "b"}, {"C": "d"}, ("Server",))),
    ("routes:\n  - {id: r, split: [{upstream: a, weight: 90}, {upstream: b, weight: 10}]}", first("routes", "split"),
     (("a", 90), ("b", 10))),
    ('{"node":{"service":"\\ud83d\\ude00\\u00e4"},\n\t"workers":2}', lambda config: config.node.service, "😀ä"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "look", "wanted"), RIGHT, ids=[str(case) for case in range(len(RIGHT))])
def test_what_is_right_is_read_as_written(tmp_path: Path, text: str, look: Callable[[Config], Any], wanted: Any) -> None:
    assert look(read(tmp_path, text)) == wanted


def test_there_are_enough_of_them() -> None:
    assert len(WRONG) + len(RIGHT) >= 130


def test_every_problem_is_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = "workers: x\nnode: {servce: a}\n" + listener("protocol: h2") + route("path: x\n    upstraem: b")
    assert [line for line, _, _ in problems(tmp_path, text)] == [1, 2, 7, 10, 11, 12]


def test_a_problem_reads_as_the_contract_says(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("node:\n  servce: x\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load([str(file)], {})
    assert str(refused.value) == f"{file}:2: node.servce: unknown key (did you mean 'service'?)"


def test_what_stands_in_a_file_writes_no_lines_of_its_own(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '"a\\nb\\e[1m": 1')
    assert problem[1] == "a\\nb\\x1b[1m"


def test_a_problem_is_as_long_as_somebody_may_read(tmp_path: Path) -> None:
    ((_, path, _),) = problems(tmp_path, f"? {'x' * 100_000}\n: 1\n")
    assert path == "x" * MAX_WORDS + "..."


def test_a_flood_of_problems_is_cut_and_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, "".join(f"k{number}: 1\n" for number in range(MAX_PROBLEMS + 7)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1][2] == "and 7 more problems"


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("access_log: {path: log/a}\nadmin: {socket: a.sock}\n", encoding="utf-8")
    (tmp_path / "sub" / "b.yaml").write_text("plugins: [{name: p, path: ../p.wasm}]\n", encoding="utf-8")
    config = load([str(tmp_path / "a.yaml"), str(tmp_path / "sub" / "b.yaml")], {})
    assert config.access_log.path == str(tmp_path / "log" / "a")
    assert config.admin.socket == str(tmp_path / "a.sock")
    assert config.plugins[0].path == str(tmp_path / "p.wasm")
    assert config.origins == {"access_log": str(tmp_path / "a.yaml"), "admin": str(tmp_path / "a.yaml"),
                              "plugins": str(tmp_path / "sub" / "b.yaml")}  # fmt: skip


def test_without_any_file_there_is_nothing_to_read() -> None:
    with pytest.raises(ConfigError, match="no configuration file is given"):
        load([], {})


def test_an_unreadable_file_hides_nothing_but_what_depends_on_it(tmp_path: Path) -> None:
    found = problems(tmp_path, "a: [", "listeners: 5\na: &x 1\n")
    assert len(found) == 2
    assert "is not YAML" in found[0][2] and "anchors" in found[1][2]


def test_the_source_is_the_merged_document_with_variables_replaced(tmp_path: Path) -> None:
    config = read(tmp_path, "node: {service: '${S}'}\nworkers: ${N}", "workers: 4", environ={"S": "shop", "N": "1"})
    assert config.source == {"node": {"service": "shop"}, "workers": 4}


def test_lines_are_no_part_of_what_a_configuration_is(tmp_path: Path) -> None:
    assert read(tmp_path, APP).upstreams == read(tmp_path, "\n\n" + APP).upstreams
