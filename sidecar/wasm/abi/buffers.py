"""Buffers: bodies, the answer of a call, and the two configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm.abi import status
from sidecar.wasm.abi.function import HostFunction, guarded
from sidecar.wasm.ports import REQUEST, RESPONSE

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

_BODIES: Final = {status.REQUEST_BODY: REQUEST, status.RESPONSE_BODY: RESPONSE}


def _content(instance: Instance, buffer_id: int) -> bytes | None:
    """What the guest can see of a buffer; None when there is no such thing now."""
    if buffer_id in _BODIES:
        stream = instance.effective.stream
        return stream.buffer(_BODIES[buffer_id]) if stream is not None else None
    if buffer_id == status.PLUGIN_CONFIGURATION:
        return instance.settings.config
    if buffer_id == status.VM_CONFIGURATION:
        return instance.settings.vm_config
    if buffer_id == status.CALL_BODY:
        return instance.answer.body if instance.answer is not None else None
    return b""


@guarded
def get_bytes(instance: Instance, buffer_id: int, start: int, size: int, data_slot: int, size_slot: int) -> int:
    """``proxy_get_buffer_bytes``: what there is of the range, which may be nothing."""
    if buffer_id > status.CALL_DATA:
        return status.BAD_ARGUMENT
    content = _content(instance, buffer_id)
    if content is None:
        return status.NOT_FOUND
    return instance.return_bytes(content[start : start + size], data_slot, size_slot)


@guarded
def get_status(instance: Instance, buffer_id: int, size_slot: int, flags_slot: int) -> int:
    """``proxy_get_buffer_status``: length; the second slot is always 0, as in other hosts."""
    if buffer_id > status.CALL_DATA:
        return status.BAD_ARGUMENT
    content = _content(instance, buffer_id)
    if content is None:
        return status.NOT_FOUND
    vm = instance.vm
    if not (vm.has_range(size_slot, 4) and vm.has_range(flags_slot, 4)):
        return status.INVALID_MEMORY_ACCESS
    vm.write_u32(size_slot, len(content))
    vm.write_u32(flags_slot, 0)
    return status.OK


@guarded
def set_bytes(instance: Instance, buffer_id: int, start: int, size: int, data: int, data_size: int) -> int:
    """``proxy_set_buffer_bytes``: a splice of the visible bytes, which is all of prepend, append and replace."""
    direction = _BODIES.get(buffer_id)
    stream = instance.effective.stream
    given = instance.read(data, data_size)
    if direction is None or stream is None:
        return status.BAD_ARGUMENT
    content = stream.buffer(direction)
    changed = content[:start] + given + content[start + size :]
    instance.spend(len(changed))
    if len(changed) > max(instance.settings.max_body, len(content)):
        instance.services.metrics.error(instance.settings.name, "overflow")
        return instance.refuse(f"body of {len(changed)} bytes is over max_body")
    if not stream.set_buffer(direction, changed):
        return instance.refuse(f"buffer {buffer_id} cannot be changed now")
    return status.OK


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_get_buffer_bytes", "iiiii", get_bytes, "A range of a body, call answer or configuration."),
    HostFunction("proxy_get_buffer_status", "iii", get_status, "Length of a buffer."),
    HostFunction("proxy_set_buffer_bytes", "iiiii", set_bytes,
                 "Splices a body anywhere, up to `max_body`; the length header follows by itself."),
)  # fmt: skip
