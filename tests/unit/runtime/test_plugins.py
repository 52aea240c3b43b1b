from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from sidecar.config.model import Config, Listener, Node, Plugin, PluginUse, Route
from sidecar.runtime.bundle import Bundle
from sidecar.runtime.plugins import PluginSet, start_plugins, use_of, wanted_uses
from tests.support.guest import Guest
from tests.support.runtime import Lines, make_process, on_loop

CODE = Guest().binary()
LISTENER = Listener("inbound", "inbound", ())


class NoCalls:
    def has_upstream(self, name: str) -> bool:
        return False

    def http_call(self, *_arguments: Any) -> Any:
        raise AssertionError("nobody calls here")


async def started(*plugins: Plugin, code: bytes = CODE, **more: Any):
    config = Config(listeners=(LISTENER,), plugins=plugins, **more)
    problems: list[Any] = []
    process = make_process(Lines())
    bundle = Bundle(config, {plugin.path: code for plugin in plugins})
    return await start_plugins(bundle, process, NoCalls(), problems), problems, process


def names(factories: list[Any]) -> list[str]:
    return [factory._plugin.settings.name for factory in factories]


def test_higher_priority_first_and_equal_ones_as_in_the_file():
    async def main() -> None:
        plugins, problems, _ = await started(
            Plugin("a", "m"), Plugin("b", "m", priority=9), Plugin("c", "m"), Plugin("d", "m", priority=9)
        )
        assert problems == []
        assert names(plugins.chain("inbound", None)) == ["b", "d", "a", "c"]
        assert names(plugins.chain("inbound", (PluginUse("c"), PluginUse("b")))) == ["b", "c"]
        assert plugins.chain("inbound", ()) == []
        plugins.close()

    on_loop(main)


def test_a_plugin_of_the_other_direction_is_not_in_the_chain():
    async def main() -> None:
        plugins, _, _ = await started(
            Plugin("a", "m", direction="outbound"), Plugin("b", "m", direction="inbound"), Plugin("c", "m")
        )
        assert names(plugins.chain("inbound", None)) == ["b", "c"]
        assert names(plugins.chain("outbound", None)) == ["a", "c"]
        assert plugins.running["a", None].settings.direction == 2
        assert plugins.running["c", None].settings.direction == 1  # only inbound listeners are there
        plugins.close()

    on_loop(main)


def test_a_route_with_a_configuration_of_its_own_gets_an_instance_of_its_own():
    async def main() -> None:
        auth = Plugin("auth", "m", config=b"{}", vm_id="shared")
        routes = (
            Route("a", plugins=(PluginUse("auth", b'{"realm":"a"}'),)),
            Route("b", plugins=(PluginUse("auth", b'{"realm":"a"}'),)),
            Route("c", plugins=(PluginUse("auth", b"{}"),)),
            Route("d", plugins=(PluginUse("auth"),)),
        )
        plugins, problems, _ = await started(auth, routes=routes)
        assert problems == []
        chains = [plugins.chain("inbound", route.plugins) for route in routes]
        assert chains[0] == chains[1] != chains[2] == chains[3] == plugins.chain("inbound", None)
        own = plugins.running["auth", b'{"realm":"a"}']
        assert (own.settings.config, own.settings.vm_id, own.settings.name) == (b'{"realm":"a"}', "shared", "auth")
        assert len(plugins.describe()) == 2
        plugins.close()

    on_loop(main)


def test_a_plugin_knows_its_pod():
    async def main() -> None:
        plugins, _, _ = await started(Plugin("a", "m"), node=Node("orders", "shop", "mesh.local"))
        node = plugins.running["a", None].settings.node
        assert node.cluster == "orders"
        assert node.metadata == {"service": "orders", "namespace": "shop", "trust_domain": "mesh.local"}
        plugins.close()

    on_loop(main)


def test_every_plugin_that_fails_is_told_of():
    async def main() -> None:
        plugins, problems, process = await started(
            Plugin("a", "m", line=3), Plugin("b", "m", line=7), code=b"\0asm\1\0\0\0nonsense"
        )
        assert [(problem.path, problem.line) for problem in problems] == [("plugins[0]", 3), ("plugins[1]", 7)]
        assert process.registry.counter("loom_plugin_errors_total", "a", "load").value == 1
        plugins.close()

    on_loop(main)


def test_other_bytes_than_pinned_never_run():
    async def main() -> None:
        digest = hashlib.sha256(CODE).hexdigest()
        plugins, problems, _ = await started(
            Plugin("good", "m", sha256=digest.upper()), Plugin("bad", "m", sha256="0" * 64)
        )
        assert [problem.path for problem in problems] == ["plugins[1]"]
        assert "not the pinned" in problems[0].message
        assert list(plugins.running) == [("good", None)]
        plugins.close()

    on_loop(main)


def test_one_that_may_be_absent_lets_pass_and_counts():
    async def main() -> None:
        plugin = Plugin("a", "m", on_failure={"load": "open"}, sha256="0" * 64)
        plugins, problems, process = await started(plugin)
        assert problems == []
        (factory,) = plugins.chain("inbound", None)
        view: Any = None
        assert factory.create(view).on_request_headers(view) == 0
        assert process.registry.counter("loom_plugin_passed_by_policy_total", "a", "load").value == 1
        assert plugins.describe()[0]["state"] == "absent"

    on_loop(main)


def test_without_plugins_there_is_nothing_to_start():
    async def main() -> None:
        plugins, problems, _ = await started()
        assert (plugins.running, problems) == ({}, [])

    on_loop(main)


def test_uses_are_told_apart_by_configuration():
    plugin = Plugin("a", "m", config=b"{}")
    assert use_of(plugin, None) == use_of(plugin, b"{}") == ("a", None)
    assert use_of(plugin, b"1") == ("a", b"1")
    config = Config(plugins=(plugin, replace(plugin, name="b")), routes=(Route("r", plugins=(PluginUse("b", b"1"),)),))
    assert [use for _, use in wanted_uses(config)] == [("a", None), ("b", None), ("b", b"1")]
    assert [each.name for each in PluginSet(config.plugins).ordered] == ["a", "b"]
