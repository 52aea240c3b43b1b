from __future__ import annotations

import json
import socket

import pytest

from sidecar.admin import client
from tests.support.admin import FakeState, admin_server


def test_pages_are_read_and_changes_made(tmp_path):
    state = FakeState()
    path = str(tmp_path / "admin.sock")
    with admin_server(state, tmp_path):
        status, text = client.read_page(path, "stats")
        assert (status, json.loads(text)) == (200, {"name": "stats"})
        assert client.reload(path) == (True, "generation 2\n")
        state.reload_answer = (False, "wrong")
        assert client.reload(path) == (False, "wrong\n")
        assert client.drain(path) == (True, "draining\n")


def test_a_sidecar_that_does_not_run_is_said_to_be_so(tmp_path):
    with pytest.raises(client.NotRunning, match="no socket at"):
        client.read_page(str(tmp_path / "none"), "stats")
    stale = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(stale)
    with pytest.raises(client.NotRunning, match="nobody listens"):
        client.read_page(stale, "stats")
