from __future__ import annotations

import json
import os

import pytest

from sidecar.runtime.logsink import Logger, LogSink
from tests.support.exchange_views import Collected
from tests.support.wait import eventually


class Limits:
    def __init__(self):
        self.hits = []

    def limit_hit(self, limit):
        self.hits.append(limit)


def test_lines_reach_the_file_in_order(tmp_path):
    path = tmp_path / "access.log"
    sink = LogSink(str(path))
    sink.start()
    for number in range(5000):
        sink.write(b"%d\n" % number)
    sink.close(30)
    assert path.read_bytes().split() == [b"%d" % number for number in range(5000)]
    assert sink.dropped == 0


def test_O5_a_full_queue_drops_the_newest_and_counts():
    limits = Limits()
    sink = LogSink("/dev/null", limits, max_lines=10)  # not started: nobody takes a line
    for _ in range(25):
        sink.write(b"x\n")
    assert (sink.dropped, limits.hits) == (15, ["log_queue"] * 15)


def test_O5_a_queue_of_long_lines_is_bounded_in_bytes():
    sink = LogSink("/dev/null", max_bytes=1000)
    for _ in range(25):
        sink.write(b"x" * 99 + b"\n")
    assert sink.dropped == 14


def test_O5_a_reader_that_stopped_blocks_neither_writing_nor_closing(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    limits = Limits()
    sink = LogSink(str(path), limits, max_lines=100)
    sink.start()
    try:
        for _ in range(20_000):
            sink.write(b"y" * 200 + b"\n")
        assert sink.dropped > 0 and set(limits.hits) == {"log_queue"}
        sink.close(0.2)
    finally:
        os.close(reader)


def test_O5_a_reader_that_went_away_kills_nothing_and_is_counted(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = LogSink(str(path), Limits())
    sink.start()
    os.close(reader)

    def lost():
        sink.write(b"line\n")
        return sink.dropped

    eventually(lost)
    sink.close()


def test_O5_a_rotated_or_removed_file_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("sidecar.runtime.logsink.CHECK_INTERVAL", 0.0)
    path = tmp_path / "access.log"
    sink = LogSink(str(path))
    sink.start()
    sink.write(b"first\n")
    eventually(lambda: path.read_bytes() == b"first\n")
    path.rename(tmp_path / "access.log.1")
    sink.write(b"second\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"second\n")
    path.unlink()
    sink.write(b"third\n")
    eventually(lambda: path.exists() and path.read_bytes() == b"third\n")
    sink.close()


def test_an_output_that_cannot_be_opened_loses_lines_and_nothing_else(tmp_path):
    sink = LogSink(str(tmp_path / "missing" / "access.log"), Limits())
    sink.start()

    def lost():
        sink.write(b"line\n")
        return sink.dropped

    eventually(lost)
    sink.close()


def log(level="info", form="json"):
    sink = Collected()
    return Logger(sink, level, format=form, clock=lambda: 1_795_541_204.678), sink.lines


def test_a_process_line_is_json_with_level_message_and_fields():
    logger, lines = log()
    logger.log("warn", "two\nlines", code=7, where=None)
    assert json.loads(lines[0]) == {
        "time": "2026-11-24T17:26:44.678Z", "level": "warn", "message": "two\nlines", "code": 7, "where": None
    }  # fmt: skip
    assert lines[0].count(b"\n") == 1


def test_less_than_the_level_is_not_written():
    logger, lines = log("error")
    logger.log("warn", "no")
    logger.log("critical", "yes")
    assert len(lines) == 1


def test_a_plugins_line_carries_its_name_and_words_unchanged():
    logger, lines = log()
    logger.plugin("auth", "debug", 'he said "no"\n', trace_id="ab")
    found = json.loads(lines[0])
    assert (found["plugin"], found["level"], found["message"], found["trace_id"]) == (
        "auth",
        "debug",
        'he said "no"\n',
        "ab",
    )


@pytest.mark.parametrize("form", ["json", "text"])
def test_O6_a_line_is_one_line_whatever_is_in_it(form):
    logger, lines = log(form=form)
    logger.log("info", "a\r\n\x1b[0m\udcff", path="\r\n\udcff", many=["\n"], odd=object())
    assert not any(byte < 32 for byte in lines[0][:-1])
