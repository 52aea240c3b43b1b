from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

from sidecar.config.model import Drain
from sidecar.runtime.bundle import Bundle, read_bundle
from sidecar.runtime.generation import Generation
from sidecar.runtime.single import Single
from sidecar.runtime.sockets import SocketBook
from sidecar.wasm.plugin import Plugin
from tests.support.guest import Guest
from tests.support.runtime import TinyApp, fetch, make_bundle, make_process, moved, on_loop, until, write_config
from tests.support.sidecar_process import free_ports


class Bench:
    """A worker with its own sockets, before an app on the same loop."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.number = 0

    async def start(self, bundle: Bundle | None = None) -> Bench:
        self.app = await TinyApp().start()
        self.port = free_ports(1)[0]
        self.bundle = bundle or make_bundle(self.folder, port=self.port, app=self.app.port)
        self.single = Single(make_process(), SocketBook(), 1 << 16)
        await self.serve(self.bundle)
        await self.single.settle()
        return self

    @property
    def worker(self):
        return self.single.worker

    async def serve(self, bundle: Bundle) -> None:
        self.number += 1
        await self.single.prepare(bundle, self.number)
        await self.single.commit()

    async def close(self) -> None:
        gc.unfreeze()
        await self.single.close()
        self.app.close()


def test_a_committed_generation_serves(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        assert (await fetch(bench.port)).startswith(b"HTTP/1.1 200")
        assert bench.worker.is_ready
        await bench.close()

    on_loop(main)


def test_an_exchange_under_way_ends_on_the_generation_it_began_with(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        bench.app.gate = asyncio.Event()
        waiting = asyncio.create_task(fetch(bench.port))
        await until(lambda: bench.app.requests == 1)
        first = bench.worker.current
        await bench.serve(bench.bundle)
        assert bench.worker.old == [first]
        bench.app.gate.set()
        assert (await waiting).startswith(b"HTTP/1.1 200")
        await until(lambda: bench.worker.old == [])
        await bench.close()

    on_loop(main)


def test_a_listener_moves_without_a_moment_in_which_nobody_listens(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        (port,) = free_ports(1)
        await bench.serve(moved(bench.bundle, port))
        assert (await fetch(port)).startswith(b"HTTP/1.1 200")
        try:
            await fetch(bench.port)
            raise AssertionError("the old address still answers")
        except ConnectionRefusedError:
            pass
        await bench.close()

    on_loop(main)


def test_listeners_come_and_go_and_swap_their_addresses(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        (port,) = free_ports(1)
        config = bench.bundle.config
        (inbound,) = config.listeners
        other = replace(inbound, name="other", addresses=(inbound.addresses[0]._replace(port=port),))
        await bench.serve(replace(bench.bundle, config=replace(config, listeners=(inbound, other))))
        assert (await fetch(port)).startswith(b"HTTP/1.1 200")
        swapped = (replace(inbound, addresses=other.addresses), replace(other, addresses=inbound.addresses))
        await bench.serve(replace(bench.bundle, config=replace(config, listeners=swapped)))
        for each in (port, bench.port):
            assert (await fetch(each)).startswith(b"HTTP/1.1 200")
        await bench.serve(bench.bundle)
        assert list(bench.worker.places) == [("inbound", "inbound")]
        assert (await fetch(bench.port)).startswith(b"HTTP/1.1 200")
        await bench.close()

    on_loop(main)


def test_an_aborted_change_leaves_what_serves(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        first = bench.worker.current
        (port,) = free_ports(1)
        await bench.single.prepare(moved(bench.bundle, port), 2)
        await bench.single.abort()
        assert bench.worker.current is first
        assert (await fetch(bench.port)).startswith(b"HTTP/1.1 200")
        await bench.close()

    on_loop(main)


def test_Y8_many_reloads_leave_nothing_behind(tmp_path):
    async def main() -> None:
        (tmp_path / "probe.wasm").write_bytes(Guest().binary())
        app = await TinyApp().start()
        (port,) = free_ports(1)
        path = write_config(tmp_path, "plugins:\n  - {name: probe, path: probe.wasm}\n", port=port, app=app.port)
        bench = await Bench(tmp_path).start(read_bundle([str(path)], {}))
        for _ in range(12):
            assert (await fetch(port)).startswith(b"HTTP/1.1 200")
            await bench.serve(bench.bundle)
        await until(lambda: bench.worker.old == [])
        gc.collect()
        alive = [thing for thing in gc.get_objects() if isinstance(thing, (Generation, Plugin))]
        assert len([thing for thing in alive if isinstance(thing, Generation)]) == 1
        assert len([thing for thing in alive if isinstance(thing, Plugin)]) == 1
        await bench.close()
        app.close()

    on_loop(main)


class TestDrain:
    def test_D1_finishes_what_is_open_and_says_so(self, tmp_path):
        async def main() -> None:
            bench = await Bench(tmp_path).start()
            bench.app.gate = asyncio.Event()
            waiting = asyncio.create_task(fetch(bench.port))
            await until(lambda: bench.app.requests == 1)
            drain = asyncio.create_task(bench.single.drain())
            await until(lambda: not bench.worker.is_ready)
            bench.app.gate.set()
            assert (await waiting).endswith(b"ok")
            assert await drain
            await bench.close()

        on_loop(main)

    def test_D1_who_reads_not_ready_is_told_to_close(self, tmp_path):
        async def main() -> None:
            bench = await Bench(tmp_path).start()
            bench.app.gate = asyncio.Event()
            waiting = asyncio.create_task(fetch(bench.port, wish="keep-alive"))
            await until(lambda: bench.app.requests == 1)
            (place,) = bench.worker.places.values()
            bench.single.begin_drain()
            assert (bench.worker.is_ready, place.site.is_draining) == (False, True)
            bench.app.gate.set()
            assert b"connection: close" in await waiting
            await bench.close()

        on_loop(main)

    def test_D1_a_drain_that_came_during_the_start_is_not_forgotten(self, tmp_path):
        async def main() -> None:
            bench = Bench(tmp_path)
            single = Single(make_process(), SocketBook(), 1 << 16)
            await single.prepare(make_bundle(bench.folder), 1)
            single.begin_drain()
            await single.commit()
            await single.settle()
            gc.unfreeze()
            assert not single.is_ready
            assert all(place.site.is_draining for place in single.worker.places.values())
            await single.close()

        on_loop(main)

    def test_D1_goes_on_accepting_for_the_delay(self, tmp_path):
        async def main() -> None:
            bundle = make_bundle(tmp_path)
            bench = await Bench(tmp_path).start()
            config = replace(bench.bundle.config, drain=Drain(delay=60, timeout=1))
            await bench.serve(replace(bundle, config=config))
            drain = asyncio.create_task(bench.single.drain())
            await until(lambda: not bench.worker.is_ready)
            answer = await fetch(bench.port, wish="keep-alive")
            assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer
            bench.worker.hurry()  # D2: nothing is open, so nothing is cut
            await drain
            await bench.close()

        on_loop(main)

    def test_D1_cuts_what_is_open_at_the_timeout(self, tmp_path):
        async def main() -> None:
            bench = await Bench(tmp_path).start()
            config = replace(bench.bundle.config, drain=Drain(delay=0, timeout=0.1))
            await bench.serve(replace(bench.bundle, config=config))
            bench.app.gate = asyncio.Event()
            waiting = asyncio.create_task(fetch(bench.port))
            await until(lambda: bench.app.requests == 1)
            assert not await bench.single.drain()
            try:
                assert await waiting == b""
            except ConnectionResetError:
                pass
            bench.app.gate.set()
            await bench.close()

        on_loop(main)

    def test_whom_the_kernel_has_let_in_is_served(self, tmp_path):
        async def main() -> None:
            bench = await Bench(tmp_path).start()
            (place,) = bench.worker.places.values()
            place.stop_accepting()
            waiting = [asyncio.create_task(fetch(bench.port)) for _ in range(5)]
            await asyncio.sleep(0.05)  # nobody accepts: they wait in the kernel's queue
            address = bench.bundle.config.listeners[0].addresses[0]
            await bench.worker._take_rest(place.site, bench.single._book.release(address))
            assert all(answer.startswith(b"HTTP/1.1 200") for answer in await asyncio.gather(*waiting))
            await bench.close()

        on_loop(main)
