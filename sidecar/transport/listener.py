"""Listening sockets: opened once, handed to every worker, accepted from until the drain says stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.address import Address

BACKLOG = 4096


def bind(address: Address, *, inheritable: bool = False) -> socket.socket:
    """A listening TCP socket; raises OSError. An IPv6 address binds IPv6 only (contract section 4)."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
        sock.set_inheritable(inheritable)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return sock


class Listener:
    """The accept loops of one configured listener; each socket is ours to close."""

    def __init__(self, name: str, sockets: Iterable[socket.socket], factory: Callable[[], Any]) -> None:
        self.name = name
        self.sockets = tuple(sockets)
        self._factory = factory
        self._servers: list[asyncio.AbstractServer] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            self._servers.append(await loop.create_server(self._factory, sock=sock, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Close the listening sockets of this process; connections already accepted live on."""
        for server in self._servers:
            server.close()
        self._servers.clear()
