# long-module: the whole of WASI preview 1 in one table, because modules link against all of it or not at all
"""WASI preview 1 for guests that have no files, no sockets, no arguments and no environment.

Every function is there, since one missing import makes a module unloadable. Standard output and error are log lines;
clocks and random bytes are real; whatever would reach outside answers with the errno of a system that has nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

from sidecar.wasm.abi.function import CALL_COST, HostFunction
from sidecar.wasm.abi.status import LOG_LEVELS
from sidecar.wasm.trap import MemoryRangeError, ProcExit

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

P = ParamSpec("P")

SUCCESS: Final = 0
BADF: Final = 8
FAULT: Final = 21
INVAL: Final = 28
NOENT: Final = 44
NOSYS: Final = 52
NOTDIR: Final = 20
NOTSUP: Final = 58

ERRNO_NAMES: Final = {
    BADF: "badf", FAULT: "fault", INVAL: "inval", NOENT: "noent", NOSYS: "nosys", NOTDIR: "notdir", NOTSUP: "notsup",
}  # fmt: skip

STDIN, STDOUT, STDERR = 0, 1, 2
_OUTPUTS: Final = {STDOUT: LOG_LEVELS.index("info"), STDERR: LOG_LEVELS.index("error")}
MAX_IOVECS: Final = 1024
MAX_RANDOM: Final = 65536
REALTIME, MONOTONIC = 0, 1
RIGHT_FD_WRITE: Final = 64
_SUBSCRIPTION_SIZE: Final = 48
_EVENT_SIZE: Final = 32
MAX_SUBSCRIPTIONS: Final = 64


def _faults(handler: Callable[Concatenate[Instance, P], int]) -> Callable[Concatenate[Instance, P], int]:
    """Charge the call; an address outside memory is errno fault."""

    @functools.wraps(handler)
    def call(instance: Instance, /, *args: P.args, **kwargs: P.kwargs) -> int:
        instance.spend(CALL_COST)
        try:
            return handler(instance, *args, **kwargs)
        except MemoryRangeError:
            return FAULT

    return call


def _answer(errno: int, *zeroed: int) -> Callable[..., int]:
    """A function that always says ``errno`` and puts a u32 zero where arguments ``zeroed`` point."""

    @_faults
    def call(instance: Instance, *args: int) -> int:
        for place in zeroed:
            instance.vm.write_u32(args[place], 0)
        return errno

    return call


def _for_outputs(instance: Instance, *args: int) -> int:
    """What is done to standard output and error is done; nothing else is open."""
    return SUCCESS if args[0] in _OUTPUTS else BADF


@_faults
def fd_write(instance: Instance, fd: int, iovecs: int, count: int, written_slot: int) -> int:
    """One call is one log record, without its last newline."""
    level = _OUTPUTS.get(fd)
    if level is None:
        return BADF
    if count > MAX_IOVECS:
        return INVAL
    vm = instance.vm
    chunks = []
    for place in range(iovecs, iovecs + 8 * count, 8):
        chunks.append(instance.read(vm.read_u32(place), vm.read_u32(place + 4)))
    text = b"".join(chunks)
    vm.write_u32(written_slot, len(text))
    if text:
        instance.say(level, text.removesuffix(b"\n").decode("utf-8", "replace"))
    return SUCCESS


@_faults
def fd_pwrite(instance: Instance, fd: int, iovecs: int, count: int, offset: int, written_slot: int) -> int:
    return fd_write(instance, fd, iovecs, count, written_slot)


@_faults
def fd_read(instance: Instance, fd: int, iovecs: int, count: int, read_slot: int) -> int:
    """Standard input has ended."""
    if fd != STDIN:
        return BADF
    instance.vm.write_u32(read_slot, 0)
    return SUCCESS


@_faults
def fd_tell(instance: Instance, fd: int, offset_slot: int) -> int:
    if fd not in _OUTPUTS:
        return BADF
    instance.vm.write_u64(offset_slot, 0)
    return SUCCESS


@_faults
def fd_seek(instance: Instance, fd: int, offset: int, whence: int, offset_slot: int) -> int:
    instance.vm.write_u64(offset_slot, 0)
    return SUCCESS


@_faults
def fd_fdstat_get(instance: Instance, fd: int, stat_slot: int) -> int:
    if fd not in _OUTPUTS:
        return BADF
    instance.vm.write(stat_slot, bytes(8) + RIGHT_FD_WRITE.to_bytes(8, "little") + bytes(8))
    return SUCCESS


@_faults
def sizes_get(instance: Instance, count_slot: int, size_slot: int) -> int:
    """``args_sizes_get``, ``environ_sizes_get``: nothing of the host's is shown."""
    instance.vm.write_u32(count_slot, 0)
    instance.vm.write_u32(size_slot, 0)
    return SUCCESS


@_faults
def clock_time_get(instance: Instance, clock: int, precision: int, time_slot: int) -> int:
    timers = instance.services.timers
    if clock not in (REALTIME, MONOTONIC):
        return NOTSUP
    instance.vm.write_u64(time_slot, timers.unix_nanos() if clock == REALTIME else int(timers.now() * 1e9))
    return SUCCESS


@_faults
def clock_res_get(instance: Instance, clock: int, resolution_slot: int) -> int:
    if clock not in (REALTIME, MONOTONIC):
        return NOTSUP
    instance.vm.write_u64(resolution_slot, 1)
    return SUCCESS


