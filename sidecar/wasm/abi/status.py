"""The numbers of the ABI (Proxy-Wasm specification 0.2.1, "Enumerations").

Plain ints, since they cross the border on every host call.
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
NOT_FOUND: Final = 1
BAD_ARGUMENT: Final = 2
SERIALIZATION_FAILURE: Final = 3
PARSE_FAILURE: Final = 4
INVALID_MEMORY_ACCESS: Final = 6
EMPTY: Final = 7
CAS_MISMATCH: Final = 8
INTERNAL_FAILURE: Final = 10
UNIMPLEMENTED: Final = 12

STATUS_NAMES: Final[dict[int, str]] = {
    OK: "Ok",
    NOT_FOUND: "NotFound",
    BAD_ARGUMENT: "BadArgument",
    SERIALIZATION_FAILURE: "SerializationFailure",
    PARSE_FAILURE: "ParseFailure",
    INVALID_MEMORY_ACCESS: "InvalidMemoryAccess",
    EMPTY: "Empty",
    CAS_MISMATCH: "CasMismatch",
    INTERNAL_FAILURE: "InternalFailure",
    UNIMPLEMENTED: "Unimplemented",
}

# Header maps.
REQUEST_HEADERS: Final = 0
REQUEST_TRAILERS: Final = 1
RESPONSE_HEADERS: Final = 2
RESPONSE_TRAILERS: Final = 3
GRPC_INITIAL_METADATA: Final = 4
GRPC_TRAILING_METADATA: Final = 5
CALL_HEADERS: Final = 6
CALL_TRAILERS: Final = 7

# Buffers.
REQUEST_BODY: Final = 0
RESPONSE_BODY: Final = 1
DOWNSTREAM_DATA: Final = 2
UPSTREAM_DATA: Final = 3
CALL_BODY: Final = 4
GRPC_MESSAGE: Final = 5
VM_CONFIGURATION: Final = 6
PLUGIN_CONFIGURATION: Final = 7
CALL_DATA: Final = 8

# Stream types.
HTTP_REQUEST: Final = 0
HTTP_RESPONSE: Final = 1
DOWNSTREAM: Final = 2
UPSTREAM: Final = 3

# Metric types.
COUNTER: Final = 0
GAUGE: Final = 1
HISTOGRAM: Final = 2

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "critical")
LAST_LOG_LEVEL: Final = 5

# Where a stream context stands; not of the ABI, but what the access rules are written in.
IDLE: Final = 0
ON_REQUEST_HEADERS: Final = 1
ON_REQUEST_BODY: Final = 2
ON_REQUEST_TRAILERS: Final = 3
ON_RESPONSE_HEADERS: Final = 4
ON_RESPONSE_BODY: Final = 5
ON_RESPONSE_TRAILERS: Final = 6
ON_LOG: Final = 7
ON_DONE: Final = 8

PHASE_NAMES: Final = (
    "",
    "on_request_headers",
    "on_request_body",
    "on_request_trailers",
    "on_response_headers",
    "on_response_body",
    "on_response_trailers",
    "on_log",
    "on_done",
)
"""The same by the names of configuration, metrics and log."""
