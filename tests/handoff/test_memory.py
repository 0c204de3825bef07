"""Payloads in sealed memory files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.handoff.errors import ChannelError
from proxy.handoff.memory import read_sealed, sealed


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 4000])
def test_a_payload_comes_back(payload: bytes) -> None:
    with closing(sealed(payload)) as memory:
        assert read_sealed(memory, len(payload)) == payload
        assert read_sealed(memory, len(payload)) == payload, "reading moves nothing"
        assert not os.get_inheritable(memory)


def test_a_sealed_file_cannot_be_changed() -> None:
    with closing(sealed(b"payload")) as memory:
        for change in (
            lambda: os.pwrite(memory, b"x", 0),
            lambda: os.ftruncate(memory, 3),
            lambda: os.ftruncate(memory, 30),
            lambda: fcntl.fcntl(memory, fcntl.F_ADD_SEALS, 0),
        ):
            with pytest.raises(PermissionError):
                change()


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW])
def test_every_seal_is_required(missing: int) -> None:
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    with closing(os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)) as memory:
        os.write(memory, b"payload")
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals & ~missing)
        with pytest.raises(ChannelError, match="not sealed"):
            read_sealed(memory, 7)


@pytest.mark.parametrize("length", [6, 8])
def test_the_announced_size_must_be_the_files(length: int) -> None:
    with closing(sealed(b"payload")) as memory, pytest.raises(ChannelError, match="size"):
        read_sealed(memory, length)


def test_what_is_no_memory_file_is_refused() -> None:
    read, write = os.pipe()
    with closing(read), closing(write), pytest.raises(ChannelError, match="not a memory file"):
        read_sealed(read, 0)