@_faults
def random_get(instance: Instance, target: int, size: int) -> int:
    if size > MAX_RANDOM:
        return INVAL
    instance.spend(size)
    if not instance.vm.has_range(target, size):
        return FAULT
    instance.vm.write(target, instance.services.random_bytes(size))
    return SUCCESS


@_faults
def poll_oneoff(instance: Instance, subscriptions: int, events: int, count: int, events_slot: int) -> int:
    """Clocks are told as fired at once: nothing may block here, and Go's scheduler must not fail."""
    if count > MAX_SUBSCRIPTIONS:
        return INVAL
    vm = instance.vm
    for index in range(count):
        userdata = vm.read(subscriptions + index * _SUBSCRIPTION_SIZE, 8)
        kind = vm.read(subscriptions + index * _SUBSCRIPTION_SIZE + 8, 1)
        vm.write(events + index * _EVENT_SIZE, userdata + bytes(2) + kind + bytes(_EVENT_SIZE - 11))
    vm.write_u32(events_slot, count)
    return SUCCESS


def proc_exit(instance: Instance, code: int) -> None:
    """Ends the instance; fine only with code 0 inside ``_start``."""
    raise ProcExit(code)


def _row(name: str, params: str, errno: int, *zeroed: int) -> HostFunction:
    answers = "" if errno == SUCCESS else ERRNO_NAMES[errno]
    doc = "Nothing to do." if errno == SUCCESS else "Nothing of the host is reachable."
    return HostFunction(name, params, _answer(errno, *zeroed), doc, since="WASI", answers=answers)


def _wasi(name: str, params: str, handler: Callable[..., int], doc: str) -> HostFunction:
    return HostFunction(name, params, handler, doc, since="WASI")


_outputs_only = _faults(_for_outputs)
_ON_OUTPUTS: Final = "Ok for standard output and error."

FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    _wasi("fd_write", "iiii", fd_write, "1 is a log line of level info, 2 of level error; others badf."),
    _wasi("fd_pwrite", "iiili", fd_pwrite, "As fd_write."),
    _wasi("fd_read", "iiii", fd_read, "Standard input is at its end."),
    _row("fd_pread", "iiili", NOSYS),
    _wasi("fd_seek", "ilii", fd_seek, "Position 0."),
    _wasi("fd_tell", "ii", fd_tell, "Position 0."),
    _row("fd_close", "i", SUCCESS),
    _wasi("fd_fdstat_get", "ii", fd_fdstat_get, "Standard output and error may be written."),
    _row("fd_fdstat_set_flags", "ii", NOSYS),
    _wasi("fd_fdstat_set_rights", "ill", _outputs_only, _ON_OUTPUTS),
    _wasi("fd_allocate", "ill", _outputs_only, _ON_OUTPUTS),
    _wasi("fd_datasync", "i", _outputs_only, _ON_OUTPUTS),
    _wasi("fd_sync", "i", _outputs_only, _ON_OUTPUTS),
    _wasi("fd_filestat_set_size", "il", _outputs_only, _ON_OUTPUTS),
    _wasi("fd_filestat_set_times", "illi", _outputs_only, _ON_OUTPUTS),
    _row("fd_advise", "illi", SUCCESS),
    _row("fd_filestat_get", "ii", BADF),
    _row("fd_prestat_get", "ii", BADF),
    _row("fd_prestat_dir_name", "iii", NOSYS),
    _row("fd_readdir", "iiili", NOTDIR, 4),
    _row("fd_renumber", "ii", BADF),
    _row("path_open", "iiiiillii", NOENT),
    _row("path_create_directory", "iii", NOTSUP),
    _row("path_filestat_get", "iiiii", NOTSUP),
    _row("path_filestat_set_times", "iiiilli", NOTSUP),
    _row("path_link", "iiiiiii", NOTSUP),
    _row("path_readlink", "iiiiii", NOTSUP, 5),
    _row("path_remove_directory", "iii", NOTSUP),
    _row("path_rename", "iiiiii", NOTSUP),
    _row("path_symlink", "iiiii", NOTSUP),
    _row("path_unlink_file", "iii", NOTSUP),
    _row("sock_accept", "iii", NOTSUP, 2),
    _row("sock_recv", "iiiiii", NOTSUP, 4, 5),
    _row("sock_send", "iiiii", NOTSUP, 4),
    _row("sock_shutdown", "ii", NOTSUP),
    _wasi("environ_sizes_get", "ii", sizes_get, "No variables."),
    _row("environ_get", "ii", SUCCESS),
    _wasi("args_sizes_get", "ii", sizes_get, "No arguments."),
    _row("args_get", "ii", SUCCESS),
    _wasi("clock_time_get", "ili", clock_time_get, "Wall and monotonic clock; others notsup."),
    _wasi("clock_res_get", "ii", clock_res_get, "1 ns."),
    _wasi("random_get", "ii", random_get, "Cryptographic bytes, 64 KiB at most."),
    _row("sched_yield", "", SUCCESS),
    _wasi("poll_oneoff", "iiii", poll_oneoff, "Every subscription has fired already; nothing ever blocks."),
    HostFunction("proc_exit", "i", proc_exit, "Ends the instance; 0 inside `_start` is a good end.", "", "WASI"),
    _row("proc_raise", "i", NOTSUP),
)
