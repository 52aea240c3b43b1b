from __future__ import annotations

import pytest

from sidecar.errors import ConfigError
from sidecar.filters.access_log import AccessLogFilterFactory
from sidecar.filters.forwarding import ForwardingFilterFactory
from sidecar.filters.metrics import MetricsFilterFactory
from sidecar.filters.tracing import TracingFilterFactory
from sidecar.runtime.bundle import read_bundle
from sidecar.runtime.generation import build_generation, codec_limits
from tests.support.guest import Guest
from tests.support.runtime import make_bundle, make_process, on_loop, write_config

PLUGIN = "plugins:\n  - {name: probe, path: probe.wasm}\n"
ROUTES = """
routes:
  - {id: bare, path: /bare/*, upstream: app, plugins: []}
  - {id: all, path: /all, upstream: app}
"""
KEY = ("inbound", "inbound")


def kinds(chain) -> list[type]:
    return [type(factory) for factory in chain.factories]


def test_the_chain_has_its_order(tmp_path):
    async def main() -> None:
        (tmp_path / "probe.wasm").write_bytes(Guest().binary())
        text = PLUGIN + ROUTES + "tracing: {endpoint: 'http://127.0.0.1:9', sample_rate: 1}\n"
        path = write_config(tmp_path, text)
        path.write_text(path.read_text().replace("access_log: {enabled: false}", f"access_log: {{path: {tmp_path}/a}}"))
        generation = await build_generation(make_process(), read_bundle([str(path)], {}), 1, None)
        snapshot = generation.snapshots[KEY]
        telemetry = [TracingFilterFactory, MetricsFilterFactory, AccessLogFilterFactory]
        whole = kinds(snapshot.chain(None))
        assert whole[:4] == [*telemetry, ForwardingFilterFactory]
        assert len(whole) == 5
        assert kinds(snapshot.refusals) == telemetry
        bare, everything = (entry for entry in snapshot.table.entries)
        assert kinds(snapshot.chain(bare)) == [*telemetry, ForwardingFilterFactory]
        assert snapshot.chain(everything) is snapshot.chain(None)
        generation.discard(None)

    on_loop(main)


def test_pools_of_unchanged_upstreams_are_taken_over(tmp_path):
    async def main() -> None:
        process = make_process()
        first = await build_generation(process, make_bundle(tmp_path, port=2001, app=2002), 1, None)
        second = await build_generation(process, make_bundle(tmp_path, port=2003, app=2002), 2, first)
        assert second.pools.upstreams["app"] is first.pools.upstreams["app"]
        third = await build_generation(process, make_bundle(tmp_path, port=2003, app=2004), 3, second)
        assert third.pools.upstreams["app"] is not first.pools.upstreams["app"]

    on_loop(main)


def test_a_fault_in_any_part_is_no_generation(tmp_path):
    async def main() -> None:
        (tmp_path / "probe.wasm").write_bytes(b"\0asm\1\0\0\0nonsense")
        path = write_config(tmp_path, PLUGIN)
        with pytest.raises(ConfigError) as refused:
            await build_generation(make_process(), read_bundle([str(path)], {}), 1, None)
        assert [problem.path for problem in refused.value.problems] == ["plugins[0]"]

    on_loop(main)


def test_outlets_that_a_living_generation_uses_stay_open(tmp_path):
    async def main() -> None:
        process = make_process()
        path = write_config(tmp_path)
        path.write_text(path.read_text().replace("access_log: {enabled: false}", f"access_log: {{path: {tmp_path}/a}}"))
        bundle = read_bundle([str(path)], {})
        first = await build_generation(process, bundle, 1, None)
        first.start(None)
        second = await build_generation(process, bundle, 2, first)
        second.start(first)
        await first.close([second])
        assert second.access_log is first.access_log is not None
        second.access_log.sink.write(b"still\n")
        await second.close([])
        assert (tmp_path / "a").read_bytes() == b"still\n"

    on_loop(main)


def test_the_codec_gets_its_limits(tmp_path):
    limits = make_bundle(tmp_path, "limits: {header_count: 7, body_window: 9000}\n").config.limits
    assert (codec_limits(limits).header_count, codec_limits(limits).watermark) == (7, 9000)
