"""An admin server over a state that is plain data, on ports of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sidecar.address import Address
from sidecar.admin.http import AdminServer


class FakeState:
    """Everything is well, and every change is remembered."""

    def __init__(self) -> None:
        self.is_ready = True
        self.reload_answer = (True, "generation 2")
        self.changes: list[str] = []
        names = ("config", "routes", "upstreams", "plugins", "stats")
        self.pages: dict[str, Any] = {name: {"name": name} for name in names}
        self.renders = 0

    def config(self) -> object:
        return self.pages["config"]

    def routes(self) -> object:
        return self.pages["routes"]

    def upstreams(self) -> object:
        return self.pages["upstreams"]

    def plugins(self) -> object:
        return self.pages["plugins"]

    def stats(self) -> object:
        return self.pages["stats"]

    def metrics(self) -> bytes:
        self.renders += 1
        return b"# TYPE loom_x counter\nloom_x 1\n"

    def ready(self) -> bool:
        return self.is_ready

    def live(self) -> bool:
        return True

    def started(self) -> bool:
        return True

    def reload(self) -> tuple[bool, str]:
        self.changes.append("reload")
        return self.reload_answer

    def drain(self) -> None:
        self.changes.append("drain")


@contextmanager
def admin_server(state: Any, folder: Path) -> Iterator[AdminServer]:
    """Started on free loopback ports, with its Unix socket in ``folder``."""
    here = Address("127.0.0.1", 0)
    server = AdminServer(
        SimpleNamespace(address=here, socket=str(folder / "admin.sock")),  # type: ignore[arg-type]  # the block's shape
        SimpleNamespace(address=here),  # type: ignore[arg-type]
        SimpleNamespace(address=here),  # type: ignore[arg-type]
        state,
    )
    assert server.start() == []
    try:
        yield server
    finally:
        server.close()


def raw(target: Address | str, data: bytes, timeout: float = 30.0) -> bytes:
    """Send ``data`` to an address or to a Unix socket's path, and read until the other side closes."""
    if isinstance(target, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(target)
    else:
        sock = socket.create_connection(target, timeout)
    with sock:
        sock.settimeout(timeout)
        received = b""
        try:
            sock.sendall(data)
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionError:
            pass
        return received


def get(
    target: Address | str, path: str, *headers: str, method: str = "GET", host: str | None = None
) -> tuple[int, str]:
    """Status and everything after it (head and body) of one request."""
    name = host if host is not None else (str(target) if isinstance(target, Address) else "localhost")
    lines = "".join(f"{line}\r\n" for line in (f"Host: {name}", *headers))
    answer = raw(target, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")).decode("utf-8", "replace")
    return int(answer.split(" ", 2)[1]), answer
