"""Asks a running sidecar over its Unix socket; what `sidecar stats`, `reload` and the like are made of."""

from __future__ import annotations

import http.client
import socket
from typing import Final

TIMEOUT: Final = 65.0
"""Seconds; a reload may compile plugins."""
MAX_ANSWER: Final = 64 << 20


class NotRunning(Exception):
    """Nobody answers at the socket; the text says what to do about it."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, page: str, *, method: str = "GET", timeout: float = TIMEOUT) -> tuple[int, str]:
    """Status and body of ``page`` at the socket ``path``; raises :class:`NotRunning`."""
    connection = _Connection(path, timeout)
    try:
        connection.request(method, page)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER).decode("utf-8", "replace")
    except FileNotFoundError:
        raise NotRunning(f"no sidecar runs here: there is no socket at {path} (--socket says where it is)") from None
    except ConnectionRefusedError:
        raise NotRunning(f"no sidecar runs here: nobody listens at {path}") from None
    except PermissionError:
        raise NotRunning(f"{path}: only the sidecar's own user and root may ask") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(f"{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def read_page(path: str, name: str) -> tuple[int, str]:
    """``name``: config, routes, upstreams, plugins, stats, certs or metrics."""
    return ask(path, f"/{name}")


def reload(path: str) -> tuple[bool, str]:
    """Whether the new configuration was taken, and what was said."""
    status, text = ask(path, "/reload", method="POST")
    return status == 200, text


def drain(path: str) -> tuple[bool, str]:
    """Whether the drain has begun."""
    status, text = ask(path, "/drain", method="POST")
    return status == 202, text
