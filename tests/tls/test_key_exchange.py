"""Each group's key exchange, against a client's half and against shares that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import TlsError
from proxy.tls.key_exchange import SHARE_SIZES, agree
from proxy.wire import AlertDescription, NamedGroup
from tests.tls.hello import Share
from tests.tls.material import SECRET_SIZES, SERVER_SHARE_SIZES

P256 = NamedGroup.SECP256R1
HYBRID = NamedGroup.X25519MLKEM768


def good(group: NamedGroup) -> bytes:
    return Share.new(group).key_exchange


@pytest.mark.parametrize("group", NamedGroup)
def test_both_sides_agree(group: NamedGroup) -> None:
    client = Share.new(group)
    assert len(client.key_exchange) == SHARE_SIZES[group]
    agreed = agree(group, client.key_exchange)
    assert len(agreed.share) == SERVER_SHARE_SIZES[group]
    assert len(agreed.secret) == SECRET_SIZES[group]
    assert client.agree(agreed.share) == agreed.secret


@pytest.mark.parametrize("group", NamedGroup)
def test_keys_are_used_once(group: NamedGroup) -> None:
    share = good(group)
    assert agree(group, share).share != agree(group, share).share


@pytest.mark.parametrize("group", NamedGroup)
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_size(group: NamedGroup, change: int) -> None:
    share = good(group)
    refused(group, share[:-1] if change < 0 else share + b"\0")


@pytest.mark.parametrize(
    ("group", "share"),
    [
        (NamedGroup.X25519, bytes(32)),  # the all-zero result, RFC 8446, Section 7.4.2
        (NamedGroup.X25519, b"\1" + bytes(31)),  # a point of small order
        (P256, b"\4" + bytes(64)),  # not on the curve
        (P256, b"\4" + 64 * b"\xff"),
        (P256, b"\2" + good(P256)[1:]),  # compressed
        (P256, b"\6" + good(P256)[1:]),  # hybrid form
        (P256, bytes(65)),  # infinity, padded
        (P256, good(NamedGroup.SECP384R1)[:65]),
        (NamedGroup.SECP384R1, b"\4" + bytes(96)),
        (HYBRID, bytes(1216)),
        (HYBRID, 1184 * b"\xff" + good(NamedGroup.X25519)),  # coefficients beyond q
        (HYBRID, good(HYBRID)[:1184] + bytes(32)),
        (HYBRID, good(NamedGroup.X25519) + good(HYBRID)[:1184]),  # the other order
    ],
)
def test_no_public_key(group: NamedGroup, share: bytes) -> None:
    refused(group, share)


def refused(group: NamedGroup, share: bytes) -> None:
    with pytest.raises(TlsError) as caught:
        agree(group, share)
    assert caught.value.reason == "bad_key_share"
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


@given(st.sampled_from(NamedGroup), st.binary(min_size=32, max_size=97))
def test_any_bytes_agree_or_are_refused(group: NamedGroup, share: bytes) -> None:
    try:
        agreed = agree(group, share)
    except TlsError as error:
        assert error.reason == "bad_key_share"
    else:
        assert len(agreed.secret) == SECRET_SIZES[group]
