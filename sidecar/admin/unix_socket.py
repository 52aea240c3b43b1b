"""The admin socket in the file system: made so that only our user can open it, and never through a link."""

from __future__ import annotations

import os
import socket
import stat
import struct
from typing import Final

MODE: Final = 0o600
BACKLOG: Final = 64
_credentials = struct.Struct("3i")


def bind(path: str) -> socket.socket:
    """A listening socket at ``path``; replaces a stale one of ours. Raises OSError with a reason a user can act on."""
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"admin socket: cannot make {folder}: {error.strerror}") from None
    _check_folder(folder)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode of the socket's inode is that of the file: set before, there is no moment with another.
        os.fchmod(sock.fileno(), MODE)
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"admin socket {path}: {error.strerror or error}") from None
    return sock


def _check_folder(folder: str) -> None:
    """In a folder where others may rename files, ours could be put aside and another's be asked."""
    found = os.stat(folder)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise PermissionError(f"admin socket: {folder} can be written by others; use a folder of our own")


def _clear(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"admin socket {path} is a symbolic link; it is not followed")
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(f"admin socket {path}: a file that is no socket is in its place")
    if found.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise PermissionError(f"admin socket {path} belongs to another user")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except OSError as error:
            raise OSError(error.errno, f"admin socket {path}: {error.strerror or error}") from None
        else:
            raise FileExistsError(f"admin socket {path} is in use by a running sidecar")
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode, to tell our socket from a successor's."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_allowed(sock: socket.socket) -> bool:
    """Whether the peer's process runs as our user or as root."""
    size = _credentials.size
    _pid, uid, _gid = _credentials.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in {0, os.geteuid()}
