"""demo/plan.py: the two configurations are ones that the sidecar takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.plan import PORTS, Place, config_text, places
from sidecar.config.load import load

SERVICES = ("storefront", "orders")


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Place]:
    return places(tmp_path, list(range(20001, 20001 + 2 * len(PORTS))))


@pytest.mark.parametrize(("service", "peer"), [SERVICES, SERVICES[::-1]])
def test_the_configuration_is_taken_without_a_warning(shop: dict[str, Place], service: str, peer: str) -> None:
    place = shop[service]
    place.config.write_text(config_text(place, shop[peer], 4317), encoding="utf-8")
    config = load([str(place.config)], {"SHOP_TOKEN": "abc"})
    assert config.warnings == ()
    assert config.node.service == service
    assert config.tracing is not None
    assert config.tracing.endpoint == "http://127.0.0.1:4317"
    assert str(config.access_log.path) == str(place.access_log)
    assert any(b"Bearer abc" in plugin.config for plugin in config.plugins)


def test_every_address_is_loopback_and_every_port_is_used_once(shop: dict[str, Place]) -> None:
    bound = []
    for service, peer in (SERVICES, SERVICES[::-1]):
        place = shop[service]
        place.config.write_text(config_text(place, shop[peer], 4317), encoding="utf-8")
        config = load([str(place.config)], {"SHOP_TOKEN": "abc"})
        bound += [address for listener in config.listeners for address in listener.addresses]
        bound += [config.metrics.address, config.health.address, config.admin.address]
    assert {address.host for address in bound} == {"127.0.0.1"}
    assert len({address.port for address in bound}) == len(bound) == 9


def test_the_storefront_calls_where_orders_listens(shop: dict[str, Place]) -> None:
    text = config_text(shop["storefront"], shop["orders"], 4317)
    assert f'{{name: orders, endpoints: ["127.0.0.1:{shop["orders"].inbound}"]' in text


def test_both_directions_have_at_least_two_plugins(shop: dict[str, Place]) -> None:
    directions_of = {"storefront": ("inbound", "outbound"), "orders": ("inbound",)}
    for service, peer in (SERVICES, SERVICES[::-1]):
        place = shop[service]
        place.config.write_text(config_text(place, shop[peer], 4317), encoding="utf-8")
        plugins = load([str(place.config)], {"SHOP_TOKEN": "abc"}).plugins
        for direction in directions_of[service]:
            assert sum(plugin.direction in (direction, "both") for plugin in plugins) >= 2
