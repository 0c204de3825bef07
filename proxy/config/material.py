"""Loads the certificates, keys, authorities and users that a configuration names.

Rules: a certificate and its key leave here as a checked pair or not at all. Each problem stands
at the key whose file has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from proxy.config import pem
from proxy.config.configuration import SystemUser
from proxy.config.errors import Location, Unfit, quote
from proxy.config.findings import Findings
from proxy.config.model import Backend, CertificateFiles, ConfigurationFile, SecretRef
from proxy.config.sources import Sources
from proxy.front import CertificateMaterial
from proxy.tls import Secret

# With the leaf, because names are checked against it.
_Pair = tuple[CertificateMaterial, x509.Certificate]


@dataclass(slots=True)
class Material:
    """What the files hold, by the place that names them."""

    certificates: dict[Location, CertificateMaterial] = field(default_factory=dict)
    """By the location of an item of `certificates`."""
    authorities: dict[str, bytes] = field(default_factory=dict)
    """PEM by the name of the backend that trusts them."""
    keyless_user: SystemUser | None = None
    """Whom fronts run as."""


def gather(
    shape: ConfigurationFile, sources: Sources, findings: Findings, now: datetime
) -> Material:
    """Read all that the file names; what could not be used is among the findings."""
    loader = _Loader(sources, findings, now)
    material = Material()
    for i, listener in enumerate(shape.listeners):
        for j, entry in enumerate(listener.server_names):
            at: Location = ("listeners", i, "server_names", j)
            leaves: list[x509.Certificate] = []
            for k, files in enumerate(entry.certificates):
                place = (*at, "certificates", k)
                loaded = loader.pair(files, place)
                if loaded is not None:
                    material.certificates[place], leaf = loaded
                    leaves.append(leaf)
            if len(leaves) == len(entry.certificates):
                _warn_of_uncovered(entry.names, leaves, at, findings)
    for name, backend in shape.backends.items():
        authorities = loader.authorities(backend, ("backends", name, "tls", "ca_file"))
        if authorities is not None:
            material.authorities[name] = authorities
    material.keyless_user = loader.user(shape.processes.keyless_user, ("processes", "keyless_user"))
    return material


class _Loader:
    """Loads single items for one configuration."""

    def __init__(self, sources: Sources, findings: Findings, now: datetime) -> None:
        self._sources = sources
        self._findings = findings
        self._now = now
        self._pairs: dict[CertificateFiles, _Pair] = {}
        self._remarked: set[tuple[str, str]] = set()

    def pair(self, files: CertificateFiles, at: Location) -> _Pair | None:
        """A certificate chain with its key; None when there are problems with them.

        Checking an RSA key takes 40 ms, so what many entries share is checked once.
        """
        if files not in self._pairs:
            pair = self._pair(files, at)
            if pair is None:
                return None
            self._pairs[files] = pair
        return self._pairs[files]

    def authorities(self, backend: Backend, at: Location) -> bytes | None:
        """The authorities that a backend's servers are checked against, if a file names them."""
        if backend.tls.ca_file is None:
            return None
        chain = self._chain(backend.tls.ca_file, at)
        if chain is None:
            return None
        for remark in pem.validity_remarks(chain, self._now):
            self._caution(at, backend.tls.ca_file, remark)
        return pem.chain_pem(chain)

    def user(self, name: str | None, at: Location) -> SystemUser | None:
        """A user of this system, if one is named."""
        if name is None:
            return None
        try:
            return self._sources.user(name)
        except Unfit as error:
            self._findings.unfit(at, error, quote(name))
            return None

    def _pair(self, files: CertificateFiles, at: Location) -> _Pair | None:
        chain = self._chain(files.cert_file, (*at, "cert_file"))
        key = self._key(files, at)
        if chain is None or key is None:
            return None
        try:
            ordered = pem.leaf_first(chain, key)
        except Unfit as error:
            expected = f"{error.expected} in {quote(files.cert_file)}"
            self._findings.problem((*at, "key_file"), expected, "another key")
            return None
        self._remark(files.cert_file, chain, ordered, (*at, "cert_file"))
        material = CertificateMaterial(
            chain_pem=pem.chain_pem(ordered),
            key=pem.key_pem(key),
            source=str(self._sources.resolve(files.cert_file)),
            not_after_s=int(min(each.not_valid_after_utc for each in ordered).timestamp()),
        )
        return material, ordered[0]

    def _chain(self, path: str, at: Location) -> list[x509.Certificate] | None:
        try:
            return pem.load_chain(self._sources.read(path))
        except Unfit as error:
            self._findings.unfit(at, error, quote(path))
            return None

    def _key(self, files: CertificateFiles, at: Location) -> pem.PrivateKey | None:
        path, place = files.key_file, (*at, "key_file")
        passphrase: Secret | None = None
        if files.key_passphrase is not None:
            passphrase = self._secret(files.key_passphrase, (*at, "key_passphrase"))
            if passphrase is None:
                return None
        try:
            key = pem.load_key(self._sources.read(path), passphrase)
        except Unfit as error:
            self._findings.unfit(place, error, quote(path))
            return None
        if self._sources.open_to_all(path):
            self._caution(place, path, "every user of this machine can read it; chmod o-r")
        return key

    def _secret(self, reference: SecretRef, at: Location) -> Secret | None:
        if (reference.file is None) == (reference.env is None):
            self._findings.problem(at, "either `file` or `env`")
            return None
        try:
            return self._sources.passphrase(file=reference.file, env=reference.env)
        except Unfit as error:
            key = "env" if reference.file is None else "file"
            self._findings.unfit((*at, key), error, quote(reference.file or reference.env or ""))
            return None

    def _remark(
        self,
        path: str,
        chain: list[x509.Certificate],
        ordered: list[x509.Certificate],
        at: Location,
    ) -> None:
        remarks = pem.order_remarks(ordered) + pem.validity_remarks(ordered, self._now)
        if ordered != chain:
            remarks.append("the key's certificate is not the first; it is sent first")
        for remark in remarks:
            self._caution(at, path, remark)

    def _caution(self, at: Location, path: str, text: str) -> None:
        """Say something about a file: once, however often it is named."""
        if (path, text) not in self._remarked:
            self._remarked.add((path, text))
            self._findings.caution(at, f"{quote(path)}: {text}")


def _warn_of_uncovered(
    names: tuple[str, ...], leaves: list[x509.Certificate], at: Location, findings: Findings
) -> None:
    for leaf in leaves:
        names = tuple(pem.uncovered(leaf, names))
    for name in names:
        findings.caution((*at, "certificates"), f"no certificate here is for {name}")
