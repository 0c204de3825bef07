"""One direction's protection: nonces, limits, and refusal of every changed bit."""

import pytest

from proxy.tls import TlsError
from proxy.tls.protection import Opener, Sealer, sealed_size
from proxy.tls.suites import PARAMETERS
from proxy.wire import MAX_PLAINTEXT, CipherSuite, ContentType
from tests.tls.client import records, seal_inner

SECRET = bytes(range(48))
SUITES = pytest.mark.parametrize("suite", CipherSuite)


def pair(suite: CipherSuite) -> tuple[Sealer, Opener]:
    parameters = PARAMETERS[suite]
    secret = SECRET[: parameters.hash_size]
    return Sealer(parameters, secret), Opener(parameters, secret)


@SUITES
def test_many_records_in_order(suite: CipherSuite) -> None:
    sealer, opener = pair(suite)
    for number in range(300):
        data = bytes(number)
        ((header, fragment),) = records(sealer.seal(ContentType.APPLICATION_DATA, data))
        assert opener.open(header, fragment) == (ContentType.APPLICATION_DATA, data)
    assert sealer.sequence == opener.sequence == 300


@SUITES
def test_bulk_path_seals_what_the_small_path_seals(suite: CipherSuite) -> None:
    for size in (1, MAX_PLAINTEXT, MAX_PLAINTEXT + 1, 3 * MAX_PLAINTEXT + 5):
        data = bytes(index % 253 for index in range(size))
        small, _ = pair(suite)
        bulk, _ = pair(suite)
        out = bytearray(sealed_size(size))
        assert bulk.seal_into(memoryview(data), memoryview(out)) == len(out)
        assert out == small.seal_all(ContentType.APPLICATION_DATA, data)
        assert bulk.sequence == small.sequence


@SUITES
def test_every_changed_bit_is_refused(suite: CipherSuite) -> None:
    sealer, opener = pair(suite)
    data = sealer.seal(ContentType.APPLICATION_DATA, b"data")
    for index in range(len(data)):
        for bit in (0x01, 0x80):
            wrong = data[:index] + bytes((data[index] ^ bit,)) + data[index + 1 :]
            with pytest.raises(TlsError, match="bad_record_mac"):
                opener.open(wrong[:5], wrong[5:])
    assert opener.open(data[:5], data[5:]) == (ContentType.APPLICATION_DATA, b"data")


@SUITES
def test_updates_keep_both_in_step(suite: CipherSuite) -> None:
    sealer, opener = pair(suite)
    before = sealer.secret
    sealer.update()
    opener.update()
    assert sealer.secret == opener.secret != before
    assert sealer.sequence == opener.sequence == 0
    data = sealer.seal(ContentType.APPLICATION_DATA, b"data")
    assert opener.open(data[:5], data[5:])[1] == b"data"


def test_due_for_update_at_the_limit() -> None:
    parameters = PARAMETERS[CipherSuite.TLS_AES_128_GCM_SHA256]
    limit = parameters.records_per_key
    # RFC 8446, Section 5.5: 2^24.5 full records under one key of AES-GCM.
    assert limit <= 2**24.5
    assert not Sealer(parameters, SECRET[:32], limit - 1).due_for_update
    assert Sealer(parameters, SECRET[:32], limit).due_for_update


@pytest.mark.parametrize("size", range(17))
def test_too_short_for_a_tag_and_a_type(size: int) -> None:
    _, opener = pair(CipherSuite.TLS_AES_128_GCM_SHA256)
    with pytest.raises(TlsError, match="bad_record_mac"):
        opener.open(b"\x17\3\3\0" + bytes((size,)), bytes(size))


@pytest.mark.parametrize("size", [1, 2, 100, MAX_PLAINTEXT + 1])
def test_no_content_type(size: int) -> None:
    sealer, opener = pair(CipherSuite.TLS_AES_128_GCM_SHA256)
    data = seal_inner(sealer, bytes(size))
    with pytest.raises(TlsError, match="no_content_type"):
        opener.open(data[:5], data[5:])
