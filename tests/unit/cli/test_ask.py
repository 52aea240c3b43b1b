from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.cli.ask import read_document, socket_path
from sidecar.cli.parse import dispatch
from sidecar.config.model import Admin
from tests.support.admin import FakeState, admin_server


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def socket(state, tmp_path):
    with admin_server(state, tmp_path):
        yield str(tmp_path / "admin.sock")


def test_a_page_goes_to_stdout(socket, capsys):
    assert dispatch(["stats", "--socket", socket]) == 0
    assert '"name": "stats"' in capsys.readouterr().out


def test_a_reload_that_is_taken_is_0_and_one_that_is_refused_1(socket, state, capsys):
    assert dispatch(["reload", "--socket", socket]) == 0
    assert capsys.readouterr().out == "generation 2\n"
    state.reload_answer = (False, "x.yaml:3: listeners: is no list")
    assert dispatch(["reload", "--socket", socket]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "x.yaml:3: listeners: is no list\n")


def test_a_drain_is_begun(socket, state, capsys):
    assert dispatch(["drain", "--socket", socket]) == 0
    assert state.changes == ["drain"]


def test_nobody_there_is_1_and_one_line(tmp_path, capsys):
    assert dispatch(["stats", "--socket", str(tmp_path / "none.sock")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


class TestConfig:
    @pytest.fixture
    def page(self, state):
        page = {
            "generation": 3,
            "files": [],
            "warnings": [],
            "refused": None,
            "source": {"workers": 1, "drain": {"delay": "5s"}},
            "effective": {"workers": 1, "limits": {"header_count": 100}},
        }
        state.pages["config"] = page
        return page

    def test_shows_what_was_written_or_what_is_in_effect(self, page, socket, capsys):
        assert dispatch(["config", "--socket", socket]) == 0
        assert capsys.readouterr().out == "drain:\n  delay: 5s\nworkers: 1\n"
        assert dispatch(["config", "--effective", "--socket", socket]) == 0
        assert "header_count: 100" in capsys.readouterr().out

    def test_Y7_says_why_a_newer_one_is_not_served(self, page, socket, capsys):
        page["refused"] = {"generation": 4, "problems": ["x.yaml:3: listeners: is no list"], "unix_time": 0.0}
        assert dispatch(["config", "--socket", socket]) == 0
        assert capsys.readouterr().err.splitlines()[0] == "x.yaml:3: listeners: is no list"

    def test_shows_the_difference_to_the_files(self, page, socket, tmp_path, capsys):
        path = tmp_path / "x.yaml"
        path.write_text("workers: 1\ndrain: {delay: 5s}\n")
        assert dispatch(["config", "--diff", "--socket", socket, "-c", str(path)]) == 0
        assert capsys.readouterr().out == "no difference\n"
        path.write_text("workers: 1\ndrain: {delay: 7s}\n")
        assert dispatch(["config", "--diff", "--socket", socket, "-c", str(path)]) == 1
        out = capsys.readouterr().out
        assert "-  delay: 5s" in out and "+  delay: 7s" in out


class TestTheSocketsPath:
    def write(self, folder: Path, text: str) -> list[str]:
        path = folder / "x.yaml"
        path.write_text(text)
        return [str(path)]

    def test_is_the_one_given(self, tmp_path):
        assert socket_path("/s", self.write(tmp_path, "admin: {socket: /t}\n"), {}) == "/s"

    def test_or_the_one_that_the_files_name(self, tmp_path):
        assert socket_path(None, self.write(tmp_path, "admin: {socket: '${DIR}/t'}\n"), {"DIR": "/d"}) == "/d/t"

    def test_also_when_they_are_wrong_otherwise(self, tmp_path):
        assert socket_path(None, self.write(tmp_path, "nonsense: [1]\nadmin: {socket: /t}\n"), {}) == "/t"

    def test_or_the_default(self, tmp_path):
        assert socket_path(None, self.write(tmp_path, "workers: 1\n"), {}) == Admin().socket
        assert socket_path(None, self.write(tmp_path, "admin: nonsense\n"), {}) == Admin().socket

    def test_a_file_that_cannot_be_read_is_told(self, tmp_path, capsys):
        assert read_document([str(tmp_path / "none.yaml")], {}) == {}
        assert "none.yaml" in capsys.readouterr().err
