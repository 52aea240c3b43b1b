from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sidecar.runtime import journal as module
from sidecar.runtime.journal import Journal, make_journal


@pytest.fixture
def pair():
    descriptor = make_journal()
    both = Journal(descriptor), Journal(os.dup(descriptor))
    yield both
    for journal in both:
        journal.close()


def entries(journal: Journal) -> list[tuple[bool, bytes]]:
    return list(journal.read())


def test_what_one_writes_the_other_reads_once_and_in_order(pair):
    first, second = pair
    for entry in (b"a", b"", b"c" * 100_000):
        first.append(entry)
    assert second.is_behind() and not first.is_behind()
    assert entries(second) == [(False, b"a"), (False, b""), (False, b"c" * 100_000)]
    assert entries(second) == entries(first) == []
    second.append(b"d")
    assert entries(first) == [(False, b"d")]


def test_a_log_that_begins_anew_tells_everybody(pair, monkeypatch):
    monkeypatch.setattr(module, "KEEP", 100)
    first, second = pair
    first.append(b"x" * 200)
    assert first.is_long
    first.begin_anew(b"state")
    assert not first.is_long
    first.append(b"after")
    assert entries(second) == [(True, b"state"), (False, b"after")]
    assert entries(first) == []


def test_memory_is_given_back_when_it_begins_anew(pair):
    first, _ = pair
    for _ in range(20):
        first.append(b"x" * (1 << 20))
    before = os.fstat(first._descriptor).st_blocks
    first.begin_anew(b"state")
    assert os.fstat(first._descriptor).st_blocks < before / 100


def test_what_does_not_fit_is_refused_whole(pair, monkeypatch):
    first, second = pair
    monkeypatch.setattr(module, "SIZE", 200)
    with pytest.raises(MemoryError):
        first.append(b"x" * 300)
    assert not second.is_behind()


def test_a_process_that_dies_with_the_lock_lets_go_of_it():
    descriptor = make_journal()
    os.set_inheritable(descriptor, True)
    program = (
        "import os\n"
        "from sidecar.runtime.journal import Journal\n"
        f"Journal({descriptor}).lock()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], pass_fds=[descriptor], check=False)
    assert ended.returncode == -9
    journal = Journal(descriptor)
    journal.lock()
    journal.unlock()
    journal.close()
