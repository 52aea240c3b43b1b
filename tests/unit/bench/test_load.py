"""bench/load.py: what wrk prints."""

from __future__ import annotations

import pytest

from bench.load import HEADERS, parse_wrk
from bench.processes import BenchError

REPORT = """Running 3s test @ http://127.0.0.1:8080/bench
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.47ms  631.42us  12.04ms   91.12%
    Req/Sec    21.93k     1.20k   23.70k    76.67%
  Latency Distribution
     50%  950.00us
     75%    1.52ms
     90%    1.89ms
     99%    1.20s
  65497 requests in 3.00s, 79.42MB read
Requests/sec:  21830.54
Transfer/sec:     26.47MB
"""
ERRORS = """  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
"""


def test_a_report_becomes_numbers_in_microseconds() -> None:
    load = parse_wrk(REPORT)
    assert (load.requests, load.rate, load.p50_us, load.p99_us, load.errors) == (65497, 21830.54, 950.0, 1.2e6, 0)


def test_errors_of_all_kinds_are_added_up() -> None:
    assert parse_wrk(REPORT.replace("Requests/sec", ERRORS + "Requests/sec")).errors == 15


@pytest.mark.parametrize("cut", ["Requests/sec", "99%", "requests in"])
def test_what_is_not_a_report_is_refused(cut: str) -> None:
    with pytest.raises(BenchError, match="not a report"):
        parse_wrk("\n".join(line for line in REPORT.splitlines() if cut not in line))


def test_a_request_carries_eight_headers_with_host() -> None:
    assert len({name.lower() for name in HEADERS} | {"host"}) == 8
