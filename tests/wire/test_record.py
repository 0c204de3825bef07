"""Records: headers, fragmentation and the alerts that we send in clear."""

import pytest

from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    AlertDescription,
    ContentType,
    alert_message,
    alert_record,
    change_cipher_spec_record,
    plaintext_records,
)


def test_limits() -> None:
    assert (HEADER_SIZE, MAX_PLAINTEXT, MAX_CIPHERTEXT) == (5, 16384, 16640)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (0, [0]),
        (1, [1]),
        (MAX_PLAINTEXT, [MAX_PLAINTEXT]),
        (MAX_PLAINTEXT + 1, [MAX_PLAINTEXT, 1]),
        (2 * MAX_PLAINTEXT, [MAX_PLAINTEXT, MAX_PLAINTEXT]),
        (2 * MAX_PLAINTEXT + 7, [MAX_PLAINTEXT, MAX_PLAINTEXT, 7]),
    ],
)
def test_fragmentation(size: int, sizes: list[int]) -> None:
    data = bytes(index & 0xFF for index in range(size))
    written = plaintext_records(ContentType.HANDSHAKE, data)
    found, collected = [], b""
    while written:
        assert written[:3] == b"\x16\x03\x03"
        length = int.from_bytes(written[3:5])
        found.append(length)
        collected += written[5 : 5 + length]
        written = written[5 + length :]
    assert found == sizes
    assert collected == data


@pytest.mark.parametrize("description", AlertDescription)
def test_only_closure_alerts_are_warnings(description: AlertDescription) -> None:
    closure = (AlertDescription.CLOSE_NOTIFY, AlertDescription.USER_CANCELED)
    level = 1 if description in closure else 2
    assert alert_message(description) == bytes((level, description))
    assert alert_record(description) == b"\x15\x03\x03\0\2" + bytes((level, description))


def test_change_cipher_spec() -> None:
    assert change_cipher_spec_record() == bytes.fromhex("140303000101")
