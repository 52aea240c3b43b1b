"""wrk: one run against a URL, and its report as numbers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from bench.processes import BenchError

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
LATENCY = re.compile(r"^\s+(50|75|90|99)%\s+([0-9.]+)(us|ms|s|m|h)$", re.MULTILINE)
TOTAL = re.compile(r"^\s+(\d+) requests in ([0-9.]+)(us|ms|s|m|h),", re.MULTILINE)
RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
BAD_STATUS = re.compile(r"^\s+Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)
SOCKET_ERRORS = re.compile(r"^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run saw: requests, requests per second, latency in microseconds, answers that were errors."""

    requests: int
    rate: float
    p50_us: float
    p99_us: float
    errors: int


def parse_wrk(text: str) -> Load:
    """The report of ``wrk --latency``. Raises BenchError when it is not one."""
    latency = {percent: float(number) * UNITS[unit] for percent, number, unit in LATENCY.findall(text)}
    total, rate = TOTAL.search(text), RATE.search(text)
    if not total or not rate or not {"50", "99"} <= latency.keys():
        raise BenchError(f"not a report of wrk --latency:\n{text}")
    errors = [int(count) for pattern in (BAD_STATUS, SOCKET_ERRORS) for count in _numbers(pattern, text)]
    return Load(int(total[1]), float(rate[1]), latency["50"], latency["99"], sum(errors))


def _numbers(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.search(text)
    return tuple(str(group) for group in found.groups()) if found else ()


def run_wrk(url: str, *, connections: int, seconds: int, core: int) -> Load:
    """Loads ``url`` from one thread on ``core``; the request carries eight headers, as a browser's would."""
    headers = [f"{name}: {value}" for name, value in HEADERS.items()]
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += [word for header in headers for word in ("-H", header)]
    try:
        ran = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 60, check=False)
    except FileNotFoundError as missing:
        raise BenchError(f"{missing.filename} is missing: install wrk and util-linux") from None
    if ran.returncode != 0:
        raise BenchError(f"wrk failed:\n{ran.stdout}{ran.stderr}")
    return parse_wrk(ran.stdout)


HEADERS = {
    "user-agent": "bench/1.0",
    "accept": "*/*",
    "accept-language": "en-GB,en;q=0.8",
    "accept-encoding": "gzip",
    "x-request-source": "bench",
    "cookie": "session=0123456789abcdef0123456789abcdef",
    "cache-control": "no-cache",
}
"""With Host, eight; sent by every request of every run."""
