from __future__ import annotations

import asyncio
import socket

import uvloop

from sidecar.runtime.run import RunOptions, refuse, run, run_loop
from tests.support.runtime import write_config


async def which_loop() -> list[str]:
    return [type(asyncio.get_running_loop()).__module__]


def test_the_loop_is_uvloop_unless_switched_off():
    assert run_loop(which_loop(), {}) == [uvloop.Loop.__module__]
    assert run_loop(which_loop(), {"SIDECAR_LOOP": "asyncio"}) != [uvloop.Loop.__module__]


def test_a_configuration_that_is_wrong_is_told_whole_and_ends_with_1(tmp_path, capfd):
    path = write_config(tmp_path, "nonsense: 1\nlimits: {header_count: many}\n")
    assert run(RunOptions((str(path),)), {}) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}:") for line in lines)


def test_a_file_that_is_not_there_ends_with_1(tmp_path, capfd):
    assert run(RunOptions((str(tmp_path / "none.yaml"),)), {}) == 1
    assert "none.yaml" in capfd.readouterr().err


def test_a_taken_address_is_one_line(tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"admin: {{socket: {tmp_path}/s}}\n"
        path = write_config(tmp_path, text, port=port)
        assert run(RunOptions((str(path),)), {}) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    assert "cannot listen on" in errors[0]


def test_reasons_make_a_1(capfd):
    assert refuse([]) == 0
    assert refuse(["a", "b"]) == 1
    assert capfd.readouterr().err == "a\nb\n"
