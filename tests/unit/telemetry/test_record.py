from __future__ import annotations

from sidecar.address import Address
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord


def test_a_record_begins_with_nothing_having_happened():
    info = ConnectionInfo(1, "inbound", "inbound", Address("10.0.0.1", 1), Address("10.0.0.2", 2), "h1")
    record = ExchangeRecord(info, 5.0, 7)
    assert (record.connection.peer_id, record.start, record.start_unix_nanos) == ("", 5.0, 7)
    assert {record.request_end, record.upstream_start, record.response_start, record.end} == {0.0}
    assert (record.status, record.attempts, record.error, record.span, record.events) == (0, 0, None, None, [])
