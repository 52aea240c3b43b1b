"""An HTTP/1.1 client made of one socket: sends any bytes, and reads answers more strictly than a real one would."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Self

PATIENCE = 20.0
"""Seconds after which a silent peer fails the test; never waited for when all is well."""

Fields = list[tuple[bytes, bytes]]


class Gone(Exception):
    """The peer ended the connection where an answer should have begun; ``how`` is ``eof`` or ``reset``."""

    def __init__(self, how: str, got: bytes) -> None:
        super().__init__(f"{how} after {got!r}")
        self.how = how
        self.got = got


@dataclass
class Answer:
    """One answer. ``end`` says how the body ended: ``whole``, or ``eof`` or ``reset`` where it was cut short."""

    status: int
    reason: bytes
    fields: Fields
    version: bytes = b"HTTP/1.1"
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interim: list[Answer] = field(default_factory=list)
    end: str = "whole"
    head: bytes = b""

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self.fields if key.lower() == name.lower().encode()]

    @property
    def error(self) -> str:
        """The code of a refusal of ours; empty in an answer of the app."""
        return self.get("x-sidecar-error") or ""

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.error


def parse_head(head: bytes) -> tuple[bytes, Fields]:
    """First line and fields of a head that ends with its empty line; asserts that the form is perfect."""
    assert head.endswith(b"\r\n\r\n"), head
    first, *lines = head[:-4].split(b"\r\n")
    fields = []
    for line in (first, *lines):
        assert b"\n" not in line and b"\r" not in line and b"\0" not in line, head
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon and name and not name.strip(b"!#$%&'*+-.^_`|~0123456789" + _LETTERS), head
        fields.append((name, value.strip(b" \t")))
    return first, fields


_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Client:
    """A connection to a port of loopback."""

    def __init__(self, port: int, *, timeout: float = PATIENCE, receive_buffer: int = 0, source: str = "") -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.ended = ""
        """``eof`` or ``reset`` once the peer has ended the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Self:
        """A peer that has gone is no error here: what it said is still to be read."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            pass
        return self

    def finish(self) -> Self:
        """Half-close: nothing more will be sent."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return self

    def cut(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def fill(self) -> bool:
        """Take in what there is, waiting for it; False when the connection has ended."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            self.ended = "reset"
            return False
        if not data:
            self.ended = "eof"
            return False
        self.buffer += data
        return True

    def read_head(self) -> bytes:
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                raise Gone(self.ended, self.buffer)
        at = self.buffer.index(b"\r\n\r\n") + 4
        head, self.buffer = self.buffer[:at], self.buffer[at:]
        return head

    def read_some(self, size: int) -> bytes:
        """``size`` bytes, or fewer when the connection ends first."""
        pieces = []
        while True:
            pieces.append(self.buffer[:size])
            size -= len(pieces[-1])
            self.buffer = self.buffer[len(pieces[-1]) :]
            if not size or not self.fill():
                return b"".join(pieces)

    def read_line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise Gone(self.ended, self.buffer)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_answer(self, method: str = "GET") -> Answer:
        """The next final answer, its interim ones in ``interim``; raises :class:`Gone` when there is none."""
        interim: list[Answer] = []
        while True:
            answer = self.read_answer_head()
            if answer.status >= 200 or answer.status == 101:
                break
            interim.append(answer)
        answer.interim = interim
        if method != "HEAD" and answer.status not in (101, 204, 304):
            self._read_body(answer)
        return answer

    def read_answer_head(self) -> Answer:
        head = self.read_head()
        first, fields = parse_head(head)
        version, _, rest = first.partition(b" ")
        status, _, reason = rest.partition(b" ")
        assert version in (b"HTTP/1.1", b"HTTP/1.0") and len(status) == 3, head
        return Answer(int(status), reason, fields, version, head=head)

    def _read_body(self, answer: Answer) -> None:
        lengths = answer.all("content-length")
        codings = answer.all("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, f"an ambiguous answer: {answer.head!r}"
        if codings:
            assert codings == ["chunked"], answer.head
            try:
                self._read_chunks(answer)
            except Gone as gone:
                answer.end = gone.how
        elif lengths:
            answer.body = self.read_some(int(lengths[0]))
            if len(answer.body) < int(lengths[0]):
                answer.end = self.ended
        else:
            answer.body = self.read_rest()
            answer.end = "whole" if self.ended == "eof" else self.ended

    def _read_chunks(self, answer: Answer) -> None:
        while size := int(self.read_line().partition(b";")[0], 16):
            answer.body += self.read_some(size)
            if self.read_some(2) != b"\r\n":
                raise Gone(self.ended, b"")
        while line := self.read_line():
            name, _, value = line.partition(b":")
            answer.trailers.append((name, value.strip(b" \t")))

    def read_rest(self) -> bytes:
        """Everything until the connection ends."""
        while self.fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def wait_for_end(self) -> str:
        """``eof`` or ``reset``; asserts that nothing more was said."""
        rest = self.read_rest()
        assert not rest, f"more than was asked for: {rest[:500]!r}"
        return self.ended


def ask(port: int, request: bytes, method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    with Client(port) as client:
        return client.send(request).read_answer(method)


def get(path: str = "/", *fields: str, host: str = "app.test", method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a plain request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body; ``trailers`` are whole lines."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
