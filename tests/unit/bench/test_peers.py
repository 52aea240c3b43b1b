"""bench/peers.py: both proxies are given the same job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.peers import MODULE, Job, envoy_config, sidecar_config


def of_envoy(job: Job) -> dict[str, Any]:
    listener = envoy_config(job, 1, 2)["static_resources"]["listeners"][0]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def of_sidecar(job: Job) -> dict[str, Any]:
    return sidecar_config(job, 1, 2, 3, 4, Path("admin.sock"))


def test_both_load_the_same_module_as_often_as_asked() -> None:
    job = Job(backend=9, plugins=3)
    ours = [plugin["path"] for plugin in of_sidecar(job)["plugins"]]
    filters = of_envoy(job)["http_filters"]
    theirs = [one["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] for one in filters[:-1]]
    assert ours == theirs == [str(MODULE)] * 3
    assert filters[-1]["name"] == "router"


def test_both_trace_the_same_share_and_neither_when_not_asked() -> None:
    job = Job(backend=9, trace_rate=0.01, sink=7)
    assert of_sidecar(job)["tracing"]["sample_rate"] == 0.01
    assert of_envoy(job)["tracing"]["random_sampling"] == {"value": 1.0}
    assert "tracing" not in of_sidecar(Job(backend=9))
    assert "tracing" not in of_envoy(Job(backend=9))


def test_neither_writes_an_access_log() -> None:
    assert of_sidecar(Job(backend=9))["access_log"] == {"enabled": False}
    assert "access_log" not in of_envoy(Job(backend=9))
