"""An OTLP/HTTP receiver that accepts everything and counts it: ``python -m bench.sink PORT``; GET says the counts."""

from __future__ import annotations

import asyncio
import json
import sys


class Sink:
    """Counts POSTs and their bytes."""

    def __init__(self) -> None:
        self.exports = 0
        self.bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests one after the other, with a length or in chunks (RFC 9112 section 7.1)."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"get"):
                    body = json.dumps({"exports": self.exports, "bytes": self.bytes}).encode()
                else:
                    self.bytes += await self.skip_body(head, reader)
                    self.exports += 1
                    body = b""
                kind = b"application/json" if body else b"application/x-protobuf"
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body)))
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def skip_body(self, head: bytes, reader: asyncio.StreamReader) -> int:
        """Reads the body past ``head`` (lower case) and returns its size in bytes."""
        fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if b"chunked" not in fields.get(b"transfer-encoding", b""):
            return len(await reader.readexactly(int(fields.get(b"content-length", b"0"))))
        total = 0
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            total += len(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return total


async def main(port: int) -> None:
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", port, limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
