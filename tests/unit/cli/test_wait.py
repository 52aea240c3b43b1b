from __future__ import annotations

import threading

from sidecar.cli.wait import wait
from tests.support.admin import FakeState, admin_server


def test_it_returns_when_the_sidecar_is_ready(tmp_path):
    state = FakeState()
    state.is_ready = False
    with admin_server(state, tmp_path):
        timer = threading.Timer(0.2, lambda: setattr(state, "is_ready", True))
        timer.start()
        assert wait(str(tmp_path / "admin.sock"), 20.0, []) == 0
        assert state.is_ready
        timer.join()


def test_it_gives_up_with_the_reason(tmp_path, capsys):
    assert wait(str(tmp_path / "none.sock"), 0.0, []) == 1
    assert "not ready after 0 s: no sidecar runs here" in capsys.readouterr().err
    state = FakeState()
    state.is_ready = False
    with admin_server(state, tmp_path):
        assert wait(str(tmp_path / "admin.sock"), 0.0, ["true"]) == 1
    assert "the sidecar is not ready" in capsys.readouterr().err


def test_it_becomes_the_command(tmp_path):
    became: list[list[str]] = []
    with admin_server(FakeState(), tmp_path):
        wait(str(tmp_path / "admin.sock"), 1.0, ["app", "-x"], become=lambda name, words: became.append([name, *words]))
    assert became == [["app", "app", "-x"]]


def test_a_command_that_is_not_there_is_1(tmp_path, capsys):
    with admin_server(FakeState(), tmp_path):
        assert wait(str(tmp_path / "admin.sock"), 1.0, [str(tmp_path / "nothing")]) == 1
    assert "cannot run" in capsys.readouterr().err
