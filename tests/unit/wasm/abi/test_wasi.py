from __future__ import annotations

from typing import Any

import pytest

from sidecar.wasm.abi import wasi
from sidecar.wasm.trap import ProcExit
from tests.support.guest import Guest
from tests.support.plugins import House

ROWS = {row.name: row for row in wasi.FUNCTIONS}


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def guest(house: House) -> Any:
    """A running instance, whose memory is at hand."""
    return house.plugin(Guest())._instance


def ask(guest: Any, name: str, *arguments: int) -> Any:
    guest.fuel = guest.budget
    return ROWS[name].handler(guest, *arguments)


def put(guest: Any, text: bytes) -> None:
    """``text`` at 1000 and an iovec for it at 64, in two pieces."""
    guest.vm.write(1000, text)
    for index, (at, size) in enumerate(((1000, 2), (1002, len(text) - 2))):
        guest.vm.write_u32(64 + 8 * index, at)
        guest.vm.write_u32(68 + 8 * index, size)


@pytest.mark.parametrize(("fd", "level"), [(1, "info"), (2, "error")])
def test_abi_113_output_is_a_log_line(house: House, guest: Any, fd: int, level: str) -> None:
    put(guest, b"hello\n")
    assert ask(guest, "fd_write", fd, 64, 2, 128) == 0
    assert house.lines == [("probe", level, "hello", {})]
    assert guest.vm.read_u32(128) == 6
    assert ask(guest, "fd_pwrite", fd, 64, 2, 7, 128) == 0
    assert len(house.lines) == 2


def test_W20_there_is_nothing_else_to_write_to_or_read_from(house: House, guest: Any) -> None:
    put(guest, b"hello\n")
    for fd in (0, 3, 0xFFFFFFFF):
        assert ask(guest, "fd_write", fd, 64, 2, 128) == 8
        assert ask(guest, "fd_sync", fd) == 8
        assert ask(guest, "fd_fdstat_get", fd, 128) == 8
    assert house.lines == []
    assert ask(guest, "fd_read", 0, 64, 2, 128) == 0 and guest.vm.read_u32(128) == 0
    assert ask(guest, "fd_read", 3, 64, 2, 128) == 8


def test_addresses_outside_memory_are_a_fault(guest: Any) -> None:
    far = 0x7FFFFFF0
    assert ask(guest, "fd_write", 1, far, 1, 128) == 21
    assert ask(guest, "fd_write", 1, 64, 0, far) == 21
    assert ask(guest, "random_get", far, 16) == 21
    assert ask(guest, "clock_time_get", 0, 0, far) == 21
    assert ask(guest, "environ_sizes_get", far, 0) == 21
    assert ask(guest, "fd_write", 1, 64, 5000, 128) == 28


def test_abi_114_clocks_random_environment(house: House, guest: Any) -> None:
    vm = guest.vm
    assert ask(guest, "clock_time_get", 0, 1, 64) == 0
    assert vm.read(64, 8) == house.timers.unix_nanos().to_bytes(8, "little")
    assert ask(guest, "clock_time_get", 1, 1, 64) == 0
    assert vm.read(64, 8) == int(house.timers.now() * 1e9).to_bytes(8, "little")
    assert ask(guest, "clock_time_get", 2, 1, 64) == 58
    assert ask(guest, "clock_res_get", 1, 64) == 0 and vm.read(64, 8) == (1).to_bytes(8, "little")
    assert ask(guest, "random_get", 64, 4) == 0 and vm.read(64, 4) == b"\1\2\3\4"
    assert ask(guest, "random_get", 64, 0) == 0
    assert ask(guest, "random_get", 64, 70_000) == 28
    for name in ("environ_sizes_get", "args_sizes_get"):
        vm.write(64, b"\xff" * 8)
        assert ask(guest, name, 64, 68) == 0 and vm.read(64, 8) == bytes(8)


@pytest.mark.parametrize(
    ("name", "arguments", "errno"),
    [
        ("fd_prestat_get", (3, 64), 8),
        ("fd_prestat_dir_name", (3, 64, 1), 52),
        ("path_open", (3, 0, 64, 1, 0, 0, 0, 0, 64), 44),
        ("path_unlink_file", (3, 64, 1), 58),
        ("path_readlink", (3, 64, 1, 64, 1, 128), 58),
        ("fd_readdir", (3, 64, 1, 0, 128), 20),
        ("sock_accept", (3, 0, 64), 58),
        ("fd_close", (1,), 0),
        ("sched_yield", (), 0),
        ("proc_raise", (9,), 58),
        ("fd_filestat_get", (1, 64), 8),
    ],
)
def test_abi_31_what_would_reach_outside(guest: Any, name: str, arguments: tuple[int, ...], errno: int) -> None:
    assert ask(guest, name, *arguments) == errno


def test_abi_30_poll_never_waits(guest: Any) -> None:
    vm = guest.vm
    vm.write(1000, (77).to_bytes(8, "little") + b"\0" * 40)
    assert ask(guest, "poll_oneoff", 1000, 2000, 1, 64) == 0
    assert vm.read_u32(64) == 1 and vm.read(2000, 8) == (77).to_bytes(8, "little")
    assert ask(guest, "poll_oneoff", 1000, 2000, 0, 64) == 0 and vm.read_u32(64) == 0
    assert ask(guest, "poll_oneoff", 1000, 2000, 1000, 64) == 28


def test_exit_unwinds(guest: Any) -> None:
    with pytest.raises(ProcExit):
        ask(guest, "proc_exit", 3)


def test_standard_output_may_be_written(guest: Any) -> None:
    assert ask(guest, "fd_fdstat_get", 1, 64) == 0
    assert guest.vm.read(72, 8) == (64).to_bytes(8, "little")
    assert ask(guest, "fd_tell", 1, 64) == 0 and ask(guest, "fd_seek", 1, 0, 0, 64) == 0
