from __future__ import annotations

import os
import socket
import stat

import pytest

from sidecar.admin import unix_socket


def test_the_socket_is_ours_alone_from_its_first_moment(tmp_path):
    path = tmp_path / "new" / "admin.sock"
    old = os.umask(0)
    try:
        with unix_socket.bind(str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_A5_a_stale_socket_is_replaced(tmp_path):
    path = str(tmp_path / "admin.sock")
    unix_socket.bind(path).close()
    with unix_socket.bind(path) as sock:
        assert unix_socket.identity(path) is not None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            peer, _ = sock.accept()
            with peer:
                assert unix_socket.is_allowed(peer)


def test_A5_a_socket_in_use_is_left_alone(tmp_path):
    path = str(tmp_path / "admin.sock")
    with unix_socket.bind(path):
        with pytest.raises(OSError, match="in use"):
            unix_socket.bind(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_A5_a_symbolic_link_is_refused(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "admin.sock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        unix_socket.bind(str(tmp_path / "admin.sock"))
    assert victim.read_text() == "precious"


def test_A5_a_file_in_its_place_is_refused(tmp_path):
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        unix_socket.bind(str(path))
    assert path.read_text() == "precious"


def test_A5_a_folder_open_to_others_is_refused(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(OSError, match="written by others"):
        unix_socket.bind(str(folder / "admin.sock"))
    folder.chmod(0o1777)
    unix_socket.bind(str(folder / "admin.sock")).close()


def test_a_path_that_is_too_long_is_an_error_not_a_crash(tmp_path):
    with pytest.raises(OSError):
        unix_socket.bind(str(tmp_path / ("x" * 200)))


def test_nothing_has_no_identity(tmp_path):
    assert unix_socket.identity(str(tmp_path / "nothing")) is None
