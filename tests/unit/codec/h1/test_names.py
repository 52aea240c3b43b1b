"""The names that both head parsers share."""

from __future__ import annotations

from sidecar.codec.h1.names import COMMON, FLAGS, REPEATED, HeadError


def test_compiled_table_knows_every_name_that_means_something() -> None:
    lower = [name.lower() for name in COMMON]
    assert set(FLAGS) <= set(lower)
    assert len(lower) == len(set(lower))


def test_flags_leave_room_for_their_repetition() -> None:
    assert all(0 < flag < 1 << REPEATED and flag & (flag - 1) == 0 for flag in FLAGS.values())


def test_error_says_what_to_answer_and_which_limit() -> None:
    error = HeadError(431, "too large", "header_bytes")
    assert (error.status, error.detail, error.limit, str(error)) == (431, "too large", "header_bytes", "too large")
