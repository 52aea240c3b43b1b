"""Properties and foreign functions at the border; what the properties are is in :mod:`sidecar.wasm.properties`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm import properties
from sidecar.wasm.abi import status
from sidecar.wasm.abi.function import HostFunction, guarded

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_PATH: Final = 1024
MAX_VALUE: Final = 65536
MAX_SET: Final = 100
"""Properties that plugins may set on one stream, together."""


@guarded
def get_property(instance: Instance, path: int, path_size: int, data_slot: int, size_slot: int) -> int:
    """``proxy_get_property``."""
    if path_size > MAX_PATH:
        return status.NOT_FOUND
    value = properties.read(instance, instance.read(path, path_size))
    if isinstance(value, int):
        return value
    return instance.return_bytes(value, data_slot, size_slot)


@guarded
def set_property(instance: Instance, path: int, path_size: int, value: int, value_size: int) -> int:
    """``proxy_set_property``: kept with the stream, for all plugins of this ``vm_id``; built-in ones keep winning."""
    if path_size > MAX_PATH or value_size > MAX_VALUE:
        return instance.refuse("set_property: path or value too long")
    name = instance.read(path, path_size)
    data = instance.read(value, value_size)
    facts = instance.effective.facts
    if facts is None:
        return status.NOT_FOUND
    record = facts.record
    if record.plugin_properties is None:
        record.plugin_properties = {}
    key = (instance.settings.vm_id, name)
    if key not in record.plugin_properties and len(record.plugin_properties) >= MAX_SET:
        instance.refuse(f"set_property: more than {MAX_SET} on one stream")
        return status.INTERNAL_FAILURE
    record.plugin_properties[key] = data
    return status.OK


@guarded
def call_foreign_function(
    instance: Instance, name: int, name_size: int, argument: int, argument_size: int, data_slot: int, size_slot: int
) -> int:
    """``proxy_call_foreign_function``: only ``clear_route_cache`` is known, and has nothing to do."""
    if instance.read(name, name_size) != b"clear_route_cache":
        return status.NOT_FOUND
    if not data_slot and not size_slot:  # not interested in the result
        return status.OK
    return instance.return_bytes(b"", data_slot, size_slot)


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_get_property", "iiii", get_property,
                 "A fact of stream, connection or plugin, in Envoy's bytes."),
    HostFunction("proxy_set_property", "iiii", set_property,
                 "Keeps bytes with the stream, for all plugins of a `vm_id`."),
    HostFunction("proxy_call_foreign_function", "iiiiii", call_foreign_function,
                 "`clear_route_cache` is Ok and does nothing; all other names are NotFound."),
)  # fmt: skip
