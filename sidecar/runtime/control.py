"""How a supervisor and its workers talk: one JSON object a line over a socket pair.

Requests carry ``id`` and ``do``; the answer carries the same ``id`` and whatever was asked for. A worker that loses the
line has lost its parent and ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
MAX_LINE = 64 << 20
"""Bytes of one message: a metrics page with every series in use stays far below."""


class ControlLine:
    """One end of the pair; both ends may ask."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 0
        self._asked: dict[int, asyncio.Future[Message]] = {}

    async def ask(self, do: str, patience: float, **fields: Any) -> Message:
        """Send a request and wait ``patience`` seconds for its answer; raises TimeoutError or ConnectionError."""
        self._next += 1
        number = self._next
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._send({"id": number, "do": do, **fields})
            async with asyncio.timeout(patience):
                return await future
        finally:
            self._asked.pop(number, None)

    def tell(self, do: str, **fields: Any) -> None:
        """Send something that needs no answer."""
        self._send({"do": do, **fields})

    async def serve(self, handle: Callable[[Message], Awaitable[Message | None]]) -> None:
        """Read until the other end is gone; requests go to ``handle``, each in its turn."""
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if "do" not in message:
                    future = self._asked.pop(message.get("id"), None)
                    if future is not None and not future.done():
                        future.set_result(message)
                    continue
                answer = await handle(message)
                if "id" in message:
                    self._send({"id": message["id"], **(answer or {})})
        except (ConnectionError, ValueError):
            pass
        finally:
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(ConnectionError("the other end is gone"))

    def close(self) -> None:
        self._writer.close()

    def _send(self, message: Message) -> None:
        if self._writer.is_closing():
            raise ConnectionError("the other end is gone")
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")


async def open_line(fd: int) -> ControlLine:
    """Wrap one end of a socket pair."""
    import socket

    sock = socket.socket(fileno=fd)
    reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_LINE)
    return ControlLine(reader, writer)
