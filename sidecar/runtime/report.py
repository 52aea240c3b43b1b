"""What the pages, and with them ``sidecar routes``, ``stats`` and so on, tell about a running proxy. Plain data."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

import sidecar
from sidecar.config.model import Config
from sidecar.runtime.reload import Reloader
from sidecar.runtime.worker import Worker

PAGE = os.sysconf("SC_PAGE_SIZE")
STARTED = time.monotonic()


def config_page(reloader: Reloader) -> dict[str, Any]:
    """``source`` is the document as written, ``effective`` with every default; ``refused`` the last attempt."""
    bundle = reloader.active
    refusal = reloader.refusal
    return {
        "generation": reloader.number,
        "files": list(bundle.config.files) if bundle is not None else [],
        "warnings": list(bundle.config.warnings) if bundle is not None else [],
        "refused": None
        if refusal is None
        else {"generation": refusal.number, "unix_time": refusal.unix_time, "problems": refusal.problems},
        "source": bundle.config.source if bundle is not None else {},
        "effective": effective(bundle.config) if bundle is not None else {},
    }


def effective(config: Config) -> dict[str, Any]:
    """Every value in use, by the names of the model."""
    described: dict[str, Any] = msgspec.to_builtins(replace(config, source={}, files=(), warnings=()))
    for name in ("source", "files", "warnings"):
        described.pop(name, None)
    return described


def routes_page(config: Config) -> list[dict[str, Any]]:
    return [
        {
            "id": route.id,
            "direction": route.direction,
            "host": route.host,
            "path": route.path if route.path_regex is None else {"regex": route.path_regex},
            "methods": list(route.methods),
            "headers": dict(route.headers),
            "split": [{"upstream": name, "weight": weight} for name, weight in route.split],
            "plugins": None if route.plugins is None else [use.name for use in route.plugins],
            "timeout": route.timeout,
        }
        for route in config.routes
    ]


def worker_page(worker: Worker, name: str) -> Any:
    """``upstreams``, ``plugins`` or ``stats`` of one worker; on the loop's thread."""
    generation = worker.current
    if generation is None:
        return [] if name != "stats" else {}
    if name == "upstreams":
        return generation.pools.describe()
    if name == "plugins":
        return generation.plugins.describe()
    return worker_stats(worker)


def worker_stats(worker: Worker) -> dict[str, Any]:
    generation = worker.current
    return {
        "pid": os.getpid(),
        "uptime_seconds": round(time.monotonic() - STARTED, 1),
        "state": "draining" if worker.is_draining else "ready" if worker.is_ready else "starting",
        "generation": generation.number if generation is not None else 0,
        "generations_ending": [old.number for old in worker.old],
        "memory_bytes": resident_bytes(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "loop_lag_ms": round(worker.lag * 1e3, 2),
        "loop_lag_most_ms": round(worker.most_lag * 1e3, 2),
        "listeners": [
            {
                "name": place.site.name,
                "direction": place.site.direction,
                "addresses": [str(address) for address in place.accepting],
                "connections": place.site.open_count,
                "in_flight": place.site.in_flight,
            }
            for place in worker.places.values()
        ],
        "held_body_bytes": worker.process.budget.used,
        "spans_queued": generation.tracing.exporter.queued if generation is not None and generation.tracing else 0,
    }


def stats_page(workers: list[Any], snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The whole sidecar: ``workers`` one by one, and the sums that people ask for first."""
    return {"version": sidecar.__version__, **totals(snapshot), "workers": workers}


def totals(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Sums out of a metrics snapshot."""
    requests: dict[str, dict[str, int]] = {}
    for labels, value in _rows(snapshot, "loom_requests_total"):
        direction, _, _, status, _ = labels
        row = requests.setdefault(direction, {"total": 0})
        kind = f"{status[0]}xx" if status[:1].isdigit() and status != "0" else "cut"
        row["total"] += int(value)
        row[kind] = row.get(kind, 0) + int(value)
    return {
        "requests": requests,
        "plugin_errors": _by_labels(snapshot, "loom_plugin_errors_total"),
        "limit_hits": _by_labels(snapshot, "loom_limit_hits_total"),
        "spans": _by_labels(snapshot, "loom_otlp_spans_total"),
    }


def _rows(snapshot: Mapping[str, Any], name: str) -> Any:
    return snapshot[name]["rows"] if name in snapshot else ()


def _by_labels(snapshot: Mapping[str, Any], name: str) -> dict[str, int]:
    return {" ".join(labels): int(value) for labels, value in _rows(snapshot, name)}


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE
