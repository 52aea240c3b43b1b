from __future__ import annotations

import wasmtime

from sidecar.wasm.abi import table, wasi
from sidecar.wasm.abi.function import TYPES
from tests.support.guest import Guest
from tests.support.plugins import House

SPECIFIED = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_status",
    "proxy_get_configuration",
    "proxy_get_header_map_size",
    "proxy_get_header_map_pairs",
    "proxy_set_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_buffer_bytes",
    "proxy_get_buffer_status",
    "proxy_set_buffer_bytes",
    "proxy_continue_stream",
    "proxy_continue_request",
    "proxy_continue_response",
    "proxy_close_stream",
    "proxy_clear_route_cache",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_done",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_call_foreign_function",
    "proxy_http_call",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
]


def test_every_function_of_the_abi_is_there() -> None:
    assert [name for name in SPECIFIED if table.find("env", name) is None] == []
    assert table.find("env", "proxy_nothing") is None and table.find("other", "proxy_log") is None


def test_abi_24_every_row_can_be_imported_under_every_name_and_type() -> None:
    rows = [("env", row) for _, group in table.GROUPS for row in group]
    rows += [(module, row) for module in table.WASI_MODULES for row in wasi.FUNCTIONS]
    for variant in range(2):
        imports = []
        for index, (module, row) in enumerate(rows):
            kinds = [(row.params, row.result), *row.variants]
            params, result = kinds[min(variant, len(kinds) - 1)]
            kind = "".join(f"(param {TYPES[p]})" for p in params) + "".join(f"(result {TYPES[r]})" for r in result)
            imports.append(f'(import "{module}" "{row.name}" (func $f{index} {kind}))')
        wat = Guest().wat().replace("(module", "(module\n" + "\n".join(imports), 1)
        house = House()
        house.plugin(bytes(wasmtime.wat2wasm(wat))).close()


def test_every_row_says_what_it_does_once() -> None:
    names = [row.name for _, group in table.GROUPS for row in group]
    assert len(names) == len(set(names))
    assert all(row.doc.endswith(".") for _, group in table.GROUPS for row in group)
