"""What each role gets: complete, exact, and nothing that is not for it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config import (
    Configuration,
    SnapshotError,
    front_snapshot,
    read_front_snapshot,
    read_worker_snapshot,
    worker_snapshot,
)
from proxy.front import AnswerPolicy, ListenerSettings, build_policy
from proxy.tls import Secret
from tests.config.site import Site, authority, in_days, issued
from tests.config.test_build import EVERYTHING


@pytest.fixture
def configuration(site: Site) -> Configuration:
    """A configuration with every kind of value, authorities and two kinds of keys included."""
    authority().write(site.directory)
    site.certificate("rsa", authority().issue(["a.org"], key="rsa-2048", not_after=in_days(60)))
    text = EVERYTHING.replace("{verify: false,", "{ca_file: ca.pem,")
    return site.load(
        text.replace("{cert_file: e", "{cert_file: rsa.pem, key_file: rsa.key}, {cert_file: e")
    )


@pytest.fixture
def mixed(site: Site) -> Configuration:
    """A listener whose front signs, and one whose front answers by retry, each with its own key."""
    site.certificate("internal", authority().issue(["a.org"], not_after=in_days(60)))
    text = EVERYTHING.replace("certificates: *certificates", f"certificates: {INTERNAL}")
    return site.load(text.replace('"127.0.0.1:9443"]', '"127.0.0.1:9443"]\n    answer: retry'))


INTERNAL = "[{cert_file: internal.pem, key_file: internal.key}]"


def texts(value: object) -> Iterator[bytes]:
    """Every text of a JSON value, as it is and as the bytes that it may stand for."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value.encode()
        for decode in (base64.b64decode, base64.urlsafe_b64decode):
            with contextlib.suppress(binascii.Error):
                yield decode(value + "=" * (-len(value) % 4))


def private_forms(pem: bytes) -> Iterator[bytes]:
    """A private key's bytes: in DER, in PEM, and the secret number itself."""
    key = load_pem_private_key(pem, None)
    yield pem
    yield key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    yield b"".join(pem.splitlines()[1:-1])


def test_a_worker_reads_what_was_written(configuration: Configuration) -> None:
    snapshot = read_worker_snapshot(worker_snapshot(configuration))
    assert snapshot.retry == ()
    assert snapshot.names == configuration.names
    assert snapshot.backends == configuration.backends
    assert snapshot.http == configuration.http
    listeners = configuration.front.listeners
    longest_s = max(one.handshake_timeout_s for one in listeners)
    assert snapshot.handshake_s == longest_s + configuration.front.handoff_timeout_s
    assert snapshot.logging == configuration.logging


def without_keys(listener: ListenerSettings) -> ListenerSettings:
    """The listener with one and the same key everywhere: secrets refuse to be compared."""
    key = Secret(b"")
    names = tuple(
        replace(entry, certificates=tuple(replace(each, key=key) for each in entry.certificates))
        for entry in listener.server_names
    )
    return replace(listener, server_names=names)


def keys(listeners: tuple[ListenerSettings, ...]) -> list[bytes]:
    return [
        certificate.key.reveal()
        for listener in listeners
        for entry in listener.server_names
        for certificate in entry.certificates
    ]


def test_a_front_reads_what_was_written(configuration: Configuration) -> None:
    snapshot = read_front_snapshot(front_snapshot(configuration))
    assert keys(snapshot.front.listeners) == keys(configuration.front.listeners)
    assert len(keys(snapshot.front.listeners)) == 6
    one, other = (
        [repr(without_keys(listener)) for listener in front.listeners]
        for front in (snapshot.front, configuration.front)
    )
    assert one == other
    assert snapshot.logging == configuration.logging
    assert front_snapshot(replace(configuration, front=snapshot.front)) == front_snapshot(
        configuration
    )


@pytest.mark.requirement("A29")
def test_the_engine_takes_what_a_front_reads(configuration: Configuration) -> None:
    snapshot = read_front_snapshot(front_snapshot(configuration))
    policies = [build_policy(listener) for listener in snapshot.front.listeners]
    assert policies[0].names.keys() == {"example.org"}
    assert policies[0].default is None
    assert policies[1].default is not None


