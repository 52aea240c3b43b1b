"""Shared data, shared queues, and metrics of the plugin's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm.abi import status
from sidecar.wasm.abi.function import HostFunction, guarded

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_DEFINITIONS: Final = 10_000
"""Definitions of one instance; the same name may be defined again and again."""


@guarded
def get_data(instance: Instance, key: int, key_size: int, data_slot: int, size_slot: int, cas_slot: int) -> int:
    """``proxy_get_shared_data``."""
    found = instance.services.shared.get(instance.settings.vm_id, instance.read(key, key_size))
    if found is None:
        return status.NOT_FOUND
    if not instance.vm.has_range(cas_slot, 4):
        return status.INVALID_MEMORY_ACCESS
    value, cas = found
    result = instance.return_bytes(value, data_slot, size_slot)
    if result == status.OK:
        instance.vm.write_u32(cas_slot, cas)
    return result


@guarded
def set_data(instance: Instance, key: int, key_size: int, value: int, value_size: int, cas: int) -> int:
    """``proxy_set_shared_data``; address 0 with size 0 removes the key, as newer SDKs do it."""
    shared, vm_id = instance.services.shared, instance.settings.vm_id
    name = instance.read(key, key_size)
    if value == 0 and value_size == 0:
        return shared.delete(vm_id, name, cas)
    return shared.set(vm_id, name, instance.read(value, value_size), cas)


@guarded
def register_queue(instance: Instance, name: int, name_size: int, id_slot: int) -> int:
    """``proxy_register_shared_queue``: makes the queue where there is none; its last registrant is told of items."""
    text = instance.read(name, name_size)
    if not instance.vm.has_range(id_slot, 4):
        return status.INVALID_MEMORY_ACCESS
    token = instance.services.shared.register_queue(instance.settings.vm_id, text, instance, instance.on_queue_ready)
    if token is None:
        return status.INTERNAL_FAILURE
    instance.vm.write_u32(id_slot, token)
    return status.OK


@guarded
def resolve_queue(
    instance: Instance, vm_id: int, vm_id_size: int, name: int, name_size: int, id_slot: int
) -> int:
    """``proxy_resolve_shared_queue``; an empty ``vm_id`` is the plugin's own."""
    owner = instance.read(vm_id, vm_id_size).decode("utf-8", "replace") or instance.settings.vm_id
    text = instance.read(name, name_size)
    token = instance.services.shared.resolve_queue(owner, text)
    if token is None:
        return status.NOT_FOUND
    instance.vm.write_u32(id_slot, token)
    return status.OK


@guarded
def enqueue(instance: Instance, token: int, value: int, value_size: int) -> int:
    """``proxy_enqueue_shared_queue``: the owner hears of it after this callback."""
    services = instance.services
    queue = services.shared.enqueue(token, instance.read(value, value_size))
    if queue is None:
        return status.NOT_FOUND
    owner = queue.owner
    if owner is not None:
        services.timers.call_soon(lambda: owner(token))
    return status.OK


@guarded
def dequeue(instance: Instance, token: int, data_slot: int, size_slot: int) -> int:
    """``proxy_dequeue_shared_queue``."""
    vm = instance.vm
    if not (vm.has_range(data_slot, 4) and vm.has_range(size_slot, 4)):
        return status.INVALID_MEMORY_ACCESS
    value = instance.services.shared.dequeue(token)
    if value is None:
        return status.EMPTY
    if isinstance(value, bool):
        return status.NOT_FOUND
    return instance.return_bytes(value, data_slot, size_slot)


@guarded
def define_metric(instance: Instance, kind: int, name: int, name_size: int, id_slot: int) -> int:
    """``proxy_define_metric``."""
    text = instance.read(name, name_size)
    if not instance.vm.has_range(id_slot, 4):
        return status.INVALID_MEMORY_ACCESS
    metric = instance.services.custom_metrics.define(instance.settings.name, kind, text)
    metric_id = (len(instance.custom_metrics) + 1) * 4 + kind  # the kind in the low bits, as in Envoy
    if isinstance(metric, int) or len(instance.custom_metrics) >= MAX_DEFINITIONS:
        if metric != status.BAD_ARGUMENT:
            instance.services.metrics.limit_hit("plugin_metrics")
        return metric if isinstance(metric, int) else status.INTERNAL_FAILURE
    instance.custom_metrics[metric_id] = metric
    instance.vm.write_u32(id_slot, metric_id)
    return status.OK


@guarded
def increment_metric(instance: Instance, metric_id: int, delta: int) -> int:
    """``proxy_increment_metric``."""
    metric = instance.custom_metrics.get(metric_id)
    return metric.increment(delta) if metric is not None else status.NOT_FOUND


@guarded
def record_metric(instance: Instance, metric_id: int, value: int) -> int:
    """``proxy_record_metric``."""
    metric = instance.custom_metrics.get(metric_id)
    return metric.record(value) if metric is not None else status.NOT_FOUND


@guarded
def get_metric(instance: Instance, metric_id: int, value_slot: int) -> int:
    """``proxy_get_metric``."""
    metric = instance.custom_metrics.get(metric_id)
    if metric is None:
        return status.NOT_FOUND
    if metric.kind == status.HISTOGRAM:
        return status.BAD_ARGUMENT
    instance.vm.write_u64(value_slot, metric.value)
    return status.OK


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_get_shared_data", "iiiii", get_data, "Value and CAS number of a key of this `vm_id`."),
    HostFunction("proxy_set_shared_data", "iiiii", set_data,
                 "Sets a key when the CAS number fits (0 fits always); address and size 0 remove it."),
    HostFunction("proxy_register_shared_queue", "iii", register_queue, "Makes or finds a queue of this `vm_id`."),
    HostFunction("proxy_resolve_shared_queue", "iiiii", resolve_queue, "Finds a queue of any `vm_id`."),
    HostFunction("proxy_enqueue_shared_queue", "iii", enqueue,
                 "Appends an item; a full queue (1,000 items) drops its oldest."),
    HostFunction("proxy_dequeue_shared_queue", "iii", dequeue, "Takes the oldest item."),
    HostFunction("proxy_define_metric", "iiii", define_metric,
                 "A counter, gauge or histogram `loom_plugin_custom_<name>`; 100 per plugin."),
    HostFunction("proxy_increment_metric", "il", increment_metric, "Adds to a counter or gauge."),
    HostFunction("proxy_record_metric", "il", record_metric, "Adds to a counter, sets a gauge, notes in a histogram."),
    HostFunction("proxy_get_metric", "ii", get_metric, "Value of a counter or gauge."),
)  # fmt: skip
