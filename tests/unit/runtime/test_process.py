from __future__ import annotations

import asyncio
import json

from sidecar.runtime.process import MAX_REPORTS
from tests.support.runtime import Lines, make_process, on_loop, until


def test_a_bug_is_one_line_with_its_trace():
    async def main() -> None:
        lines = Lines()
        process = make_process(lines)
        try:
            raise KeyError("x")
        except KeyError as bug:
            process.report_bug("data_received", bug)
        (line,) = [json.loads(line) for line in lines.lines]
        assert line["level"] == "error"
        assert line["where"] == "data_received"
        assert line["error"] == "KeyError: 'x'"
        assert "test_process.py" in line["trace"]

    on_loop(main)


def test_a_bug_that_every_request_meets_does_not_fill_the_disk():
    async def main() -> None:
        lines = Lines()
        process = make_process(lines)
        now = [5.0]
        process.timers.now = lambda: now[0]
        for _ in range(100):
            process.report_bug("x", ValueError())
        assert len(lines.lines) == MAX_REPORTS
        now[0] = 6.0
        process.report_bug("x", ValueError())
        assert len(lines.lines) == MAX_REPORTS + 1

    on_loop(main)


def test_X14_what_nobody_caught_on_the_loop_is_told():
    async def main() -> None:
        lines = Lines()
        process = make_process(lines)

        def fail() -> None:
            raise RuntimeError("lost")

        process.loop.call_soon(fail)
        await until(lambda: "RuntimeError: lost" in lines.text)

    on_loop(main)


def test_X1_the_systems_refusals_are_no_bugs_of_ours():
    async def main() -> None:
        lines = Lines()
        process = make_process(lines)
        process.loop.call_exception_handler({"message": "accept", "exception": OSError(24, "Too many open files")})
        assert json.loads(lines.lines[0])["message"] == "the system refuses"

    on_loop(main)


def test_other_threads_log_through_the_loop():
    async def main() -> None:
        lines = Lines()
        process = make_process(lines)
        await asyncio.to_thread(process.log_from_thread, "warn", "spans cannot be exported", error="x")
        await until(lambda: "spans cannot be exported" in lines.text)

    on_loop(main)


def test_workers_number_their_connections_apart():
    async def main() -> None:
        process = make_process()
        assert [process.new_connection_id(), process.new_connection_id()] == [1, 2]

    on_loop(main)
