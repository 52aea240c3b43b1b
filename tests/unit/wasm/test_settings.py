from __future__ import annotations

from sidecar.wasm.settings import LEVELS, PluginLoadError, PluginSettings


def test_policies_are_closed_unless_said_otherwise() -> None:
    settings = PluginSettings("p", on_failure={"trap": "open", "timeout": "closed"})
    assert [settings.passes(cause) for cause in ("load", "trap", "timeout", "limit")] == [False, True, False, False]


def test_levels_are_those_of_the_abi() -> None:
    assert [LEVELS[name] for name in ("trace", "debug", "info", "warn", "error", "critical", "off")] == list(range(7))


def test_a_load_error_says_what_it_counts_as() -> None:
    assert (PluginLoadError("x").error, PluginLoadError("x", "configure").error) == ("load", "configure")
