"""Certificates, keys and authorities of a configuration, from its files."""

from __future__ import annotations

import pwd

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config import SystemUser
from tests.certs import Issued, ThrowAwayCa
from tests.config.site import BASE, Site, authority, in_days, issued, replaced

AT = "listeners[0].server_names[0].certificates"


def encrypted(made: Issued, passphrase: bytes) -> Issued:
    key = load_pem_private_key(made.key_pem, None)
    encryption = BestAvailableEncryption(passphrase)
    return Issued(made.cert_pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


@pytest.mark.requirement("A29")
def test_a_certificate_and_its_key_become_one_value(site: Site) -> None:
    (certificate,) = site.load(BASE).front.listeners[0].server_names[0].certificates
    assert certificate.chain_pem == issued().cert_pem
    assert certificate.key.reveal() == issued().key_pem
    assert certificate.source == str(site.directory / "example.org.pem")
    assert abs(certificate.not_after_s - in_days(60).timestamp()) < 3600
    assert "PRIVATE" not in repr(certificate)


@pytest.mark.parametrize("reference", ["{file: pass}", "{env: VESTIBULE_TEST_PASS}"])
def test_a_passphrase_opens_a_key_and_stays_here(
    site: Site, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    site.certificate("example.org", encrypted(issued(), b"hunter2"))
    monkeypatch.setenv("VESTIBULE_TEST_PASS", "hunter2")
    (site.directory / "pass").write_text("hunter2\n")
    line = f"            key_file: example.org.key\n            key_passphrase: {reference}"
    configuration = site.load(replaced(10, line))
    (certificate,) = configuration.front.listeners[0].server_names[0].certificates
    assert certificate.key.reveal() == issued().key_pem
    assert (site.directory / "pass" in configuration.files) is ("file" in reference)


@pytest.mark.parametrize(
    ("passphrase", "problem"),
    [
        ("", "10:23: {}.key_file: expected an unencrypted private key"),
        ("{file: wrong}", "10:23: {}.key_file: expected a PEM private key"),
        ("{file: missing}", "11:36: {}.key_passphrase.file: expected a readable file"),
        ("{env: VESTIBULE_TEST_UNSET}", "11:35: {}.key_passphrase.env: expected an environment"),
        ("{}", "11:29: {}.key_passphrase: expected either `file` or `env`"),
        ("{file: wrong, env: HOME}", "11:29: {}.key_passphrase: expected either `file` or `env`"),
    ],
)
def test_a_key_that_stays_closed(site: Site, passphrase: str, problem: str) -> None:
    site.certificate("example.org", encrypted(issued(), b"hunter2"))
    (site.directory / "wrong").write_text("guess")
    line = "            key_file: example.org.key"
    if passphrase:
        line += f"\n            key_passphrase: {passphrase}"
    (found,) = site.problems(replaced(10, line))
    assert found.startswith(problem.replace("{}", f"{AT}[0]", 1))
    assert "guess" not in found


def test_a_key_that_every_user_can_read_is_cautioned_once(site: Site) -> None:
    (site.directory / "example.org.key").chmod(0o644)
    twice = (
        "            key_file: example.org.key\n"
        "          - {cert_file: example.org.pem, key_file: example.org.key}"
    )
    assert site.cautions(replaced(10, twice)) == [
        f'10:23: {AT}[0].key_file: "example.org.key":'
        " every user of this machine can read it; chmod o-r"
    ]


def test_expired_and_misplaced_certificates_are_cautioned(site: Site) -> None:
    made = (
        ThrowAwayCa()
        .intermediate()
        .issue(["other.org"], not_before=in_days(-3), not_after=in_days(-1))
    )
    leaf, above = made.cert_pem.split(b"-----BEGIN")[1:]
    site.certificate("old", Issued(b"-----BEGIN" + above + b"-----BEGIN" + leaf, made.key_pem))
    text = replaced(9, "          - cert_file: old.pem").replace("example.org.key", "old.key")
    cautions = site.cautions(text)
    assert [caution.partition(" on ")[0] for caution in cautions] == [
        f"9:11: {AT}: no certificate here is for example.org",
        f'9:24: {AT}[0].cert_file: "old.pem": CN=other.org expired',
        f'9:24: {AT}[0].cert_file: "old.pem": CN=throw-away intermediate CA expires',
        f'9:24: {AT}[0].cert_file: "old.pem": the key\'s certificate is not the first;'
        " it is sent first",
    ]
    (certificate,) = site.load(text).front.listeners[0].server_names[0].certificates
    assert certificate.chain_pem == made.cert_pem


def test_several_certificates_together_are_for_all_names(site: Site) -> None:
    site.certificate("rsa", authority().issue(["b.org"], key="rsa-2048", not_after=in_days(60)))
    both = (
        "            key_file: example.org.key\n          - {cert_file: rsa.pem, key_file: rsa.key}"
    )
    text = replaced(10, both, replaced(6, "      - names: [example.org, b.org]"))
    assert site.cautions(text) == []
    assert len(site.load(text).front.listeners[0].server_names[0].certificates) == 2


def test_a_certificate_for_many_entries_is_one_value(site: Site) -> None:
    certificates = "certificates: [{cert_file: example.org.pem, key_file: example.org.key}]"
    entry = f"      - {{names: [www.example.org], {certificates}, tcp: {{backend: app}}}}\n"
    one, other = (
        site.load(BASE.replace("backends:", f"{entry}backends:")).front.listeners[0].server_names
    )
    assert one.certificates[0] is other.certificates[0]


def test_a_pair_that_does_not_fit_is_told_at_each_entry(site: Site) -> None:
    site.certificate("other", authority().issue(["example.org"]))
    certificates = "certificates: [{cert_file: other.pem, key_file: example.org.key}]"
    entry = f"      - {{names: [www.example.org], {certificates}, tcp: {{backend: app}}}}\n"
    text = replaced(9, "          - cert_file: other.pem")
    problems = site.problems(text.replace("backends:", f"{entry}backends:"))
    assert [problem.partition(":")[0] for problem in problems] == ["10", "14"]


def test_a_backends_authorities_travel_as_bytes(site: Site) -> None:
    authority().write(site.directory)
    servers = '    servers: ["https://10.0.0.5"]\n    tls: {ca_file: ca.pem}'
    configuration = site.load(replaced(16, servers))
    (backend,) = configuration.backends
    assert backend.tls.ca_pem == authority().pem
    assert backend.tls.ca_file is None
    assert configuration.files[-1] == site.directory / "ca.pem"


def test_authorities_that_cannot_be_read(site: Site) -> None:
    servers = '    servers: ["https://10.0.0.5"]\n    tls: {ca_file: example.org.key}'
    (problem,) = site.problems(replaced(16, servers))
    assert problem.startswith("17:20: backends.app.tls.ca_file: expected PEM certificates, found")


def test_the_user_of_keyless_fronts_is_looked_up(site: Site) -> None:
    found = next(each for each in pwd.getpwall() if each.pw_uid != 0)
    text = replaced(4, "    answer: retry") + "processes: {keyless_user: %s}\n"
    assert site.load(text % found.pw_name).processes.keyless_user == SystemUser(
        name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid
    )
    assert site.problems(text % pwd.getpwuid(0).pw_name) == [
        '17:27: processes.keyless_user: expected a user without root\'s rights, found "root"'
    ]
