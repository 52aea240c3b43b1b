"""Starting a worker process, and what is handed to it: two sockets, one for words and one for listening sockets."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Final

from sidecar.address import Address, parse_address
from sidecar.runtime.control import ControlLine, open_line

PR_SET_PDEATHSIG: Final = 1
MAX_ADDRESS: Final = 256


class WorkerProcess:
    """The supervisor's handle on one worker."""

    def __init__(self, process: asyncio.subprocess.Process, line: ControlLine, door: socket.socket) -> None:
        self.process = process
        self.line = line
        self._door = door

    @property
    def pid(self) -> int:
        return self.process.pid

    def hand_over(self, sockets: Mapping[Address, socket.socket]) -> None:
        """Send copies of listening sockets; what is said on the line afterwards may speak of them."""
        for address, sock in sockets.items():
            socket.send_fds(self._door, [str(address).encode()], [sock.fileno()])

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    def close(self) -> None:
        self.line.close()
        self._door.close()


async def spawn_worker(environ: Mapping[str, str], journal: int) -> WorkerProcess:
    """A fresh process (no fork of ours: threads and the engine do not survive one). Raises OSError.

    ``journal`` is the descriptor of what plugins share (:mod:`sidecar.runtime.journal`).
    """
    ours, theirs = socket.socketpair()
    door, their_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, their_door:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sidecar.runtime.child",
                str(theirs.fileno()),
                str(their_door.fileno()),
                str(journal),
                str(os.getpid()),
                pass_fds=(theirs.fileno(), their_door.fileno(), journal),
                stdin=asyncio.subprocess.DEVNULL,
                # A signal to our group is for us: the workers hear of it from here, all at the same moment.
                start_new_session=True,
                env=dict(environ),
            )
        except OSError:
            ours.close()
            door.close()
            raise
    ours.setblocking(False)
    door.setblocking(False)
    return WorkerProcess(process, await open_line(ours.detach()), door)


# --- the worker's side -----------------------------------------------------------------------------------------


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent does; end now when that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


class Inbox:
    """Listening sockets that have come from the supervisor, by address."""

    def __init__(self, door: socket.socket) -> None:
        door.setblocking(False)
        self._door = door
        self._waiting: dict[Address, socket.socket] = {}

    def collect(self) -> None:
        """Take what has been sent since the last time; what was left over then is closed."""
        for sock in self._waiting.values():
            sock.close()
        self._waiting.clear()
        while True:
            try:
                name, descriptors, _, _ = socket.recv_fds(self._door, MAX_ADDRESS, 1)
            except BlockingIOError:
                return
            if not descriptors:
                return
            sock = socket.socket(fileno=descriptors[0])
            sock.set_inheritable(False)
            sock.setblocking(False)
            self._waiting[parse_address(name.decode())] = sock

    def take(self, address: Address) -> socket.socket:
        """In place of binding; raises OSError when the supervisor has sent none."""
        try:
            return self._waiting.pop(address)
        except KeyError:
            raise OSError(f"no socket for {address} came from the supervisor") from None
