"""From a listener's settings to what the engine answers with: keys loaded, messages prepared."""

from collections.abc import Iterable

from proxy.front.settings import ListenerSettings, ServerNameSettings
from proxy.tls import Credential, Policy, ServerName
from proxy.wire import CipherSuite, NamedGroup

__all__ = ["Loaded", "build_policy"]

Loaded = dict[bytes, Credential]
"""Credentials by their PEM chain."""


def build_policy(settings: ListenerSettings, loaded: Loaded | None = None) -> Policy:
    """Prepare every certificate of the listener. Raises ``ValueError`` or ``Misuse``.

    ``loaded`` collects credentials by chain: names and listeners that share a certificate load
    its key once, which takes 40 ms for RSA.
    """
    loaded = {} if loaded is None else loaded
    exact: dict[str, ServerName] = {}
    wildcards: dict[str, ServerName] = {}
    default = None
    for entry in settings.server_names:
        prepared = ServerName(
            entry.index,
            tuple(_credentials(entry, loaded)),
            tuple(protocol.encode("ascii") for protocol in entry.alpn),
        )
        for name in entry.names:
            if name.startswith("*."):
                wildcards[name[1:]] = prepared
            else:
                exact[name] = prepared
        if entry.default:
            default = prepared
    tls = settings.tls
    return Policy(
        names=exact,
        wildcards=wildcards,
        default=default,
        suites=tuple(CipherSuite[name] for name in tls.suites),
        groups=tuple(NamedGroup[name] for name in tls.groups),
        server_order=tls.prefer == "server",
    )


def _credentials(entry: ServerNameSettings, loaded: Loaded) -> Iterable[Credential]:
    for material in entry.certificates:
        credential = loaded.get(material.chain_pem)
        if credential is None:
            credential = Credential.from_pem(material.chain_pem, material.key)
            loaded[material.chain_pem] = credential
        yield credential
