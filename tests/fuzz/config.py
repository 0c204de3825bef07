"""Target: the configuration file's text.

Asserted: a Configuration or ConfigError; each problem names a place in the text and is one
printable line; libyaml reads the same values (we read by PyYAML's parser in Python); what loads
travels to its roles and back as the same bytes, each key to who signs with it alone.
"""

import tempfile
from base64 import b64encode
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config import (
    ConfigError,
    Configuration,
    describe,
    front_snapshot,
    load,
    read_front_snapshot,
    read_worker_snapshot,
    worker_snapshot,
)
from proxy.config.document import Value, parse
from proxy.front import AnswerPolicy
from tests.config.site import authority, in_days, issued

__all__ = ["FILES", "config"]

FILES: Final = ("example.org", "other", "chain.pem", "locked.key", "secret", "junk")
"""Names of files that a text finds beside it; the first two with .pem and .key."""

_NULLS: Final = ("", "~", "null", "Null", "NULL")


def config(data: bytes) -> str:
    """The target; says whether the text loads."""
    path = _site() / "site.yaml"
    path.write_bytes(data)
    try:
        loaded = load(path)
    except ConfigError as error:
        _check_problems(error, path, data)
        _check_document(path, data)
        return "refused"
    _check_document(path, data)
    _check_loaded(loaded)
    return "loaded"


@cache
def _site() -> Path:
    """A directory with what texts may name, for as long as the process lives: `FILES`."""
    directory = tempfile.TemporaryDirectory(prefix="vestibule-fuzz-config-")
    _directories.append(directory)
    path = Path(directory.name)
    good, other = issued(), authority().issue(["other.example"], not_after=in_days(1))
    good.write(path, "example.org")
    other.write(path, "other")
    key = load_pem_private_key(good.key_pem, None)
    locked = BestAvailableEncryption(b"secret")
    contents = {
        "chain.pem": other.cert_pem + good.cert_pem + authority().pem,
        "locked.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
        "secret": b"secret\n",
        "junk": b"-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n",
    }
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


_directories: Final[list[tempfile.TemporaryDirectory[str]]] = []


def _check_problems(error: ConfigError, path: Path, data: bytes) -> None:
    assert error.problems
    text = data.decode("utf-8", "replace")
    # At some places only a line feed ends a line, at others all that YAML and Unicode know.
    most_lines, longest = len(text.splitlines()), max(map(len, text.split("\n")))
    for problem in error.problems:
        assert problem.file == str(path)
        assert 1 <= problem.line <= most_lines + 1
        assert 1 <= problem.column <= longest + 1
        assert problem.expected
        assert str(problem).isprintable(), "a text could forge a line of the log"
    for caution in error.cautions:
        assert str(caution).isprintable()


def _check_document(path: Path, data: bytes) -> None:
    """What parses without a problem is what libyaml makes of it, as text.

    The two do not take quite the same files, so what libyaml refuses is left aside, and what has
    a byte order mark inside, which it skips.
    """
    try:
        document = parse(data, str(path))
        text = data.decode("utf-8-sig")
        theirs = yaml.load(text, yaml.CBaseLoader)  # noqa: S506  makes nothing but text
    except (ConfigError, yaml.YAMLError):
        return
    assert document.problems or "\ufeff" in text or _agree(document.root.value, theirs)


def _agree(ours: Value, theirs: object) -> bool:
    match ours:
        case dict():
            return (
                isinstance(theirs, dict)
                and list(ours) == list(theirs)
                and all(_agree(value, theirs[key]) for key, value in ours.items())
            )
        case list():
            return (
                isinstance(theirs, list)
                and len(ours) == len(theirs)
                and all(map(_agree, ours, theirs))
            )
        case None:
            return theirs is None or theirs in _NULLS
        case bool():
            return str(theirs).lower() == str(ours).lower()
        case str():
            return ours == theirs
        case _:
            return isinstance(theirs, str) and float(theirs) == float(ours)


def _check_loaded(loaded: Configuration) -> None:
    assert all(line.isprintable() for line in describe(loaded))
    front, worker = front_snapshot(loaded), worker_snapshot(loaded)
    for_front, for_worker = read_front_snapshot(front), read_worker_snapshot(worker)
    listeners = list(for_front.front.listeners)
    for retry in for_worker.retry:
        listeners[retry.index] = retry.listener
    arrived = replace(
        loaded,
        front=replace(for_front.front, listeners=tuple(listeners)),
        logging=for_front.logging,
        names=for_worker.names,
        backends=for_worker.backends,
        http=for_worker.http,
    )
    # Snapshots hold secrets, which do not compare; their bytes do.
    assert (front_snapshot(arrived), worker_snapshot(arrived)) == (front, worker)
    _check_keys(loaded, front, worker)


def _check_keys(loaded: Configuration, front: bytes, worker: bytes) -> None:
    """Each key is with who signs with it, and with nobody else."""
    keys: dict[bytes, set[bool]] = {}
    for listener in loaded.front.listeners:
        for name in listener.server_names:
            for certificate in name.certificates:
                written = b64encode(certificate.key.reveal())
                keys.setdefault(written, set()).add(listener.answer is AnswerPolicy.RETRY)
    for written, by_retry in keys.items():
        assert (written in worker) == (True in by_retry)
        assert (written in front) == (False in by_retry)
