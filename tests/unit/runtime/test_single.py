from __future__ import annotations

import socket

import pytest

from sidecar.errors import ConfigError
from sidecar.runtime.single import Single, bind_all
from sidecar.runtime.sockets import SocketBook
from tests.support.runtime import fetch, make_bundle, make_process, moved, on_loop
from tests.support.sidecar_process import free_ports


def test_an_address_that_is_taken_refuses_the_change_in_words(tmp_path):
    async def main() -> None:
        single = Single(make_process(), SocketBook(), 1 << 16)
        bundle = make_bundle(tmp_path)
        await single.prepare(bundle, 1)
        await single.commit()
        (port,) = free_ports(1)
        with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            await single.prepare(moved(bundle, port), 2)
        answer = await fetch(bundle.config.listeners[0].addresses[0].port)
        assert answer.startswith(b"HTTP/1.1 503")  # nobody is behind it, and it says so
        await single.close()

    on_loop(main)


def test_a_generation_that_cannot_be_built_gives_its_new_sockets_back(tmp_path):
    async def main() -> None:
        single = Single(make_process(), SocketBook(), 1 << 16)
        (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0nonsense")
        bundle = make_bundle(tmp_path, "plugins:\n  - {name: bad, path: bad.wasm}\n")
        with pytest.raises(ConfigError):
            await single.prepare(bundle, 1)
        port = bundle.config.listeners[0].addresses[0].port
        with pytest.raises(ConnectionRefusedError):
            await fetch(port)
        assert not single.is_ready

    on_loop(main)


def test_pages_and_metrics_are_those_of_the_one_worker(tmp_path):
    async def main() -> None:
        single = Single(make_process(), SocketBook(), 1 << 16)
        await single.prepare(make_bundle(tmp_path), 1)
        await single.commit()
        (stats,) = await single.pages("stats")
        assert (stats["state"], stats["generation"]) == ("starting", 1)
        (upstream,) = await single.pages("upstreams")
        assert upstream["name"] == "app"
        assert "loom_connections" in await single.metrics()
        await single.close()

    on_loop(main)


def test_every_address_is_bound_or_named(tmp_path):
    bundle = make_bundle(tmp_path)
    book = SocketBook()
    bind_all(book, bundle)
    other = SocketBook()
    with pytest.raises(ConfigError) as refused:
        bind_all(other, bundle)
    assert refused.value.problems[0].path == "listeners"
    book.close()
