"""The listening sockets of all configured addresses: bound by one process, accepted from by every worker.

The originals stay here for as long as an address is configured. What accepts gets a duplicate, so that an address can
go from one listener to another without a moment in which nobody listens.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.address import Address
from sidecar.config.model import Config
from sidecar.transport.listener import bind

RESERVED_DESCRIPTORS: Final = 64
"""Kept for the admin pages, logs, the exporter and files."""
PER_CONNECTION: Final = 2.5
"""Descriptors a downstream connection may cost: its own, its upstream's, half a one that is being refused."""
MOST_DESCRIPTORS: Final = 1 << 20


class SocketBook:
    """Prepare, then commit or abort; :meth:`duplicate` in between and after."""

    def __init__(self, bind_one: Callable[[Address], socket.socket] = bind) -> None:
        self._bind = bind_one
        self._held: dict[Address, socket.socket] = {}
        self._fresh: dict[Address, socket.socket] = {}
        self._wanted: frozenset[Address] = frozenset()

    def prepare(self, addresses: Iterable[Address]) -> list[str]:
        """Bind what is not bound yet; the answer lists what could not be, and then nothing new is kept."""
        self._wanted = frozenset(addresses)
        problems: list[str] = []
        for address in sorted(self._wanted - self._held.keys()):
            try:
                self._fresh[address] = self._bind(address)
            except OSError as error:
                problems.append(error.strerror or str(error))
        if problems:
            self.abort()
        return problems

    def fresh(self) -> dict[Address, socket.socket]:
        """What the last :meth:`prepare` has bound; ours to close."""
        return dict(self._fresh)

    def held(self) -> dict[Address, socket.socket]:
        """What is in use; ours to close."""
        return dict(self._held)

    def duplicate(self, address: Address) -> socket.socket:
        """A socket for an accept loop; the caller's to close."""
        return (self._held.get(address) or self._fresh[address]).dup()

    def commit(self) -> None:
        """What is wanted no more is closed."""
        self._held.update(self._fresh)
        self._fresh.clear()
        for address in self._held.keys() - self._wanted:
            self._held.pop(address).close()

    def abort(self) -> None:
        for sock in self._fresh.values():
            sock.close()
        self._fresh.clear()

    def release(self, address: Address) -> socket.socket:
        """Give up our copy; the caller's to close."""
        return self._held.pop(address)

    def close(self) -> None:
        """Nobody listens any more once the duplicates are closed too."""
        self.abort()
        for sock in self._held.values():
            sock.close()
        self._held.clear()


def addresses_of(config: Config) -> list[Address]:
    return [address for listener in config.listeners for address in listener.addresses]


def raise_descriptor_limit() -> int:
    """Take as many descriptors as we are allowed; the answer is how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def connection_share(descriptors: int, listeners: int, configured: int) -> int:
    """Connections one listener may hold, so that accepting never meets the end of the descriptors (row X1)."""
    share = int((descriptors - RESERVED_DESCRIPTORS) / PER_CONNECTION / max(listeners, 1))
    return max(1, min(configured, share))
