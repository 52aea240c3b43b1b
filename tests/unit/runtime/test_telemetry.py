from __future__ import annotations

from dataclasses import replace

from sidecar.config.model import AccessLog, Config, Node, Tracing
from sidecar.runtime.telemetry import open_access_log, open_tracing
from tests.support.runtime import make_process, on_loop

CONFIG = Config(node=Node(service="orders"), tracing=Tracing(endpoint="http://127.0.0.1:9", sample_rate=1.0))


def test_an_outlet_is_kept_while_its_settings_stay():
    async def main() -> None:
        process = make_process()
        first = await open_tracing(CONFIG, process, None)
        assert first is not None
        assert await open_tracing(replace(CONFIG, workers=3), process, first) is first
        other = replace(CONFIG, tracing=Tracing(endpoint="http://127.0.0.1:9", sample_rate=0.5))
        assert await open_tracing(other, process, first) not in (first, None)
        assert await open_tracing(replace(CONFIG, node=Node(service="x")), process, first) is not first

    on_loop(main)


def test_the_environment_alone_may_ask_for_spans():
    async def main() -> None:
        config = Config()
        assert await open_tracing(config, make_process(), None) is None
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            assert await open_tracing(config, make_process(environ={name: "http://127.0.0.1:9"}), None) is not None
        off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}
        assert await open_tracing(config, make_process(environ=off), None) is None

    on_loop(main)


def test_an_outlet_closes_within_its_time_though_nobody_listens():
    async def main() -> None:
        outlet = await open_tracing(CONFIG, make_process(), None)
        assert outlet is not None
        outlet.start()
        outlet.close()

    on_loop(main)


def test_the_access_log_is_kept_changed_or_switched_off(tmp_path):
    async def main() -> None:
        process = make_process()
        settings = AccessLog(path=str(tmp_path / "a"))
        config = Config(access_log=settings)
        first = open_access_log(config, process, None)
        assert first is not None
        assert open_access_log(config, process, first) is first
        assert open_access_log(Config(access_log=replace(settings, format="text")), process, first) is not first
        assert open_access_log(Config(access_log=replace(settings, enabled=False)), process, first) is None
        first.start()
        first.sink.write(b"line\n")
        first.close()
        assert (tmp_path / "a").read_bytes() == b"line\n"

    on_loop(main)
