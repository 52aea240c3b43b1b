from __future__ import annotations

import asyncio
import socket

import pytest

from sidecar.address import Address
from sidecar.transport.listener import Listener, bind
from tests.support.loops import BOTH_LOOPS, run, until


class Counted(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1
        transport.close()  # type: ignore[attr-defined]


def test_a_taken_address_is_said_by_name():
    with bind(Address("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            bind(Address("127.0.0.1", port))


def test_sockets_are_handed_to_workers_only_when_asked():
    with bind(Address("127.0.0.1", 0)) as own, bind(Address("127.0.0.1", 0), inheritable=True) as shared:
        assert not own.get_inheritable() and shared.get_inheritable()
        assert not own.getblocking()


def test_ipv6_is_ipv6_only():
    try:
        sock = bind(Address("::1", 0))
    except OSError as error:
        assert "cannot listen on [::1]:0" in str(error)  # a machine without IPv6 says so
        return
    with sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@BOTH_LOOPS
def test_it_accepts_until_it_is_told_to_stop(new_loop):
    async def main():
        sockets = [bind(Address("127.0.0.1", 0)) for _ in range(2)]
        addresses = [sock.getsockname() for sock in sockets]
        listener = Listener("in", sockets, Counted)
        Counted.made = 0
        await listener.start()
        for address in addresses:
            socket.create_connection(address).close()
        await until(lambda: Counted.made == 2)
        listener.stop_accepting()
        await asyncio.sleep(0)
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    run(new_loop, main())
