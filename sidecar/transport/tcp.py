"""One TCP connection: bytes in, bytes out, back-pressure both ways, an end that is told once.

The subclass sees only bytes. Reading stops when it says so, writing says False above the watermark, and every
way to die ends in :meth:`Connection.on_lost`. An exception in a callback kills this connection and no other: the
connection callback is one of the three firewalls of the house.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable
from typing import Final, cast

from mypy_extensions import mypyc_attr

from sidecar.address import Address

WRITE_HIGH: Final = 65536
WRITE_LOW: Final = 16384
"""Bytes waiting in user space for a slow reader; the kernel's own buffer comes on top."""

_ZERO: Final = bytes(4)
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that vanished without a word is noticed in a minute and a half (reliability row X13)."""

NO_ADDRESS: Final = Address("", 0)


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection:
    """Base of downstream and upstream connections.

    An ``asyncio.Protocol`` by its methods and not by inheritance: the class is compiled, and its base must be ours.
    """

    __slots__ = ("_reading", "is_lost", "is_writable", "local", "peer", "report_bug", "transport")

    def __init__(self, report_bug: Callable[[str, BaseException], None]) -> None:
        self.report_bug = report_bug
        self.transport: asyncio.Transport | None = None
        self.is_writable = True
        self.is_lost = False
        self._reading = True
        self.peer = NO_ADDRESS
        self.local = NO_ADDRESS

    # --- for the subclass ------------------------------------------------------------------------------------

    def on_made(self) -> None:
        """The connection is up."""

    def on_bytes(self, data: bytes) -> None:
        """Bytes arrived."""

    def on_eof(self) -> None:
        """The peer will send nothing more; we may still write."""

    def on_writable(self) -> None:
        """The write buffer fell below the low watermark."""

    def on_lost(self) -> None:
        """The connection is gone; called once."""

    def write(self, data: bytes) -> bool:
        """Queue bytes; False when the buffer is above the watermark."""
        transport = self.transport
        if transport is not None and not self.is_lost:
            transport.write(data)
        return self.is_writable

    def set_reading(self, wanted: bool) -> None:
        """Stop or go on reading from the socket."""
        if wanted is self._reading or self.is_lost or self.transport is None or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def half_close(self) -> None:
        """Send FIN, keep reading."""
        transport = self.transport
        if transport is not None and not self.is_lost and transport.can_write_eof():
            transport.write_eof()

    def close(self) -> None:
        """Flush what is queued, then close."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut: the peer sees a reset, never a clean end."""
        transport = self.transport
        if transport is None or self.is_lost:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            try:
                # Linger 0 turns the close into a RST: a cut message must not look like a finished one.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            except OSError:
                pass
        transport.abort()

    def has_unread(self) -> bool:
        """True when the kernel holds bytes of the peer that we have not seen yet."""
        sock = self.transport.get_extra_info("socket") if self.transport is not None else None
        if sock is None:
            return False
        try:
            return fcntl.ioctl(sock.fileno(), termios.FIONREAD, _ZERO) != _ZERO
        except OSError:
            return False

    # --- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        self.peer = _address(transport.get_extra_info("peername"))
        self.local = _address(transport.get_extra_info("sockname"))
        sock = transport.get_extra_info("socket")
        if sock is not None:
            try:
                for level, option, value in _KEEPALIVE:
                    sock.setsockopt(level, option, value)
            except OSError:
                pass  # the peer has gone already; its end comes as an event
        try:
            self.on_made()
        except Exception as bug:  # firewall: a connection callback
            self._on_bug("connection_made", bug)

    def data_received(self, data: bytes) -> None:
        try:
            self.on_bytes(data)
        except Exception as bug:  # firewall: a connection callback
            self._on_bug("data_received", bug)

    def eof_received(self) -> bool:
        try:
            self.on_eof()
        except Exception as bug:  # firewall: a connection callback
            self._on_bug("eof_received", bug)
        return True

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        try:
            self.on_writable()
        except Exception as bug:  # firewall: a connection callback
            self._on_bug("resume_writing", bug)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        try:
            self.on_lost()
        except Exception as bug:  # firewall: a connection callback
            self.report_bug("connection_lost", bug)
        self.transport = None

    def _on_bug(self, where: str, bug: BaseException) -> None:
        self.report_bug(where, bug)
        self.abort()


def _address(name: object) -> Address:
    if isinstance(name, tuple) and len(name) >= 2:
        return Address(str(name[0]), int(name[1]))
    return NO_ADDRESS
