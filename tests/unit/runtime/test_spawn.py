from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from sidecar.address import Address
from sidecar.runtime.journal import make_journal
from sidecar.runtime.spawn import Inbox, spawn_worker
from tests.support.runtime import on_loop, until
from tests.support.wait import eventually

A, B = Address("127.0.0.1", 1), Address("::1", 2)


def send(door: socket.socket, address: Address, sock: socket.socket) -> None:
    socket.send_fds(door, [str(address).encode()], [sock.fileno()])


def test_sockets_come_by_their_addresses():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as server:
        inbox = Inbox(theirs)
        send(ours, A, server)
        send(ours, B, server)
        inbox.collect()
        with inbox.take(A) as taken:
            assert taken.getsockname() == server.getsockname()
            assert not taken.get_inheritable()
        with pytest.raises(OSError, match=r"no socket for 127\.0\.0\.1:1"):
            inbox.take(A)
        inbox.collect()  # what nobody took is closed
        with pytest.raises(OSError):
            inbox.take(B)


def test_a_worker_answers_and_ends_when_its_line_does():
    async def main() -> None:
        worker = await spawn_worker({**os.environ, "SIDECAR_LOOP": "asyncio"}, make_journal())
        assert worker.pid != os.getpid()
        worker.close()
        assert await worker.process.wait() == 0

    on_loop(main)


def test_X6_a_worker_dies_with_its_parent():
    program = (
        "import asyncio, os, sys\n"
        "from sidecar.runtime.journal import make_journal\n"
        "from sidecar.runtime.spawn import spawn_worker\n"
        "async def main():\n"
        "    worker = await spawn_worker(os.environ, make_journal())\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        eventually(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_worker_is_noticed():
    async def main() -> None:
        worker = await spawn_worker(os.environ, make_journal())
        worker.kill()
        await until(lambda: worker.process.returncode is not None)
        worker.kill()  # nothing left to do
        worker.close()

    on_loop(main)