def test_a_worker_gets_no_key(configuration: Configuration) -> None:
    data = worker_snapshot(configuration)
    everything = [data, *texts(json.loads(data))]
    for pem in set(keys(configuration.front.listeners)):
        for form in private_forms(pem):
            assert not any(form in text for text in everything)
    assert not any(b"PRIVATE KEY" in text for text in everything)
    # The search would find one: the front's bytes have it.
    front = list(texts(json.loads(front_snapshot(configuration))))
    assert any(issued().key_pem in text for text in front)


def test_a_front_gets_nothing_of_backends(configuration: Configuration) -> None:
    data = front_snapshot(configuration)
    everything = [data, *texts(json.loads(data))]
    for hidden in (authority().pem, b"10.0.0.5", b"app.example.org", b"/api"):
        assert not any(hidden in text for text in everything)
    worker = list(texts(json.loads(worker_snapshot(configuration))))
    assert any(authority().pem in text for text in worker)


def test_of_a_retry_listener_a_front_gets_no_name_and_no_certificate(mixed: Configuration) -> None:
    data = front_snapshot(mixed)
    public, internal = read_front_snapshot(data).front.listeners
    assert len(keys((public,))) == 1
    assert internal == replace(mixed.front.listeners[1], server_names=())
    everything = [data, *texts(json.loads(data))]
    (pem,) = set(keys(mixed.front.listeners[1:]))
    chain = mixed.front.listeners[1].server_names[0].certificates[0].chain_pem
    for form in (*private_forms(pem), chain, b"internal.pem", b"a.org"):
        assert not any(form in text for text in everything)
    # The search would find them: the worker's bytes have them.
    worker = list(texts(json.loads(worker_snapshot(mixed))))
    for form in (pem, chain, b"internal.pem", b"a.org"):
        assert any(form in text for text in worker)
    policy = build_policy(internal)
    assert (policy.names, policy.wildcards, policy.default) == ({}, {}, None)


def test_a_worker_gets_the_keys_of_retry_listeners_alone(mixed: Configuration) -> None:
    data = worker_snapshot(mixed)
    (found,) = read_worker_snapshot(data).retry
    assert found.index == 1
    assert repr(without_keys(found.listener)) == repr(without_keys(mixed.front.listeners[1]))
    assert keys((found.listener,)) == keys(mixed.front.listeners[1:])
    everything = [data, *texts(json.loads(data))]
    for pem in set(keys(mixed.front.listeners[:1])):
        for form in private_forms(pem):
            assert not any(form in text for text in everything)


def test_every_key_is_of_one_role(mixed: Configuration) -> None:
    front = read_front_snapshot(front_snapshot(mixed)).front.listeners
    worker = tuple(one.listener for one in read_worker_snapshot(worker_snapshot(mixed)).retry)
    assert not set(keys(front)) & set(keys(worker))
    assert set(keys(front)) | set(keys(worker)) == set(keys(mixed.front.listeners))


def test_no_repr_shows_a_key(configuration: Configuration) -> None:
    retry = replace(configuration.front.listeners[0], answer=AnswerPolicy.RETRY)
    keyless = replace(configuration, front=replace(configuration.front, listeners=(retry,)))
    front = read_front_snapshot(front_snapshot(configuration))
    worker = read_worker_snapshot(worker_snapshot(keyless))
    for shown in (repr(configuration), repr(front), f"{front}", repr(worker)):
        assert "CERTIFICATE" in shown
        assert "PRIVATE" not in shown


def test_each_role_refuses_the_others_snapshot(configuration: Configuration) -> None:
    with pytest.raises(SnapshotError):
        read_worker_snapshot(front_snapshot(configuration))
    with pytest.raises(SnapshotError):
        read_front_snapshot(worker_snapshot(configuration))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_damaged_bytes_are_refused_without_showing_them(
    configuration: Configuration, cut: int
) -> None:
    data = front_snapshot(configuration)
    with pytest.raises(SnapshotError) as caught:
        read_front_snapshot(data[:cut])
    assert "LS0t" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"secret:base64":"', b'"secret:base64":"*'),
        (b'"secret:base64"', b'"base64"'),
        (b'"family":"inet"', b'"family":"ipx"'),
        (b'"backlog":11', b'"backlog":"many"'),
        (b'"backlog":11', b'"backlog":11,"more":1'),
    ],
)
def test_another_versions_bytes_are_refused_without_showing_them(
    configuration: Configuration, old: bytes, new: bytes
) -> None:
    data = front_snapshot(configuration)
    assert old in data
    with pytest.raises(SnapshotError) as caught:
        read_front_snapshot(data.replace(old, new))
    assert "LS0t" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)
