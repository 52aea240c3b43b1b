"""Logging, time, timers, configuration: what a guest asks without meaning any stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm.abi import status
from sidecar.wasm.abi.function import HostFunction, guarded

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance


@guarded
def log(instance: Instance, level: int, message: int, size: int) -> int:
    """``proxy_log``: one line, when the plugin's ``log_level`` lets it through."""
    if level >= len(status.LOG_LEVELS):
        return status.BAD_ARGUMENT
    instance.log_guest(level, message, size)
    return status.OK


@guarded
def get_log_level(instance: Instance, level_slot: int) -> int:
    """``proxy_get_log_level``."""
    instance.vm.write_u32(level_slot, min(instance.settings.log_level, status.LAST_LOG_LEVEL))
    return status.OK


@guarded
def get_current_time(instance: Instance, time_slot: int) -> int:
    """``proxy_get_current_time_nanoseconds``: Unix time."""
    instance.vm.write_u64(time_slot, instance.services.timers.unix_nanos())
    return status.OK


@guarded
def set_tick_period(instance: Instance, milliseconds: int) -> int:
    """``proxy_set_tick_period_milliseconds`` of the root context; 0 is off."""
    instance.set_tick(milliseconds / 1000)
    return status.OK


@guarded
def get_status(instance: Instance, code_slot: int, data_slot: int, size_slot: int) -> int:
    """``proxy_get_status``: code and text of the call whose result is being told."""
    if not instance.vm.has_range(code_slot, 4):
        return status.INVALID_MEMORY_ACCESS
    answer = instance.answer
    result = instance.return_bytes(answer.message if answer is not None else b"", data_slot, size_slot)
    if result == status.OK:
        instance.vm.write_u32(code_slot, answer.code if answer is not None else 0)
    return result


@guarded
def get_configuration(instance: Instance, data_slot: int, size_slot: int) -> int:
    """``proxy_get_configuration``: the VM's during ``proxy_on_vm_start``, else the plugin's."""
    settings = instance.settings
    content = settings.vm_config if instance.is_vm_starting else settings.config
    return instance.return_bytes(content, data_slot, size_slot)


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_log", "iii", log, "One line of the log, at `log_level` or above; 100/s, 8 KiB each."),
    HostFunction("proxy_get_log_level", "i", get_log_level, "The plugin's `log_level`.", since="0.2.1"),
    HostFunction("proxy_get_current_time_nanoseconds", "i", get_current_time, "Unix time in nanoseconds."),
    HostFunction("proxy_set_tick_period_milliseconds", "i", set_tick_period,
                 "Period of `proxy_on_tick`, at least 10 ms; 0 is off."),
    HostFunction("proxy_get_status", "iii", get_status, "How the HTTP call ended whose result is being told."),
    HostFunction("proxy_get_configuration", "ii", get_configuration,
                 "The plugin's configuration, the VM's during `proxy_on_vm_start`."),
)  # fmt: skip
