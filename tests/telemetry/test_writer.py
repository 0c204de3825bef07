"""Lines to files and streams that are slow, full, gone or rotated."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest

from proxy.telemetry import Counter, LineWriter
from proxy.telemetry.process import open_descriptors

TIMEOUT_S = 20.0


def lines(count: int, first: int = 0) -> list[bytes]:
    return [b"line %d\n" % number for number in range(first, first + count)]


def test_lines_arrive_in_order_and_whole(tmp_path: Path) -> None:
    path, dropped = tmp_path / "log", Counter()
    writer = LineWriter(path, dropped)
    for line in lines(1000):
        writer.put(line)
    assert writer.close(TIMEOUT_S)
    assert path.read_bytes() == b"".join(lines(1000))
    assert dropped.value == 0


def test_a_file_is_appended_to_and_not_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for line in (b"first\n", b"second\n"):
        writer = LineWriter(path, Counter())
        writer.put(line)
        writer.close(TIMEOUT_S)
    assert path.read_bytes() == b"first\nsecond\n"
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LineWriter(tmp_path / "missing" / "log", Counter())


def test_after_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    before = open_descriptors()
    writer = LineWriter(path, Counter())
    writer.put(b"before\n")
    path.rename(rotated)
    writer.put(b"still before\n")
    writer.reopen()
    writer.put(b"after\n")
    assert writer.close(TIMEOUT_S)
    assert open_descriptors() == before, "the rotated file is closed"
    assert rotated.read_bytes() == b"before\nstill before\n"
    assert path.read_bytes() == b"after\n"


def test_a_rotation_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    writer = LineWriter(directory / "log", Counter())
    moved = tmp_path / "moved"
    directory.rename(moved)
    writer.reopen()
    writer.put(b"line\n")
    assert writer.close(TIMEOUT_S)
    assert (moved / "log").read_bytes() == b"line\n"


def test_a_reader_that_does_not_read_costs_lines_and_not_time() -> None:
    """The pipe is full and nobody reads: `put` still returns, and counts."""
    read, write = os.pipe()
    dropped = Counter()
    writer = LineWriter(write, dropped, limit=100)
    line = bytes(4095) + b"\n"
    while dropped.value < 50:
        writer.put(line)
    assert not writer.close(0)
    # Somebody reads again: what was queued arrives, and the thread ends.
    received = 0
    while not writer.close(0.01):
        while select.select([read], [], [], 0.01)[0]:
            received += len(os.read(read, 1 << 20))
    while select.select([read], [], [], 0)[0]:
        received += len(os.read(read, 1 << 20))
    assert received % 4096 == 0
    assert received >= 100 * 4096
    os.close(read)
    os.close(write)


def test_a_non_blocking_target_is_waited_for_by_the_thread() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = LineWriter(write, Counter())
    payload = [bytes([65 + number % 26]) * 4095 + b"\n" for number in range(100)]
    for line in payload:
        writer.put(line)
    expected = b"".join(payload)
    received = b""
    while len(received) < len(expected):
        received += os.read(read, 4096)
    assert received == expected
    assert writer.close(TIMEOUT_S)
    os.close(read)
    os.close(write)


def test_a_reader_that_is_gone_is_counted() -> None:
    read, write = os.pipe()
    os.close(read)
    dropped = Counter()
    writer = LineWriter(write, dropped)
    for line in lines(10):
        writer.put(line)
    assert writer.close(TIMEOUT_S)
    assert dropped.value == 10
    os.close(write)


def test_a_full_disk_is_counted() -> None:
    dropped = Counter()
    writer = LineWriter(Path("/dev/full"), dropped)
    for line in lines(10):
        writer.put(line)
    assert writer.close(TIMEOUT_S)
    assert dropped.value == 10


def test_what_comes_after_the_end_is_counted(tmp_path: Path) -> None:
    dropped = Counter()
    writer = LineWriter(tmp_path / "log", dropped)
    assert writer.close(TIMEOUT_S)
    writer.put(b"late\n")
    assert dropped.value == 1
    assert writer.close(0)


def test_lines_of_several_threads_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LineWriter(path, Counter())

    def put(letter: bytes) -> None:
        for _ in range(500):
            writer.put(letter * 100 + b"\n")

    threads = [threading.Thread(target=put, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(TIMEOUT_S)
    written = path.read_bytes().split(b"\n")[:-1]
    assert sorted(written) == [letter * 100 for letter in (b"a", b"b", b"c") for _ in range(500)]
