"""A worker of a supervisor: serves as it is told over its line, and ends when the line does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from sidecar.errors import ConfigError
from sidecar.runtime.bundle import Bundle, ModuleBasket, config_from
from sidecar.runtime.control import ControlLine, Message, open_line
from sidecar.runtime.joint_state import JointState
from sidecar.runtime.journal import Journal
from sidecar.runtime.logsink import Logger, LogSink
from sidecar.runtime.process import Process
from sidecar.runtime.report import worker_page
from sidecar.runtime.run import run_loop
from sidecar.runtime.single import Single
from sidecar.runtime.sockets import SocketBook, raise_descriptor_limit
from sidecar.runtime.spawn import Inbox, die_with


class Child:
    """Answers the supervisor; the messages are the table in :meth:`handle`."""

    def __init__(self, line: ControlLine, inbox: Inbox, journal: Journal, sink: LogSink) -> None:
        self._line = line
        self._journal = journal
        self._inbox = inbox
        self._sink = sink
        self._basket = ModuleBasket()
        self._single: Single | None = None
        self._process: Process | None = None
        self._end: asyncio.Task[None] | None = None

    async def handle(self, message: Message) -> Message | None:
        answer: Message = await getattr(self, "do_" + message["do"])(message)
        return answer

    async def do_begin(self, message: Message) -> Message:
        """First of all: how to log, and what is decided once."""
        log = Logger(self._sink, message["log_level"], format=message["log_format"])
        self._process = Process(
            asyncio.get_running_loop(),
            log,
            max_series=message["max_series"],
            held_bodies=message["held_bodies"],
            environ=os.environ,
            worker=message["worker"],
        )
        self._process.shared = JointState(self._journal, message["worker"], self._process.timers)
        self._single = Single(self._process, SocketBook(self._inbox.take), raise_descriptor_limit())
        return {}

    async def do_module(self, message: Message) -> Message:
        self._basket.add(message)
        return {}

    async def do_prepare(self, message: Message) -> Message:
        assert self._single is not None
        self._inbox.collect()
        try:
            await self._single.prepare(Bundle(config_from(message["config"]), self._basket.take()), message["number"])
        except ConfigError as error:
            return {"problems": [list(problem) for problem in error.problems]}
        return {"problems": []}

    async def do_commit(self, _message: Message) -> Message:
        assert self._single is not None
        await self._single.commit()
        if not self._single.is_started:
            await self._single.settle()
        return {}

    async def do_abort(self, _message: Message) -> Message:
        assert self._single is not None
        await self._single.abort()
        return {}

    async def do_ping(self, _message: Message) -> Message:
        return {}

    async def do_page(self, message: Message) -> Message:
        assert self._single is not None
        return {"data": worker_page(self._single.worker, message["name"])}

    async def do_metrics(self, _message: Message) -> Message:
        assert self._process is not None
        return {"data": self._process.registry.snapshot()}

    async def do_drain(self, _message: Message) -> Message:
        """Begin to; the end of this process says when it is done."""
        self.drain()
        return {}

    async def do_hurry(self, _message: Message) -> Message:
        self.drain()
        if self._single is not None:
            self._single.hurry()
        return {}

    def drain(self) -> None:
        if self._end is None:
            self._end = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        if self._single is not None and self._single.is_started:
            await self._single.drain()
            await self._single.close()
            assert self._process is not None
            # The last word: what has been counted is not lost with the process.
            self._line.tell("farewell", data=self._process.registry.snapshot())
        self._line.close()


async def _serve(line_fd: int, door_fd: int, journal_fd: int, sink: LogSink) -> list[str]:
    loop = asyncio.get_running_loop()
    line = await open_line(line_fd)
    child = Child(line, Inbox(socket.socket(fileno=door_fd)), Journal(journal_fd), sink)
    loop.add_signal_handler(signal.SIGTERM, child.drain)
    for number in (signal.SIGINT, signal.SIGHUP):
        # Meant for the supervisor.
        loop.add_signal_handler(number, lambda: None)
    await line.serve(child.handle)
    return []


def main(words: list[str]) -> int:
    line_fd, door_fd, journal_fd, parent = (int(word) for word in words)
    die_with(parent)
    sink = LogSink("/dev/stderr")
    sink.start()
    try:
        os.set_inheritable(journal_fd, False)
        run_loop(_serve(line_fd, door_fd, journal_fd, sink), os.environ)
    finally:
        sink.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
