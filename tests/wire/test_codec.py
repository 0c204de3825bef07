"""Vectors: what is written is read back, and nothing but exactly that is accepted."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import DecodeError, Reader, u8_vector, u16_vector, u24_vector

VECTORS: list[tuple[Callable[[bytes], bytes], Callable[[Reader], bytes], int]] = [
    (u8_vector, Reader.vector8, 1),
    (u16_vector, Reader.vector16, 2),
    (u24_vector, Reader.vector24, 3),
]


@pytest.mark.parametrize(("write", "read", "prefix"), VECTORS)
@pytest.mark.parametrize("size", [0, 1, 255])
def test_round_trip(
    write: Callable[[bytes], bytes], read: Callable[[Reader], bytes], prefix: int, size: int
) -> None:
    data = bytes(range(size))
    written = write(data)
    assert written[:prefix] == size.to_bytes(prefix)
    reader = Reader(written)
    assert read(reader) == data
    assert not reader.remaining()
    reader.finish()


@pytest.mark.parametrize(("write", "read", "prefix"), VECTORS)
def test_every_truncation_is_refused(
    write: Callable[[bytes], bytes], read: Callable[[Reader], bytes], prefix: int
) -> None:
    written = write(b"abc")
    for size in range(len(written)):
        with pytest.raises(DecodeError, match="truncated"):
            read(Reader(written[:size]))


def test_integers() -> None:
    data = bytes(range(1, 1 + 1 + 2 + 3 + 4 + 8))
    reader = Reader(data)
    found = (reader.u8(), reader.u16(), reader.u24(), reader.u32(), reader.u64())
    assert found == (0x01, 0x0203, 0x040506, 0x0708090A, 0x0B0C0D0E0F101112)
    reader.finish()


def test_trailing_bytes_are_refused() -> None:
    reader = Reader(b"\0\0")
    reader.u8()
    assert reader.remaining()
    with pytest.raises(DecodeError, match="trailing_bytes"):
        reader.finish()


@pytest.mark.parametrize(("write", "size"), [(u8_vector, 1 << 8), (u16_vector, 1 << 16)])
def test_too_long_to_write(write: Callable[[bytes], bytes], size: int) -> None:
    with pytest.raises(OverflowError):
        write(bytes(size))


@given(st.binary(max_size=40), st.lists(st.integers(0, 5), max_size=12))
def test_any_bytes_are_read_or_refused(data: bytes, calls: list[int]) -> None:
    reader = Reader(data)
    read = [reader.u8, reader.u16, reader.u24, reader.vector8, reader.vector16, reader.vector24]
    try:
        for call in calls:
            read[call]()
        reader.finish()
    except DecodeError as error:
        assert error.reason in ("truncated", "trailing_bytes")
