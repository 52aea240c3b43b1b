from __future__ import annotations

from sidecar.telemetry.span import SERVER, UNSET, Span, TraceContext


def test_a_span_begins_empty_and_knows_whether_its_parent_is_another_process():
    root = Span(b"\x01" * 16, b"\x02" * 8, None, SERVER, 5, is_sampled=True)
    assert (root.parent_is_remote, root.attributes, root.events, root.status) == (False, {}, [], UNSET)
    assert Span(b"\x01" * 16, b"\x02" * 8, b"\x03" * 8, SERVER, 5, is_sampled=False).parent_is_remote


def test_a_context_shows_its_ids_as_text():
    assert (
        repr(TraceContext(b"\xab" * 16, b"\xcd" * 8, None, "b3"))
        == f"TraceContext({'ab' * 16}, {'cd' * 8}, None, 'b3')"
    )
