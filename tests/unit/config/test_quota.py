from __future__ import annotations

import pytest

from sidecar.config.quota import MOST, V1, V2, cpu_quota


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({V2: "max 100000\n"}, 1),
        ({V2: "100000 100000\n"}, 1),
        ({V2: "150000 100000\n"}, 2),
        ({V2: "10000 100000\n"}, 1),
        ({V2: "400000 100000\n"}, 4),
        ({V2: "99900000 100000\n"}, MOST),
        ({V2: "junk\n"}, 1),
        ({V2: "100000 0\n"}, 1),
        ({V1[0]: "-1\n", V1[1]: "100000\n"}, 1),
        ({V1[0]: "250000\n", V1[1]: "100000\n"}, 3),
        ({}, 1),
    ],
)
def test_the_quota_rounded_up(files: dict[str, str], workers: int) -> None:
    assert cpu_quota(lambda path: files.get(path, "")) == workers


def test_it_reads_this_machine_without_failing() -> None:
    assert 1 <= cpu_quota() <= MOST
